"""Whether a fleet may be told something else, and what. Pure: a world and a wish -> a Transition, or why not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Optional

from st2ha.errors import BadInput
from st2ha.partition.fleet import Fleet, checked
from st2ha.partition.gather import World
from st2ha.partition.hash import sensor_hash
from st2ha.partition.plan import Assignment, plan
from st2ha.partition.providers import NOBODY, PROVIDERS, Container, Ownership, same
from st2ha.partition.ranges import NOTHING
from st2ha.partition.settings import Sensors
from st2ha.partition.transition import Goal, Transition, back, rows_of, runs_now, transition, writes_for


def fingerprint(world: World) -> str:
    """What a plan was made from: what nodes are told and which sensors there are. Another one: plan again."""
    told = {node.name: node.container for node in world.snapshot.nodes if node.container is not None}
    seen = [rows_of(told), sorted((each.ref, each.enabled) for each in world.snapshot.sensors)]
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()[:16]


def unfit(world: World, settings: Sensors, names: Sequence[str]) -> list[str]:
    """Why these nodes must not be told anything: what we did not see we do not change."""
    reasons = []
    if world.snapshot.unread is not None:
        reasons.append(f"which sensors there are is not known: {world.snapshot.unread}")
    for name in names:
        node, inside = world.snapshot.node(name), world.insides.get(name)
        if settings.place(name).prefix is None:
            reasons.append(f"{name} has no `command`: we may not look inside")
        elif inside is None or node.container is None:
            reasons.append(f"{name} is unread: {node.unread}")
        elif inside.told.provider == "file" and inside.partition_file != settings.partition_file:
            reasons.append(
                f"{name} reads {inside.partition_file}: set sensors.partition_file, which is {settings.partition_file}"
            )
        elif inside.seen.containers is None:
            reasons.append(f"the processes of {name} cannot be seen: give its user pgrep and ps")
    return reasons


def wished(world: World, settings: Sensors, provider: str, nodes: Sequence[str], keep: bool) -> tuple[Goal, Assignment]:
    """A plan for all nodes; those that are not in `nodes` get nothing. BadInput as partition_plan."""
    chosen = tuple(node for node in settings.nodes if node.name in nodes)
    names = {node.name for node in chosen}
    today = tuple(
        replace(now, node=node.name)
        for node in world.snapshot.read
        if node.name in names and (now := node.container) is not None
    )
    fleet = Fleet(
        nodes=chosen,
        sensors=world.snapshot.sensors,
        preferred=tuple(wish for wish in settings.preferred if wish.node in names),
        never=tuple(wish for wish in settings.never if wish.node in names),
        today=today if len(today) == len(chosen) else None,
    )
    made = plan(checked(fleet), provider, keep)
    told = {each.node: each for each in made.told}
    every = {node.name: told.get(node.name) or nothing(node.name, provider) for node in settings.nodes}
    return Goal(every, settings.partition_file), made


def nothing(node: str, provider: str) -> Container:
    """Told this, a container runs no sensor under that provider."""
    return Container(node, provider, NOTHING) if provider == "hash" else Container(node, provider, refs=(NOBODY,))


def strangers(world: World, *known: Goal) -> list[str]:
    """Nodes that are told what none of these goals tells them."""
    told = {node.name: node.container for node in world.snapshot.nodes}
    return [
        f"{name} is told neither what it was nor what it should be told: somebody else has changed it"
        for name, now in told.items()
        if now is not None and not any(name in goal.told and same(now, goal.told[name]) for goal in known)
    ]


def target_from(parameter: str, value: Any, settings: Sensors) -> Goal:
    """A parameter that tells every node: node -> {provider, hash_ranges | refs}, as a plan's result has it."""
    known = [node.name for node in settings.nodes]
    if not isinstance(value, Mapping):
        raise BadInput(
            f"parameter `{parameter}` is {str(value)[:40]!r}: give what partition_apply dry_run=true gives as target"
        )
    told = {}
    for name, row in value.items():
        if name not in known:
            raise BadInput(
                f"parameter `{parameter}` has {str(name)[:40]!r}: no such node, use one of {', '.join(known)}"
            )
        told[name] = _container(parameter, name, row)
    if sorted(told) != sorted(known):
        missing = sorted(set(known) - set(told))
        raise BadInput(f"parameter `{parameter}` has no {missing[0]}: it must tell every node")
    return Goal(told, settings.partition_file)


