"""What clients are told, by content. Pure."""

from __future__ import annotations

from st2ha.edge.content import amiss
from st2ha.edge.haproxy.decide import World
from st2ha.report import Finding, Severity


def assess(world: World) -> tuple[Finding, ...]:
    """A finding for each path of clients that is broken."""
    found = []
    for (name, upstream), reply in world.public.items():
        why = amiss(upstream, reply)
        if why is not None:
            message = f"clients of {upstream} get no StackStorm: {why}"
            remedy = f"look at {upstream}'s nodes, or switch to another group"
            found.append(Finding("PathBroken", Severity.CRITICAL, f"edge/{name}/{upstream}", message, remedy))
    return tuple(found)
