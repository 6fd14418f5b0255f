"""The recorded cases of tests/facts/mongodb, and how a healthy one is changed into another."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from bson import json_util

from st2ha.config import Host, parse_host
from st2ha.mongodb.facts import Answer, Denied, Outsider, Snapshot, parse_member
from st2ha.probe import Silence, Silent

FACTS = Path(__file__).parent / "facts" / "mongodb"
CASES = sorted(path.parent.name for path in FACTS.glob("*/facts.json"))


@functools.cache
def looks(case: str) -> list[Snapshot]:
    """The snapshots of a case: one, or an earlier and a later one."""
    facts = json_util.loads((FACTS / case / "facts.json").read_text())
    return [_snapshot(facts["replica_set"], look) for look in facts["looks"]]


def snapshot(case: str) -> Snapshot:
    """The only, or the later, look of a case."""
    return looks(case)[-1]


@functools.cache
def expectations(case: str) -> dict[str, Any]:
    """What a person wrote that must be found."""
    return dict(yaml.safe_load((FACTS / case / "expect.yaml").read_text()))


def _snapshot(replica_set: str, look: Mapping[str, Any]) -> Snapshot:
    hosts = {parse_host(text, "facts.json"): answer for text, answer in look["answers"].items()}
    return Snapshot(replica_set, {host: _answer(host, answer) for host, answer in hosts.items()}, look["at"])


def _answer(host: Host, answer: Mapping[str, Any]) -> Answer:
    if answer["kind"] == "member":
        return parse_member(host, answer["replies"], answer["clock_offset_s"], answer["tls_expires_at"])
    if answer["kind"] == "outsider":
        return Outsider(host, answer["set_name"], answer["reason"])
    if answer["kind"] == "denied":
        return Denied(host, answer["name"], answer["writable"], answer["reason"])
    return Silent(Silence(answer["silence"]), answer["reason"], answer["after_s"])


def host(name: str) -> Host:
    """`mongo2` as the recordings call it."""
    return Host(name, 27017)


def answered(base: Snapshot, name: str, answer: Answer) -> Snapshot:
    """The snapshot with another answer of one host."""
    return replace(base, answers={**base.answers, host(name): answer})


def changed(base: Snapshot, name: str, **facts: Any) -> Snapshot:
    """The snapshot with other facts of one member."""
    return answered(base, name, replace(base.answers[host(name)], **facts))  # type: ignore[type-var]


def everywhere(base: Snapshot, **facts: Any) -> Snapshot:
    """The snapshot with the same facts of all members."""
    for name in [each.name for each in base.answers]:
        base = changed(base, name, **facts)
    return base
