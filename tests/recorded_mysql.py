"""The recorded cases of tests/facts/mysql, and how a healthy one is changed into another."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from st2ha.config import Host, parse_host
from st2ha.mysql.facts import Answer, Denied, Snapshot
from st2ha.mysql.parse import parse_member
from st2ha.mysql.settings import Mysql
from st2ha.probe import Silence, Silent

FACTS = Path(__file__).parent / "facts" / "mysql"
CASES = sorted(path.parent.name for path in FACTS.glob("*/facts.json"))
HOSTS = (Host("db1", 3306), Host("db2", 3306))
SETTINGS = Mysql(HOSTS, "st2ha", "secret", replication_username="repl", replication_password="secret")


@functools.cache
def looks(case: str) -> list[Snapshot]:
    """The snapshots of a case: one, or an earlier and a later one."""
    return [_snapshot(look) for look in json.loads((FACTS / case / "facts.json").read_text())["looks"]]


def snapshot(case: str) -> Snapshot:
    """The only, or the later, look of a case."""
    return looks(case)[-1]


@functools.cache
def expectations(case: str) -> dict[str, Any]:
    """What a person wrote that must be found."""
    return dict(yaml.safe_load((FACTS / case / "expect.yaml").read_text()))


def _snapshot(look: Mapping[str, Any]) -> Snapshot:
    hosts = {parse_host(text, "facts.json"): answer for text, answer in look["answers"].items()}
    return Snapshot("main", {host: _answer(host, answer) for host, answer in hosts.items()}, look["at"])


def _answer(host: Host, answer: Mapping[str, Any]) -> Answer:
    if answer["kind"] == "member":
        return parse_member(host, answer["replies"])
    if answer["kind"] == "denied":
        return Denied(host, str(host), answer["reason"])
    return Silent(Silence(answer["silence"]), answer["reason"], answer["after_s"])


def host(name: str) -> Host:
    """`db2` as the recordings call it."""
    return Host(name, 3306)


def answered(base: Snapshot, name: str, answer: Answer) -> Snapshot:
    """The snapshot with another answer of one host."""
    return replace(base, answers={**base.answers, host(name): answer})


def changed(base: Snapshot, name: str, **facts: Any) -> Snapshot:
    """The snapshot with other facts of one member."""
    return answered(base, name, replace(base.answers[host(name)], **facts))  # type: ignore[type-var]
