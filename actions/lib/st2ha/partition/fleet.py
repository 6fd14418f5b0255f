"""The question that a plan answers: nodes, sensors, wishes. Frozen facts, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from st2ha.errors import BadInput
from st2ha.partition.providers import Container


@dataclass(frozen=True)
class Sensor:
    """One sensor; `ref` is `pack.ClassName`, `cost` its load against the others (1 is an ordinary one)."""

    ref: str
    cost: float = 1.0
    enabled: bool = True

    @property
    def pack(self) -> str:
        return self.ref.partition(".")[0]


@dataclass(frozen=True)
class Node:
    """One sensor node: its `sensor_node_name`, and how much it may carry against the others."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Wish:
    """`what` (a reference or a pack) shall be on `node` if the load allows, or must never be there."""

    what: str
    node: str

    def about(self, sensor: Sensor) -> bool:
        return self.what in (sensor.ref, sensor.pack)

    def __str__(self) -> str:
        return f"{self.what}@{self.node}"


@dataclass(frozen=True)
class Fleet:
    """What is to be planned. `today` is what the containers are told now; None: not known."""

    nodes: tuple[Node, ...]
    sensors: tuple[Sensor, ...]
    preferred: tuple[Wish, ...] = ()
    never: tuple[Wish, ...] = ()
    today: Optional[tuple[Container, ...]] = None

    @property
    def enabled(self) -> tuple[Sensor, ...]:
        return tuple(sensor for sensor in self.sensors if sensor.enabled)


Wishes = Mapping[str, frozenset[str]]
"""Reference -> nodes; a reference without a wish is not in it."""


def resolved(wishes: Iterable[Wish], sensors: Iterable[Sensor]) -> Wishes:
    """The wishes of each sensor: those for its reference and those for its pack."""
    by_what: dict[str, set[str]] = {}
    for wish in wishes:
        by_what.setdefault(wish.what, set()).add(wish.node)
    if not by_what:
        return {}
    found = {each.ref: by_what.get(each.ref, set()) | by_what.get(each.pack, set()) for each in sensors}
    return {ref: frozenset(nodes) for ref, nodes in found.items() if nodes}


def checked(fleet: Fleet) -> Fleet:
    """The fleet, or BadInput: nodes and sensors once each, weights and costs above zero, wishes that can be met."""
    if not fleet.nodes:
        raise BadInput("parameter `nodes` is empty: name the sensor nodes, for example nodes=sensor1,sensor2:2")
    _once("nodes", [node.name for node in fleet.nodes])
    _once("sensors", [sensor.ref for sensor in fleet.sensors])
    for node in fleet.nodes:
        _positive("nodes", node.name, "weight", node.weight)
    for sensor in fleet.sensors:
        _positive("sensors", sensor.ref, "cost", sensor.cost)
    known = {sensor.ref for sensor in fleet.sensors} | {sensor.pack for sensor in fleet.sensors}
    names = [node.name for node in fleet.nodes]
    for parameter, wishes in (("preferred", fleet.preferred), ("never", fleet.never)):
        for wish in wishes:
            if wish.node not in names:
                raise BadInput(
                    f"parameter `{parameter}` has {str(wish)!r}: no such node, use one of {', '.join(names)}"
                )
            if wish.what not in known:
                raise BadInput(f"parameter `{parameter}` has {str(wish)!r}: no such sensor or pack; leave it out")
    for ref, nodes in resolved(fleet.never, fleet.enabled).items():
        if len(nodes) == len(names):
            raise BadInput(f"parameter `never` leaves no node for {ref!r}: take one of {', '.join(names)} out of it")
    return fleet


def _once(parameter: str, names: list[str]) -> None:
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadInput(f"parameter `{parameter}` has {name!r} twice: name each once")
        seen.add(name)


def _positive(parameter: str, name: str, what: str, number: float) -> None:
    if not 0 < number <= 1e9:  # also refuses nan
        raise BadInput(f"parameter `{parameter}` gives {name!r} the {what} {number:g}: it must be above 0, at most 1e9")
