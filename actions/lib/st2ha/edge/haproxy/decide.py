"""The slots of haproxy's backends, what they shall be, and the plan of a switch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from st2ha.edge.content import Reply
from st2ha.edge.paths import unfit
from st2ha.edge.settings import Edge
from st2ha.errors import BadInput
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silent

MAINTENANCE = 1
"""Bit of srv_admin_state: forced into maintenance (haproxy's management guide, `show servers state`)."""


@dataclass(frozen=True)
class Slot:
    """A server of a backend as it runs. `address` is `node:port`, None in maintenance."""

    backend: str
    name: str
    address: Optional[str]


@dataclass(frozen=True)
class Seen:
    """A balancer: the slots of our backends, and those from before the last switch."""

    slots: tuple[Slot, ...]
    former: tuple[Slot, ...]
    has_vip: bool


@dataclass(frozen=True)
class World:
    """All balancers (a text says why one cannot be read), what clients are told at each address, the group's nodes."""

    seen: Mapping[str, Union[Seen, str]]
    public: Mapping[tuple[str, str], Union[Reply, Silent]]
    nodes: Mapping[tuple[str, str], Union[Reply, Silent]]

    def rows(self) -> list[dict[str, Any]]:
        return [
            {
                "balancer": name,
                "vip": each.has_vip if isinstance(each, Seen) else None,
                "servers": [f"{slot.backend}/{slot.name} {slot.address}" for slot in each.slots]
                if isinstance(each, Seen)
                else None,
            }
            for name, each in self.seen.items()
        ]


def parse(states: str, backends: tuple[str, ...]) -> tuple[Slot, ...]:
    """The slots of `backends` in haproxy's `show servers state`, whose second line names the columns."""
    lines = [line.split() for line in states.splitlines() if line.strip()]
    names = next((line[1:] for line in lines if line[0] == "#"), [])
    rows = [dict(zip(names, line)) for line in lines if line[0] != "#" and len(line) > 1]
    return tuple(
        Slot(
            row["be_name"], row["srv_name"],
            None if int(row["srv_admin_state"]) & MAINTENANCE else f"{row['srv_addr']}:{row['srv_port']}",
        )
        for row in rows
        if row.get("be_name") in backends
    )  # fmt: skip


def wanted(slots: tuple[Slot, ...], edge: Edge, group: str) -> tuple[Slot, ...]:
    """The slots with the group's nodes, in order. BadInput if there are too few."""
    found: list[Slot] = []
    for backend, port in edge.upstreams.items():
        own, nodes = [slot for slot in slots if slot.backend == backend], edge.groups[group]
        if len(own) < len(nodes):
            raise BadInput(
                f"backend {backend} has {len(own)} servers and {group} {len(nodes)} nodes: add `server` lines to it"
            )
        addresses = [*(f"{node}:{port}" for node in nodes), *[None] * (len(own) - len(nodes))]
        found += [Slot(slot.backend, slot.name, address) for slot, address in zip(own, addresses)]
    return tuple(found)


def decide(
    world: World, edge: Edge, goal: str, group: Optional[str], force: bool
) -> tuple[Decision, dict[str, tuple[Slot, ...]]]:
    """Plan or refusal, and the slots as they are to be by balancer. `group` None: as they were."""
    hard: list[str] = []
    soft = unfit(edge, group, world.nodes) if group is not None else []
    targets: dict[str, tuple[Slot, ...]] = {}
    for name, seen in world.seen.items():
        if isinstance(seen, str):
            soft.append(f"{name} cannot be read ({seen}): it stays as it is")
            continue
        try:
            targets[name] = seen.former if group is None else wanted(seen.slots, edge, group)
        except BadInput as error:
            hard.append(f"{name}: {error}")
        if not targets.get(name):
            hard += [f"{name} keeps no former servers: nothing was switched there by this pack"] if not hard else []
    if not targets and not hard:
        hard.append("no balancer can be read")
    if hard:
        return Refused(goal, tuple(hard), tuple(soft)), targets
    seen_now = {name: each for name, each in world.seen.items() if isinstance(each, Seen)}
    todo = [name for name, slots in targets.items() if set(slots) != set(seen_now[name].slots)]
    if not todo:
        return Plan(f"{goal}: it is so already", ()), targets
    if soft and not force:
        return Refused(goal, (), tuple(soft)), targets
    steps = []
    for name in sorted(todo, key=lambda each: seen_now[each].has_vip):
        expect = {"slots": sorted(map(str, seen_now[name].slots))}
        steps += [Step("set", name, "new connections go to the new addresses at once", expect)]
        steps += [Step("prove", name, "by the socket, and by content")]
    return Plan(goal, (*steps, *([Step("prove", "vip", "clients come in here")] if edge.vip else []))), targets
