"""From a fleet as it was read to one that is told something else: what to write, and in which order to restart. Pure.

Invariant: no sensor is started on a node before every other node that runs it was stopped. Who loses a sensor stops
first, then all is written, then who only gains is restarted, then the losers start. Containers read what they are told
once, at their start: so writing alone moves nothing, and a plan that ends anywhere leaves each sensor at most once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from st2ha.naming import count
from st2ha.partition import artifacts
from st2ha.partition.artifacts import told_by_file, told_by_keys
from st2ha.partition.gather import World
from st2ha.partition.hash import sensor_hash
from st2ha.partition.inside import Inside
from st2ha.partition.providers import Container, Ownership, key_of, same
from st2ha.plan import Step
from st2ha.st2conf import diff_of, edit

CONF, FILE, KEY = "write_st2_conf", "write_file", "write_key"
"""The verbs that write, by what they write."""
SHOWN = 3


@dataclass(frozen=True)
class Write:
    """One text that becomes another; None: there is none. The texts may hold secrets: `diff` is what may be shown."""

    verb: str
    node: str
    where: str
    before: Optional[str] = field(repr=False)
    after: Optional[str] = field(repr=False)

    @property
    def diff(self) -> str:
        place = self.where if self.verb == KEY else f"{self.node}:{self.where}"
        return diff_of(self.before or "", self.after or "", place)


@dataclass(frozen=True)
class Goal:
    """What each node in play shall be told; a node that is not in it is left alone.

    `file` is the partition file's path on the nodes; a node of `stays_down` is told, but not started.
    """

    told: Mapping[str, Container]
    file: str
    stays_down: frozenset[str] = frozenset()

    def wants(self, refs: Sequence[str]) -> dict[str, frozenset[str]]:
        """Which of the sensors each node runs then."""
        fleet = Ownership(Container(name, t.provider, t.hash_ranges, t.refs) for name, t in self.told.items())
        found: dict[str, set[str]] = {name: set() for name in self.told}
        for ref in refs:
            for name in fleet.owners(ref, sensor_hash(ref)):
                found[name].add(ref)
        return {name: frozenset(each) for name, each in found.items()}


@dataclass(frozen=True)
class Transition:
    """The way: `wants` are each node's sensors then; `must_run` those that ran before and so must run again."""

    goal: Goal
    writes: tuple[Write, ...]
    steps: tuple[Step, ...]
    wants: Mapping[str, frozenset[str]]
    must_run: frozenset[str]

    @property
    def diff(self) -> str:
        return "\n".join(write.diff for write in self.writes)


def writes_for(world: World, goal: Goal) -> tuple[Write, ...]:
    """Every text that differs from what `goal` needs, keys first. BadInput if an st2.conf cannot be edited."""
    found: list[Write] = []
    for name, told in goal.told.items():
        if told.provider == "kvstore":
            now, value = world.keys.get(told.node), ",".join(told.refs or ())
            if now is None or not same(told_by_keys({told.node: now})[0], told):
                found += _write(KEY, name, key_of(told.node), now, value)
    lists = [told for told in goal.told.values() if told.provider == "file"]
    for name, inside in world.insides.items():
        if name in goal.told and lists and not _lists_already(inside.file, lists):
            found += _write(FILE, name, goal.file, inside.file, artifacts.file_text(lists))
    for name, told in goal.told.items():
        conf_inside = world.insides.get(name)
        if conf_inside is not None and not _told_already(conf_inside, told, goal.file):
            changes = {"sensorcontainer": artifacts.options(told, goal.file)}
            after = edit(conf_inside.conf, changes, f"st2.conf of {name}").text
            found += _write(CONF, name, "st2.conf", conf_inside.conf, after)
    return tuple(found)


def back(forth: Sequence[Write], world: World) -> tuple[Write, ...]:
    """The same texts the other way, where the world holds what was written; what has changed since is left alone."""
    found: list[Write] = []
    for write in reversed(forth):
        inside = world.insides.get(write.node)
        if write.verb == KEY:
            now = world.keys.get(write.where.rpartition(".")[0])
        elif inside is None:
            continue
        else:
            now = inside.conf if write.verb == CONF else inside.file
        if now == write.after:
            found += _write(write.verb, write.node, write.where, write.after, write.before)
    return tuple(found)


