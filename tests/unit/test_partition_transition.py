"""Any fleet to any other, killed anywhere, containers restarting by themselves: no sensor twice, and an end.

The model of a container is StackStorm's: it reads what it is told once, when it starts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from st2ha.config import select
from st2ha.partition import decide
from st2ha.partition.artifacts import file_text, options, told_by_file, told_by_keys
from st2ha.partition.facts import SensorNode, Snapshot
from st2ha.partition.fleet import Sensor
from st2ha.partition.gather import World
from st2ha.partition.hash import sensor_hash
from st2ha.partition.inside import Inside, Seen, told_by_conf
from st2ha.partition.providers import NOBODY, Container, key_of, share_of
from st2ha.partition.ranges import HashRange, show
from st2ha.partition.transition import CONF, FILE, KEY, Goal, Transition, Write, rows_of, transition, writes_for

NODES = ("a", "b", "c")
REFS = tuple(f"pack.Sensor{number}" for number in range(5))
PATH = "/etc/st2/sensor_partition.yaml"
LAYER = select({"deployments": [{"name": "d", "sensors": {"nodes": [{"name": name} for name in NODES]}}]}).require(
    "sensors"
)


@dataclass
class Node:
    conf: str
    file: str | None = None
    runs: frozenset[str] | None = frozenset()
    started: float = 0.0
    changed: float = 0.0


@dataclass
class Model:
    """A fleet that can be written to, stopped and started; `most` is how often any sensor ran at once at any moment."""

    nodes: dict[str, Node]
    keys: dict[str, str] = field(default_factory=dict)
    key_times: dict[str, float] = field(default_factory=dict)
    clock: Iterator[int] = field(default_factory=lambda: itertools.count(10, 10))

    def told(self, name: str) -> Container:
        told, _ = told_by_conf(self.nodes[name].conf)
        if told.provider == "file":
            return told_by_file(self.nodes[name].file or "", [told.node])[0]
        if told.provider == "kvstore":
            value = self.keys.get(told.node)
            return told_by_keys({told.node: value})[0]
        return told

    def start(self, name: str) -> None:
        share, node = share_of(self.told(name)), self.nodes[name]
        if share.ended is not None:
            node.runs = None
            return
        node.runs = frozenset(
            ref
            for ref in REFS
            if share.everything or ref in share.refs or any(sensor_hash(ref) in each for each in share.ranges)
        )
        node.started = float(next(self.clock))
        self.check()

    def check(self) -> None:
        running = [ref for node in self.nodes.values() for ref in node.runs or ()]
        assert len(running) == len(set(running)), f"twice: {running}"

    def write(self, write: Write) -> None:
        at = float(next(self.clock))
        if write.verb == KEY:
            self.keys[write.where] = str(write.after)
            self.keys[write.where.rpartition(".")[0]] = str(write.after)
            self.key_times[write.node] = at
        else:
            setattr(self.nodes[write.node], "conf" if write.verb == CONF else "file", write.after)
            self.nodes[write.node].changed = at

    def world(self) -> World:
        seen = {}
        for name, node in self.nodes.items():
            down = node.runs is None
            seen[name] = Seen(node.runs or frozenset(), () if down else (1,), None if down else node.started)
        insides = {
            name: Inside(self.told(name), node.conf, PATH, node.file, node.changed, node.changed, seen[name])
            for name, node in self.nodes.items()
        }
        nodes = tuple(
            SensorNode(
                name, self.told(name), running=seen[name].running, containers=seen[name].containers,
                started_at=seen[name].started_at,
                map_changed_at=self.key_times.get(name, 0.0)
                if self.told(name).provider == "kvstore"
                else self.nodes[name].changed,
            )
            for name in NODES
        )  # fmt: skip
        keys = {name: self.keys.get(name) for name in NODES}
        return World(Snapshot(nodes, tuple(map(Sensor, REFS))), insides, keys)

    def carry_out(self, way: Transition, killed_after: int, restarts: list[str]) -> None:
        """The first steps of a way; after each, one container may restart by itself, as after a crash."""
        for step in way.steps[:killed_after]:
            names = step.target.split(", ")
            if step.verb in ("stop", "restart"):
                for name in names:
                    self.nodes[name].runs = None
            if step.verb in ("start", "restart"):
                for name in names:
                    self.start(name)
            if step.verb in (CONF, FILE, KEY):
                write = next(w for w in way.writes if w.verb == step.verb and step.target in (w.node, w.where))
                self.write(write)
            if restarts and self.nodes[restarts[0]].runs is not None:
                self.start(restarts.pop(0))


owners = st.tuples(*[st.sampled_from(NODES)] * len(REFS))
goals = st.tuples(st.sampled_from(["hash", "kvstore", "file"]), owners)
GoalOf = tuple[str, tuple[str, ...]]


def containers(provider: str, owned: tuple[str, ...]) -> dict[str, Container]:
    lists = {name: [ref for ref, owner in zip(REFS, owned) if owner == name] for name in NODES}
    if provider == "hash":
        ranges = {name: [HashRange(sensor_hash(r), sensor_hash(r) + 1) for r in refs] for name, refs in lists.items()}
        return {name: Container(name, "hash", show(each)) for name, each in ranges.items()}
    return {name: Container(name, provider, refs=tuple(refs) or (NOBODY,)) for name, refs in lists.items()}


def settled(told: dict[str, Container]) -> Model:
    """A fleet that is told this, and runs it."""
    model = Model({})
    for name, each in told.items():
        lines = "".join(f"{option} = {value}\n" for option, value in options(each, PATH).items())
        model.nodes[name] = Node(f"# {name}\n[sensorcontainer]\n{lines}", None, None)
        if each.provider == "file":
            model.nodes[name].file = file_text(list(told.values()))
        if each.provider == "kvstore":
            model.keys[name] = model.keys[key_of(name)] = ",".join(each.refs or ())
    for name in told:
        model.start(name)
    return model


def way_to(model: Model, told: dict[str, Container]) -> Transition:
    world, goal = model.world(), Goal(told, PATH)
    return transition(world, goal, writes_for(world, goal))


def at_the_end(model: Model, told: dict[str, Container], owned: tuple[str, ...]) -> None:
    running = {ref: name for name, node in model.nodes.items() for ref in node.runs or ()}
    assert running == dict(zip(REFS, owned))
    assert way_to(model, told).steps == ()


@settings(deadline=None)
@given(goals, goals, st.integers(0, 12), goals, st.lists(st.sampled_from(NODES), max_size=4))
def test_killed_anywhere_and_called_again(
    before: GoalOf, aim: GoalOf, killed_after: int, second: GoalOf, restarts: list[str]
) -> None:
    model = settled(containers(*before))
    model.carry_out(way_to(model, containers(*aim)), killed_after, restarts)
    model.carry_out(way_to(model, containers(*second)), 99, restarts)
    at_the_end(model, containers(*second), second[1])


@settings(deadline=None)
@given(goals, goals, st.integers(0, 12))
def test_the_way_back_leads_to_what_it_was(before: GoalOf, aim: GoalOf, failed_after: int) -> None:
    model = settled(containers(*before))
    texts = {name: (node.conf, node.file) for name, node in model.nodes.items()}, dict(model.keys)
    world, forth = model.world(), way_to(model, containers(*aim))
    model.carry_out(forth, failed_after, [])
    back = decide.way_back(world, forth, model.world())
    if back is not None:
        model.carry_out(back, 99, [])
    assert {name: node.conf for name, node in model.nodes.items()} == {name: each[0] for name, each in texts[0].items()}
    assert {name: model.keys.get(name) for name in NODES if name in texts[1]} == {
        name: texts[1][name] for name in NODES if name in texts[1]
    }
    running = {ref: name for name, node in model.nodes.items() for ref in node.runs or ()}
    assert running == dict(zip(REFS, before[1]))


@settings(deadline=None)
@given(goals, goals, st.integers(0, 12), st.sampled_from(NODES))
def test_a_node_that_went_dumb_is_never_doubled(before: GoalOf, aim: GoalOf, failed_after: int, dumb: str) -> None:
    """It runs on, unseen; what it may run is started nowhere else."""
    model = settled(containers(*before))
    world, forth = model.world(), way_to(model, containers(*aim))
    model.carry_out(forth, failed_after, [])
    after = model.world()
    nodes = tuple(
        replace(each, container=None, running=None, containers=None, unread="no answer") if each.name == dumb else each
        for each in after.snapshot.nodes
    )
    insides = {name: each for name, each in after.insides.items() if name != dumb}
    unseen = replace(after, snapshot=replace(after.snapshot, nodes=nodes), insides=insides)
    back = decide.way_back(world, forth, unseen)
    if back is not None:
        assert not any(dumb in step.target.split(", ") for step in back.steps)
        model.carry_out(back, 99, [])


def test_who_keeps_its_sensors_is_not_touched() -> None:
    model = settled(containers("kvstore", ("a", "a", "b", "c", "c")))
    way = way_to(model, containers("kvstore", ("a", "b", "b", "c", "c")))
    assert [f"{step.verb} {step.target}" for step in way.steps] == [
        "stop a", "write_key a.sensor_partition", "write_key b.sensor_partition", "restart b", "start a",
        "prove sensors",
    ]  # fmt: skip


def test_a_sensor_that_gave_up_restarts_nobody() -> None:
    told = containers("hash", ("a", "a", "b", "c", "c"))
    model = settled(told)
    model.nodes["a"].runs = frozenset(REFS[:1])
    assert way_to(model, told).steps == ()


def test_targets_are_read_as_they_are_told() -> None:
    for provider in ("hash", "kvstore", "file"):
        told = containers(provider, ("a", "a", "b", "c", "a"))
        assert decide.target_from("target", rows_of(told), LAYER).told == told
    fleet = settled(told).world()
    other = Goal({**told, "a": Container("a", "default")}, PATH)
    assert decide.strangers(fleet, Goal(told, PATH)) == []
    assert decide.strangers(fleet, other) == [
        "a is told neither what it was nor what it should be told: somebody else has changed it"
    ]
    assert decide.misfits(other, fleet)[0] == "pack.Sensor2 would run on a and b"