def _container(parameter: str, name: str, row: Any) -> Container:
    row = row if isinstance(row, Mapping) else {}
    provider, ranges, refs = row.get("provider"), row.get("hash_ranges"), row.get("refs")
    good = {
        "default": ranges is None and refs is None,
        "hash": isinstance(ranges, str) and refs is None,
        "kvstore": ranges is None and isinstance(refs, list) and all(isinstance(ref, str) for ref in refs),
    }
    if provider not in PROVIDERS or not good["kvstore" if provider == "file" else str(provider)]:
        raise BadInput(
            f"parameter `{parameter}` has for {name} what is no share: give provider, and hash_ranges (hash) or refs "
            "(kvstore, file)"
        )
    return Container(name, str(provider), ranges, tuple(refs) if refs is not None else None)


def misfits(goal: Goal, world: World) -> list[str]:
    """What would be wrong once the nodes are told this: forceable, for it may be how it was before."""
    fleet = Ownership(replace(told, node=name) for name, told in goal.told.items())
    wrong = [f"{name}: {trouble}" for name, s in fleet.shares.items() for trouble in (s.ended, s.trap) if trouble]
    for each in world.snapshot.enabled:
        owners = fleet.owners(each.ref, sensor_hash(each.ref))
        if len(owners) != 1:
            wrong.append(f"{each.ref} would run on {' and '.join(owners) or 'no node'}")
    return wrong[:5]


def way_back(before: World, forth: Transition, after: World) -> Optional[Transition]:
    """The way to what was told before; None where there is nothing to undo or it cannot be seen.

    A node that does not answer any more may run what it was told before or what it is told now: nobody else is started
    with any of that, and who would be is left as it is. Nodes that were down before stay down.
    """
    if not after.snapshot.enabled and after.snapshot.unread is not None:
        after = replace(after, snapshot=replace(after.snapshot, sensors=before.snapshot.sensors))
    told = {name: c for name in forth.goal.told if (c := before.snapshot.node(name).container) is not None}
    lost = {name for name in told if name not in after.insides}
    fleet = Ownership(replace(container, node=name) for name, container in told.items())
    old = {name: set[str]() for name in told}
    for each in after.snapshot.enabled:
        for name in fleet.owners(each.ref, sensor_hash(each.ref)):
            old[name].add(each.ref)
    risky = {ref for name in lost for ref in old[name] | forth.wants.get(name, frozenset())}
    runs = runs_now(after)
    down = {name for name in told if before.snapshot.node(name).is_down}
    barred = _barred({name: old[name] for name in told if name not in lost}, runs, risky)
    goal = Goal(
        {name: container for name, container in told.items() if name not in lost},
        forth.goal.file,
        frozenset(down | barred | forth.goal.stays_down) - lost,
    )
    writes = tuple(write for write in back(forth.writes, after) if write.node not in lost | barred)
    way = transition(after, goal, writes)
    steps = tuple(step for step in way.steps if step.verb != "prove")
    return replace(way, steps=steps) if steps else None


def _barred(old: Mapping[str, set[str]], runs: Mapping[str, frozenset[str]], risky: set[str]) -> set[str]:
    """Nodes that would start what may run elsewhere. They are left as they are; so what they run is taken, too."""
    barred: set[str] = set()
    while True:
        taken = risky | {ref for name in barred for ref in runs[name]}
        more = {name for name, refs in old.items() if refs & taken - runs[name]} - barred
        if not more:
            return barred
        barred |= more


def forth(world: World, goal: Goal) -> Transition:
    """The way to a goal from the world as it was read."""
    return transition(world, goal, writes_for(world, goal))