def transition(world: World, goal: Goal, writes: tuple[Write, ...]) -> Transition:
    """The steps; none where all nodes are told and run what they shall."""
    snapshot = world.snapshot
    refs = [each.ref for each in snapshot.enabled]
    wants, has = goal.wants(refs), runs_now(world)
    written = {write.node for write in writes if write.verb in (CONF, KEY)} | _lists_changed(world, goal)
    stop, restart, start = list[str](), list[str](), list[str]()
    for name in goal.told:
        if name in goal.stays_down:
            continue
        down = snapshot.node(name).is_down
        loses = has[name] - wants[name]
        if down:
            start.append(name)
        elif loses:
            stop.append(name)
        elif name in written or _is_behind(world, name, wants[name] - has[name]):
            restart.append(name)
    steps = [_step("stop", stop, lambda name: has[name] - wants[name], "gives up", "before another one starts")]
    because = "what its container reads at its start"
    steps += [Step(each.verb, each.where if each.verb == KEY else each.node, because) for each in writes]
    steps += [_step("restart", restart, lambda name: wants[name] - has[name], "gains", "reads what it is told anew")]
    steps += [_step("start", stop + start, lambda name: wants[name], "runs", "with what it is told now")]
    done = [step for step in steps if step is not None]
    if done:
        done.append(Step("prove", "sensors", "each sensor on one node, told and running as planned"))
    must_run = frozenset(ref for name in has for ref in has[name]) & frozenset(refs)
    return Transition(goal, writes, tuple(done), wants, must_run)


def runs_now(world: World) -> dict[str, frozenset[str]]:
    """What each node runs: by its processes; where they cannot be seen, all that it is told, unless it is silent."""
    snapshot = world.snapshot
    fleet, silent = snapshot.ownership(), {node.name for node in snapshot.silent()}
    owners = {each.ref: fleet.owners(each.ref, sensor_hash(each.ref)) for each in snapshot.enabled}
    found = {}
    for node in snapshot.nodes:
        told = frozenset(ref for ref, nodes in owners.items() if node.name in nodes)
        found[node.name] = node.running if node.running is not None else frozenset() if node.name in silent else told
    return found


def rows_of(told: Mapping[str, Container]) -> dict[str, dict[str, Any]]:
    """What nodes are told, as the parameter `target` takes it."""
    rows: dict[str, dict[str, Any]] = {}
    for name, each in told.items():
        rows[name] = {"provider": each.provider}
        if each.provider == "hash":
            rows[name]["hash_ranges"] = each.hash_ranges
        elif each.refs is not None:
            rows[name]["refs"] = list(each.refs)
    return rows


def _write(verb: str, node: str, where: str, before: Optional[str], after: Optional[str]) -> list[Write]:
    return [] if before == after else [Write(verb, node, where, before, after)]


def _told_already(inside: Inside, told: Container, file: str) -> bool:
    """By meaning: a line that says the same in other words stays as it is."""
    if told.provider == "file" and inside.partition_file != file:
        return False
    return same(replace(inside.told, refs=None), replace(told, refs=None))


def _lists_already(text: Optional[str], lists: Sequence[Container]) -> bool:
    try:
        now = told_by_file(text or "", [told.node for told in lists])
    except ValueError:
        return False
    return all(same(one, told) for one, told in zip(now, lists))


def _lists_changed(world: World, goal: Goal) -> set[str]:
    """Nodes whose own list in the file changes; the others need no restart for it."""
    return {
        name
        for name, told in goal.told.items()
        if told.provider == "file" and (inside := world.insides.get(name)) is not None and not same(inside.told, told)
    }


def _is_behind(world: World, name: str, lacks: frozenset[str]) -> bool:
    """Whether it lacks sensors that it is told to run because it started before it was told (times in whole seconds).

    A sensor that it lacks for another reason has given up: a restart would not mend it, and nothing would end.
    """
    inside, node = world.insides.get(name), world.snapshot.node(name)
    if not lacks or inside is None:
        return False
    if inside.told.provider == "kvstore" and node.map_changed_at is None:
        return True
    times = [at for at in (inside.conf_changed_at, node.map_changed_at) if at is not None]
    return node.started_at is None or any(at >= node.started_at - 1.0 for at in times)


def _step(verb: str, names: list[str], refs: Any, word: str, because: str) -> Optional[Step]:
    """One step for all nodes of a phase: they stop and start at once."""
    if not names:
        return None
    told = ", ".join(f"{name} {word} {_some(sorted(refs(name)))}" for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return Step(verb, ", ".join(names), f"{told}{more}; {because}")


def _some(refs: list[str]) -> str:
    if not refs:
        return "nothing"
    return refs[0] if len(refs) == 1 else count(len(refs), "sensor")
