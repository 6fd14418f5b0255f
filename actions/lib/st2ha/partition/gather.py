"""Read a whole fleet: every node through its door and StackStorm's API, all at once, each with its deadline."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional, TypeVar, Union

from st2ha.config import Deployment
from st2ha.errors import HaError
from st2ha.partition.artifacts import told_by_keys
from st2ha.partition.facts import (
    Event,
    Member,
    SensorNode,
    Snapshot,
    events_from,
    key_changes_from,
    made_at,
    members_from,
)
from st2ha.partition.fleet import Sensor
from st2ha.partition.inputs import sensors_in_rows, today_in_file, with_costs
from st2ha.partition.inside import Inside, Unread, read_node
from st2ha.partition.providers import Container, key_of
from st2ha.partition.settings import Place, Sensors
from st2ha.probe import Attempt, Silent, ask_all

API = "StackStorm's API"
NOISE = ("core.st2.sensor.", "core.st2.key_value_pair.", "core.st2.generic.")
"""Triggers of StackStorm's own that come again with the same content: a sensor's respawn is no event seen twice."""
KEY_TRIGGERS = ("core.st2.key_value_pair.value_change", "core.st2.key_value_pair.create")

T = TypeVar("T")


@dataclass(frozen=True)
class Told:
    """What StackStorm's API tells, all but the keys."""

    sensors: tuple[Sensor, ...] = ()
    members: Optional[tuple[Member, ...]] = None
    timers: Optional[tuple[Member, ...]] = None
    events: tuple[Event, ...] = ()
    key_changes: Optional[Mapping[str, float]] = None
    unread: Optional[str] = None


