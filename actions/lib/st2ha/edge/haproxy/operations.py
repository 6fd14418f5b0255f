"""haproxy_check, haproxy_switch and haproxy_switch_undo."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.edge.haproxy.act import Acting
from st2ha.edge.haproxy.assess import assess, healthy_words
from st2ha.edge.haproxy.decide import decide
from st2ha.edge.haproxy.facts import Seen, Slot, World
from st2ha.edge.haproxy.gather import gather
from st2ha.edge.paths import known_group
from st2ha.edge.settings import Edge, Haproxy
from st2ha.errors import BadInput
from st2ha.plan import Decision, Plan, Step
from st2ha.report import Report


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Look at each balancer by its runtime socket, at the VIP, and at each node that serves."""
    began = time.monotonic()
    edge, haproxy = _settings(deployment, timeout_s)
    world = gather(edge, haproxy, members=True)
    facts = {"vip": edge.vip, "holders": list(world.holders), "haproxy": world.rows()}
    findings = assess(world, edge, haproxy)
    return Report("haproxy", healthy_words(world, edge), findings, facts, time.monotonic() - began)


def look(deployment: Deployment, group: str) -> World:
    """What a switch to `group` is decided upon."""
    edge, haproxy = _settings(deployment)
    return gather(edge, haproxy, known_group(edge, group))


def switch(
    deployment: Deployment,
    group: str,
    force: bool = False,
    dry_run: bool = False,
    deadline_s: float = 120.0,
    seen: Optional[World] = None,
) -> dict[str, Any]:
    """Point every slot of every balancer to a node of `group`, with proof. `seen`: from `look`, a moment ago."""
    edge, haproxy = _settings(deployment)
    name = known_group(edge, group)
    return _change(edge, haproxy, f"switch to {name}", name, force, dry_run, deadline_s, seen)


def undo(
    deployment: Deployment, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Give every slot the address that it had before the last switch."""
    edge, haproxy = _settings(deployment)
    return _change(edge, haproxy, "undo of the last switch", None, force, dry_run, deadline_s)


def _change(
    edge: Edge,
    haproxy: Haproxy,
    goal: str,
    group: Optional[str],
    force: bool,
    dry_run: bool,
    deadline_s: float,
    seen: Optional[World] = None,
) -> dict[str, Any]:
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    targets: dict[str, tuple[Slot, ...]] = {}

    def decided(world: World) -> Decision:
        decision, found = decide(world, edge, goal, group, force)
        targets.update(found)
        return decision

    def way_back(before: World, now: World) -> Optional[Plan]:
        steps = []
        for name, seen in before.seen.items():
            current = now.seen.get(name)
            if isinstance(seen, Seen) and isinstance(current, Seen) and set(seen.slots) != set(current.slots):
                targets[name] = seen.slots
                expect = {"slots": sorted(map(str, current.slots))}
                steps += [Step("set", name, "as it was", expect), Step("prove", name, "as it was")]
        return Plan("former servers back", tuple(steps)) if steps else None

    keeping = iter([group is not None])
    return change(
        lambda: gather(edge, haproxy, group),
        decided,
        lambda world: Acting(edge, haproxy, targets, next(keeping, False)).verbs(),
        lambda world: assess(world, edge, haproxy),
        dry_run,
        deadline_s,
        undo=way_back,
        seen=seen,
    )


def _settings(deployment: Deployment, timeout_s: Optional[float] = None) -> tuple[Edge, Haproxy]:
    edge: Edge = deployment.require("edge", timeout_s)
    if edge.haproxy is None:
        raise BadInput(f"deployment {deployment.name!r} has no `edge.haproxy`: add it, with socket at least")
    return edge, edge.haproxy
