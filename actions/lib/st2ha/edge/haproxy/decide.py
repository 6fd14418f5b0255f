"""The slots of haproxy's backends, what they shall be, and the plan of a switch. Pure."""

from __future__ import annotations

from typing import Optional

from st2ha.edge.haproxy.facts import Slot, Unread, World
from st2ha.edge.paths import unfit
from st2ha.edge.settings import Edge
from st2ha.errors import BadInput
from st2ha.plan import Decision, Plan, Refused, Step


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
        if isinstance(seen, Unread):
            soft.append(f"{name} cannot be read ({seen.why}): it stays as it is")
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
    seen_now = world.read
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
