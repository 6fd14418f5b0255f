"""What is known of a sensor fleet at one moment: frozen facts, parsed once. Silence is a fact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, Optional

from st2ha.partition.fleet import Sensor
from st2ha.partition.providers import Container, Ownership

VOLATILE = frozenset({"pid", "node", "host", "hostname", "timestamp", "time", "occurred_at", "executed_at"})
"""Names in a payload that differ between two reports of one event."""


@dataclass(frozen=True)
class SensorNode:
    """One sensor node under our own name for it. None stands for what could not be seen.

    `container` is what its st2.conf (with its sensor_node_name), its key or the file tell it; `unread` says why not.
    `running` are the references of its sensor processes. Times are seconds since 1970, of one clock.
    """

    name: str
    container: Optional[Container] = None
    unread: Optional[str] = None
    host: Optional[str] = None
    weight: float = 1.0
    running: Optional[frozenset[str]] = None
    started_at: Optional[float] = None
    map_changed_at: Optional[float] = None


@dataclass(frozen=True)
class Member:
    """A live process in a group of StackStorm's service registry, which knows hosts, not sensor nodes' names."""

    host: str
    pid: int


@dataclass(frozen=True)
class Event:
    """A trigger instance: `content` is its payload without what differs between two reports of one event."""

    trigger: str
    at: float
    content: str
    node: Optional[str] = None


@dataclass(frozen=True)
class Snapshot:
    """A fleet. `members` and `timers` are those of the registry's groups, None if it is off or was not asked."""

    nodes: tuple[SensorNode, ...]
    sensors: tuple[Sensor, ...]
    members: Optional[tuple[Member, ...]] = None
    timers: Optional[tuple[Member, ...]] = None
    events: tuple[Event, ...] = ()

    @property
    def enabled(self) -> tuple[Sensor, ...]:
        return tuple(sensor for sensor in self.sensors if sensor.enabled)

    @property
    def read(self) -> tuple[SensorNode, ...]:
        """Nodes of which we know what they are told."""
        return tuple(node for node in self.nodes if node.container is not None)

    def ownership(self) -> Ownership:
        """Who runs what, by what the nodes are told; under our names, for theirs may clash."""
        told = ((node.name, node.container) for node in self.nodes)
        return Ownership(replace(each, node=name) for name, each in told if each is not None)

    def silent(self) -> tuple[SensorNode, ...]:
        """Nodes whose host has fewer containers in the registry than sensor nodes here."""
        if self.members is None:
            return ()
        there: dict[str, int] = {}
        for member in self.members:
            there[member.host] = there.get(member.host, 0) + 1
        lost = []
        for node in self.nodes:
            if node.host is not None:
                there[node.host] = there.get(node.host, 0) - 1
                if there[node.host] < 0:
                    lost.append(node)
        return tuple(lost)


def members_from(body: Mapping[str, Any]) -> tuple[Member, ...]:
    """The reply to /v1/service_registry/groups/<group>/members."""
    rows = [row.get("capabilities") or {} for row in body.get("members") or []]
    return tuple(Member(str(row.get("hostname")), int(row.get("pid") or 0)) for row in rows)


def events_from(rows: Iterable[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Rows of /v1/triggerinstances, the latest first as StackStorm lists them, or in any order."""
    return tuple(_event(row) for row in rows)


def _event(row: Mapping[str, Any]) -> Event:
    payload = row.get("payload")
    content, node = payload, None
    if isinstance(payload, Mapping):
        content = {name: value for name, value in payload.items() if name not in VOLATILE}
        told = payload.get("node") or payload.get("host") or payload.get("hostname")
        node = told if isinstance(told, str) and told != "?" else None
    text = json.dumps(content, sort_keys=True, default=str)
    return Event(str(row.get("trigger")), _seconds(str(row.get("occurrence_time"))), text, node)


def _seconds(text: str) -> float:
    """`2026-11-22T21:08:14.774000Z` as seconds since 1970; 0 for what is no time."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
