"""The parts of st2ha.mongodb.watch that need no server, and the payloads against the triggers' schemas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional

import jsonschema
import yaml

from st2ha.config import Host
from st2ha.mongodb.watch import Pulse
from st2ha.report import Finding, Severity
from st2ha.tempo import PAUSES_S, PERIOD_S, UNSETTLED_FOR_S, UNSETTLED_S, Tempo
from st2ha.watch import Patience, State, update, update_role

TRIGGERS = Path(__file__).resolve().parents[2] / "triggers"
DOWN = Finding("MemberDown", Severity.WARNING, "mongodb/rs0/m1", "refused", "start mongod on m1")


def test_after_a_change_the_looks_confirm_it_and_outlast_the_settling() -> None:
    patience, tempo = Patience(), Tempo()
    pauses = [tempo.pause("a", True, n) for n in range(8)]
    assert pauses == [*PAUSES_S, PERIOD_S, PERIOD_S, PERIOD_S]
    assert pauses[0] >= patience.confirm_s and sum(PAUSES_S) >= patience.settle_s
    assert tempo.pause("b", True, 9) == PAUSES_S[0]


def test_without_a_primary_it_looks_often_but_not_for_ever() -> None:
    tempo = Tempo()
    assert all(tempo.pause("lost", False, now) <= UNSETTLED_S for now in range(int(UNSETTLED_FOR_S)))
    assert tempo.pause("lost", False, UNSETTLED_FOR_S) == PERIOD_S
    tempo.pause("found", True, 200)
    assert [tempo.pause("lost", False, 300 + now) for now in range(9)][-1] == UNSETTLED_S


def test_a_monitor_wakes_the_watch_only_when_a_role_changes() -> None:
    heard: list[Optional[str]] = []
    pulse = Pulse(Host("m1", 1), lambda host, role: heard.append(role))

    def hello(**document: Any) -> Any:
        return SimpleNamespace(reply=SimpleNamespace(document=document))

    for event in (hello(secondary=True), hello(secondary=True), hello(isWritablePrimary=True), hello(ismaster=True)):
        pulse.succeeded(event)
    for _ in range(3):
        pulse.failed(SimpleNamespace())  # type: ignore[arg-type]
    pulse.succeeded(hello(arbiterOnly=True))
    assert heard == ["secondary", "primary", None, "other"]


def test_payloads_fit_the_triggers_schemas() -> None:
    """StackStorm drops a trigger whose payload does not fit."""
    names = ("finding_changed", "role_changed")
    schemas = {name: yaml.safe_load((TRIGGERS / f"{name}.yaml").read_text())["payload_schema"] for name in names}
    state, _ = update(State(0), [DOWN], 0)
    state, (appeared,) = update(state, [DOWN], 1)
    worse = replace(DOWN, severity=Severity.CRITICAL)
    state, (changed,) = update(update(state, [worse], 2)[0], [worse], 3)
    state, (cleared,) = update(update(state, [], 4)[0], [], 20)
    for change in (appeared, changed, cleared):
        payload = change.payload(state, "lab", "mongodb")
        jsonschema.validate(payload, schemas["finding_changed"])
        assert set(payload) == set(schemas["finding_changed"]["properties"])
    state, _ = update_role(state, "mongodb/rs0", "primary", "m1", 1, 0)
    state, (moved,) = update_role(state, "mongodb/rs0", "primary", "m2", 2, 1)
    state, _ = update_role(state, "mysql/main", "primary", "db1", None, 0)
    state, (without_term,) = update_role(state, "mysql/main", "primary", "db2", None, 1)
    for change in (moved, without_term):
        payload = change.payload(state, "lab", "mongodb")
        jsonschema.validate(payload, schemas["role_changed"])
        assert set(payload) == set(schemas["role_changed"]["properties"])