@dataclass(frozen=True)
class World:
    """A snapshot, and the texts behind it as they were read; `keys` are those of the nodes, None where missing."""

    snapshot: Snapshot
    insides: Mapping[str, Inside] = field(default_factory=dict, repr=False)
    keys: Mapping[str, Optional[str]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        return self.snapshot.rows()


def gather(deployment: Deployment, settings: Sensors, file: Optional[str] = None, cost_by: str = "equal") -> World:
    """The fleet. `file`: read this partition file of every node that names none. Raises for wrong input only."""
    doors = [place for place in settings.places if place.prefix is not None]
    questions: list[Union[Place, str]] = [*doors, API]

    def ask(question: Union[Place, str], attempt: Attempt) -> Union[Inside, Unread, Told]:
        if isinstance(question, Place):
            return read_node(question, attempt, file)
        return _ask_api(deployment, settings, cost_by)

    answers = ask_all(questions, ask, settings.timeout_s)
    told = answers[API]
    told = Told(unread=told.reason) if isinstance(told, Silent) else told
    assert isinstance(told, Told)
    insides = {place.name: found for place in doors if isinstance(found := answers[place], Inside)}
    reasons = {place.name: _reason(answers[place]) for place in doors}
    keys, key_times = _keys(deployment, settings, insides)
    nodes = [_node(settings, node.name, node.weight, insides, reasons) for node in settings.nodes]
    return World(
        Snapshot(
            nodes=tuple(_with_key(node, keys, key_times, told.key_changes) for node in nodes),
            sensors=told.sensors,
            members=told.members,
            timers=told.timers,
            events=told.events,
            unread=told.unread,
            at=time.time(),
            leased=settings.leased,
        ),
        insides,
        {name: key for name, key in keys.items() if not isinstance(key, Unread)},
    )


def _reason(answer: object) -> Optional[str]:
    return answer.reason if isinstance(answer, (Unread, Silent)) else None


def _ask_api(deployment: Deployment, settings: Sensors, cost_by: str) -> Told:
    """The sensors are needed; what else cannot be had (rights, no registry) is not known."""
    try:
        with _api(deployment, settings) as api:
            rows = api.sensors()
            sensors = with_costs(sensors_in_rows(rows, cost_by, "StackStorm's API: "), settings.costs)
            instances = _or_none(lambda: api.get("/v1/triggerinstances", limit=100)[0]) or []
            return Told(
                sensors=sensors,
                members=_members(_or_none(lambda: api.registered("sensorcontainer"))),
                timers=_members(_or_none(lambda: api.registered("timer_engine"))),
                events=events_from(row for row in instances if not str(row.get("trigger")).startswith(NOISE)),
                key_changes=_or_none(lambda: _key_changes(api)),
            )
    except HaError as error:
        return Told(unread=str(error))


def _key_changes(api: Any) -> dict[str, float]:
    rows = [row for trigger in KEY_TRIGGERS for row in api.get("/v1/triggerinstances", trigger=trigger, limit=100)[0]]
    return key_changes_from(rows)


def _api(deployment: Deployment, settings: Sensors) -> Any:
    from st2ha.platform.api import Api  # only where it is asked: it imports requests

    stackstorm = deployment.require("stackstorm")
    return Api(replace(stackstorm, timeout_s=min(stackstorm.timeout_s, settings.timeout_s)))


def _or_none(ask: Callable[[], T]) -> Optional[T]:
    try:
        return ask()
    except HaError:
        return None


def _members(rows: Optional[list[dict[str, Any]]]) -> Optional[tuple[Member, ...]]:
    return None if rows is None else members_from({"members": rows})


def _keys(
    deployment: Deployment, settings: Sensors, insides: Mapping[str, Inside]
) -> tuple[dict[str, Union[str, Unread, None]], dict[str, float]]:
    """The keys of all nodes that have provider kvstore, by sensor_node_name; and when each was made."""
    names = {inside.told.node for inside in insides.values() if inside.told.provider == "kvstore"}
    if names or settings.provider == "kvstore":  # of a node that is unread, by our name for it
        names.update(node.name for node in settings.nodes if node.name not in insides)
    keys, times = dict[str, Union[str, Unread, None]](), dict[str, float]()
    if not names:
        return keys, times
    try:
        with _api(deployment, settings) as api:
            for name in sorted(names):
                row = api.key_row(key_of(name))
                keys[name] = None if row is None else str(row["value"])
                times[key_of(name)] = made_at(row)
    except HaError as error:
        keys.update({name: Unread(str(error)) for name in names - keys.keys()})
    return keys, times


def _node(
    settings: Sensors, name: str, weight: float, insides: Mapping[str, Inside], reasons: Mapping[str, Optional[str]]
) -> SensorNode:
    """A node as it says itself, else as the configuration says, if we may not look there."""
    place, inside = settings.place(name), insides.get(name)
    if inside is None:
        told = None if name in reasons else _configured(settings, name)
        words = reasons.get(name) or "the layer `sensors` has neither its `command` nor what it is told"
        return SensorNode(name, told, None if told else words, place.host, weight)
    seen, told = inside.seen, inside.told
    changed_at = inside.file_changed_at if told.provider == "file" else None
    return SensorNode(
        name, told, None, place.host, weight, seen.running, seen.containers, seen.started_at, changed_at
    )  # fmt: skip


def _configured(settings: Sensors, name: str) -> Optional[Container]:
    if settings.provider == "kvstore":
        return Container(name, "kvstore")
    if settings.provider == "file":
        found = today_in_file(settings.partition_file, [name])
        return found[0] if found else None
    return next((each for each in settings.told_by_config() or () if each.node == name), None)


def _with_key(
    node: SensorNode,
    keys: Mapping[str, Union[str, Unread, None]],
    made: Mapping[str, float],
    changes: Optional[Mapping[str, float]],
) -> SensorNode:
    """A node of provider kvstore with the list that its key holds, or unread."""
    told = node.container
    if told is None or told.provider != "kvstore":
        return node
    value = keys.get(told.node)
    if isinstance(value, Unread):
        return replace(node, container=None, unread=value.reason)
    name = key_of(told.node)
    at = None if changes is None else max(made.get(name, 0.0), changes.get(name, 0.0)) or None
    return replace(node, container=told_by_keys({told.node: value})[0], map_changed_at=at)
