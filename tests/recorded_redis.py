"""The recorded cases of tests/facts/redis, and how a healthy one is changed into another."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from st2ha.config import Host, parse_host
from st2ha.probe import Silence, Silent
from st2ha.redis.facts import Denied, Snapshot
from st2ha.redis.parse import sentinel_of, server_of
from st2ha.redis.settings import PORT, SENTINEL_PORT, Redis

FACTS = Path(__file__).parent / "facts" / "redis"
CASES = sorted(path.parent.name for path in FACTS.glob("*/facts.json"))
HOSTS = tuple(Host(f"redis{n}", PORT) for n in (1, 2, 3))
SENTINELS = tuple(Host(f"sentinel{n}", SENTINEL_PORT) for n in (1, 2, 3))
SETTINGS = Redis(HOSTS, SENTINELS, "st2", "st2ha", "secret", "st2ha", "secret")


@functools.cache
def snapshot(case: str) -> Snapshot:
    """What was seen."""
    look = json.loads((FACTS / case / "facts.json").read_text())
    servers = {parse_host(name, "facts"): answer for name, answer in look["server"].items()}
    sentinels = {parse_host(name, "facts"): answer for name, answer in look["sentinel"].items()}
    return Snapshot(
        "st2",
        {host: _silent(host, a) or server_of(host, a) for host, a in servers.items()},
        {host: _silent(host, a) or sentinel_of(host, "st2", a) for host, a in sentinels.items()},
        look["at"],
    )


@functools.cache
def expectations(case: str) -> dict[str, Any]:
    """What a person wrote that must be found."""
    return dict(yaml.safe_load((FACTS / case / "expect.yaml").read_text()))


def _silent(host: Host, answer: Mapping[str, Any]) -> Any:
    if answer["kind"] == "silent":
        return Silent(Silence(answer["silence"]), answer["reason"], answer["after_s"])
    return Denied(host, answer["reason"]) if answer["kind"] == "denied" else None


def answered(base: Snapshot, name: str, answer: Any) -> Snapshot:
    """The snapshot with another answer of one server or Sentinel."""
    if name.startswith("sentinel"):
        host = Host(name, SENTINEL_PORT)
        return replace(base, sentinel_answers={**base.sentinel_answers, host: answer})
    return replace(base, answers={**base.answers, Host(name, PORT): answer})


def changed(base: Snapshot, name: str, **facts: Any) -> Snapshot:
    """The snapshot with other facts of one."""
    all_of_them: dict[Host, Any] = {**base.answers, **base.sentinel_answers}
    found = next(answer for host, answer in all_of_them.items() if host.name == name)
    return answered(base, name, replace(found, **facts))
