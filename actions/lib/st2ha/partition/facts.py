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
    `running` are the references of its sensor processes, `containers` the numbers of its containers' processes. Times
    are seconds since 1970, of one clock.
    """

    name: str
    container: Optional[Container] = None
    unread: Optional[str] = None
    host: Optional[str] = None
    weight: float = 1.0
    running: Optional[frozenset[str]] = None
    containers: Optional[tuple[int, ...]] = None
    started_at: Optional[float] = None
    map_changed_at: Optional[float] = None

    @property
    def is_down(self) -> bool:
        """Its processes were seen, and its container is none of them."""
        return self.containers == ()


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
    """A fleet. `members` and `timers` are those of the registry's groups, None if it is off or was not asked.

    `unread` says why StackStorm's API did not tell the sensors; `at` is when all this was read (seconds since 1970);
    `leased` are sensors that may run on several nodes.
    """

    nodes: tuple[SensorNode, ...]
    sensors: tuple[Sensor, ...]
    members: Optional[tuple[Member, ...]] = None
    timers: Optional[tuple[Member, ...]] = None
    events: tuple[Event, ...] = ()
    unread: Optional[str] = None
    at: Optional[float] = None
    leased: tuple[str, ...] = ()

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
        """Nodes without a container: by their own processes, else by their host's containers in the registry.

        Of several nodes on a host, those whose container was seen are not the ones that the registry lacks.
        """
        there: dict[str, int] = {}
        for member in self.members or ():
            there[member.host] = there.get(member.host, 0) + 1
        lost = {node.name for node in self.nodes if node.is_down}
        placed = [node for node in self.nodes if node.host is not None and not node.is_down]
        for node in sorted(placed, key=lambda each: not each.containers):
            host = str(node.host)
            there[host] = there.get(host, 0) - 1
            if self.members is not None and there[host] < 0:
                lost.add(node.name)
        return tuple(node for node in self.nodes if node.name in lost)

    def node(self, name: str) -> SensorNode:
        """The node of that name, which must be one of `nodes`."""
        return next(node for node in self.nodes if node.name == name)

    def rows(self) -> list[dict[str, Any]]:
        """A row a node: what it is told, and what was seen of it."""
        fleet, lost = self.ownership(), {node.name for node in self.silent()}
        owned = [owner for each in self.enabled for owner in fleet.owners(each.ref)]
        return [
            {
                "node": node.name,
                "host": node.host,
                "provider": node.container.provider if node.container else None,
                "told": _told(node.container),
                "owns": owned.count(node.name) if node.container else None,
                "runs": None if node.running is None else len(node.running),
                "silent": node.name in lost,
                "unread": node.unread,
            }
            for node in self.nodes
        ]


def _told(container: Optional[Container]) -> Optional[str]:
    if container is None:
        return None
    if container.provider in ("kvstore", "file"):
        if container.refs is None:
            return "nothing: it is missing"
        listed = sum("." in ref for ref in container.refs)
        return f"a list of {listed}" if listed or not container.refs else "nothing"
    return container.hash_ranges or "everything"


def members_from(body: Mapping[str, Any]) -> tuple[Member, ...]:
    """The reply to /v1/service_registry/groups/<group>/members."""
    rows = [row.get("capabilities") or {} for row in body.get("members") or []]
    return tuple(Member(str(row.get("hostname")), int(row.get("pid") or 0)) for row in rows)


def events_from(rows: Iterable[Mapping[str, Any]]) -> tuple[Event, ...]:
    """Rows of /v1/triggerinstances, the latest first as StackStorm lists them, or in any order."""
    return tuple(_event(row) for row in rows)


def key_changes_from(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """When keys changed last, by trigger instances of core.st2.key_value_pair: the API itself tells it of no key."""
    found: dict[str, float] = {}
    for row in rows:
        payload = row.get("payload")
        told = payload if isinstance(payload, Mapping) else {}
        pair = told.get("new_object") or told.get("object")
        if isinstance(pair, Mapping):
            name, at = str(pair.get("name")), _seconds(str(row.get("occurrence_time")))
            found[name] = max(at, found.get(name, 0.0))
    return found


def made_at(row: Optional[Mapping[str, Any]]) -> float:
    """When a row of the database was made: its id (an ObjectId) begins with it. 0 where it is none."""
    try:
        return float(int(str((row or {}).get("id"))[:8], 16))
    except ValueError:
        return 0.0


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
