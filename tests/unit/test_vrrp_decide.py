"""When the VIP is moved, how, and when not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st2ha.edge.vrrp.decide import FAULT_AT, switchover, undo
from st2ha.edge.vrrp.facts import Sighting, Snapshot
from st2ha.plan import Plan, Refused, Step
from st2ha.probe import Silence, Silent
from tests.vrrp_scenes import UNSEEN, VIP, conf, edge, node


def to(target: str, snapshot: Snapshot) -> Any:
    return switchover(snapshot, VIP, target, "st2ha")


def written(plan: Plan) -> list[tuple[str, int]]:
    return [(step.target, step.expect["number"]) for step in plan.steps if step.verb == "set_switch"]


def test_the_target_is_raised_just_above_the_holder() -> None:
    plan = to("lb2", edge())
    assert [step.verb for step in plan.steps] == ["set_switch", "await_holder", "prove"]
    assert written(plan) == [("lb2", 51)]
    assert plan.steps[0].expect == {"path": "/run/switch", "was": 0, "number": 51, "vip": VIP, "holder": "lb1"}


def test_home_again_by_lowering_the_raised_one() -> None:
    raised = node("lb2", holds=True, state="master", priority=151)
    plan = to("lb1", edge(node("lb1", holds=False, state="backup"), raised, switches={"lb1": 0, "lb2": 51}))
    assert [step.verb for step in plan.steps] == ["set_switch", "await_holder", "prove"]
    assert written(plan) == [("lb2", 0)]
    assert plan.steps[0].expect["was"] == 51


def test_it_is_there_already() -> None:
    plan = to("lb1", edge())
    assert isinstance(plan, Plan) and plan.steps == ()


def test_what_a_dead_switchover_left_is_finished() -> None:
    out = node("lb1", conf("lb1", "nopreempt"), holds=False, state="fault")
    here = node("lb2", conf("lb2", "nopreempt"), holds=True, state="master")
    plan = to("lb2", edge(out, here, switches={"lb1": -254, "lb2": 0}))
    assert [step.verb for step in plan.steps] == ["set_switch", "prove"] and written(plan) == [("lb1", 0)]
    refused = to("lb1", edge(out, here, switches={"lb1": -254, "lb2": 0}))
    assert any("keeps it out" in reason for reason in refused.reasons)


def reluctant(name: str, **other: Any) -> Any:
    return node(name, conf(name, "nopreempt"), **other)


def test_one_that_does_not_preempt_is_let_in() -> None:
    plan = to("lb2", edge(reluctant("lb1"), reluctant("lb2")))
    assert [step.verb for step in plan.steps] == ["set_switch", "await_holder", "set_switch", "prove"]
    assert written(plan) == [("lb1", -FAULT_AT), ("lb1", 0)]
    assert plan.steps[2].expect["was"] == -FAULT_AT and plan.steps[2].expect["holder"] == "lb2"


UNFIT = {
    "a balancer is not seen": (lambda: edge(node("lb1"), UNSEEN), "lb2 is not seen: ssh did not get in"),
    "split brain": (lambda: edge(node("lb1"), node("lb2", holds=True, state="master")), "lb1 and lb2 holds"),
    "nobody": (lambda: edge(node("lb1", holds=False, state="fault"), node("lb2")), "nobody holds"),
    "stale": (lambda: edge(node("lb1", alive=False), node("lb2")), "keepalived of lb1, which holds"),
    "hung": (lambda: edge(node("lb1", hung=True), node("lb2")), "keepalived of lb1, which holds"),
    "two macs": (
        lambda: edge(sightings={VIP: Sighting("this node", ("a", "b"))}), "2 MACs answer ARP",
    ),
    "nginx is dead there": (
        lambda: edge(services={"lb2": "connection refused", "lb1": None}), "lb2 does not serve: connection refused",
    ),
    "keepalived is dead there": (lambda: edge(node("lb1"), node("lb2", alive=False)), "keepalived of lb2 does not run"),
    "keepalived hangs there": (lambda: edge(node("lb1"), node("lb2", hung=True)), "keepalived of lb2 hangs"),
    "fault there": (lambda: edge(node("lb1"), node("lb2", state="fault")), "is in state FAULT"),
    "not its instance": (
        lambda: edge(node("lb1"), node("lb2", conf("lb2").replace("100/24", "101/24"))), "has no instance with",
    ),
    "no switch": (lambda: edge(node("lb1"), node("lb2", conf("lb2", switch=False))), "lb2 tracks no file 'st2ha': add"),
    "weight 0": (
        lambda: edge(node("lb1"), node("lb2", conf("lb2").replace("weight 1", "weight 0"))), "has weight 0",
    ),
    "unreadable switch": (
        lambda: edge(switches={"lb1": 0, "lb2": Silent(Silence.BROKEN, "`cat` ended with 1")}), "cannot be read: `cat`",
    ),
    "no room": (
        lambda: edge(node("lb1", conf("lb1", priority=254)), node("lb2")), "no room above it",
    ),
    "the holder would take it back": (
        lambda: edge(node("lb1"), reluctant("lb2")), "lb1 would take the VIP back",
    ),
    "a third would take it": (
        lambda: edge(
            reluctant("lb1"), reluctant("lb2", holds=False), node("lb3", conf("lb3", priority=120), holds=False)
        ),
        "lb3 would take the VIP",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_refusals_name_the_reason(case: str) -> None:
    scene, words = UNFIT[case]
    decision = to("lb2", scene())
    assert isinstance(decision, Refused)
    assert any(words in reason for reason in decision.reasons), decision.reasons
    assert "\n" not in decision.sentence()


def test_a_dead_nginx_at_the_holder_does_not_keep_it_there() -> None:
    assert isinstance(to("lb2", edge(services={"lb1": "connection refused", "lb2": None})), Plan)


def test_undo_takes_the_number_back_and_waits_for_the_vip() -> None:
    before = edge()
    stuck = edge(node("lb1"), node("lb2", priority=151), switches={"lb1": 0, "lb2": 51})
    plan = undo(before, stuck, VIP, "st2ha")
    assert plan is not None and [(s.verb, s.target) for s in plan.steps] == [("set_switch", "lb2")]
    moved = edge(
        node("lb1", holds=False, state="backup"), node("lb2", holds=True, state="master", priority=151),
        switches={"lb1": 0, "lb2": 51},
    )  # fmt: skip
    plan = undo(before, moved, VIP, "st2ha")
    assert plan is not None and [(s.verb, s.target) for s in plan.steps] == [
        ("set_switch", "lb2"), ("await_holder", "lb1"),
    ]  # fmt: skip
    assert undo(before, before, VIP, "st2ha") is None


def test_undo_where_nobody_preempts() -> None:
    before = edge(reluctant("lb1"), reluctant("lb2"))
    after = edge(
        reluctant("lb1", holds=False, state="fault"), reluctant("lb2", holds=True, state="master"),
        switches={"lb1": -254, "lb2": 0},
    )  # fmt: skip
    plan = undo(before, after, VIP, "st2ha")
    assert plan is not None
    assert [(s.verb, s.target, s.expect.get("number")) for s in plan.steps] == [
        ("set_switch", "lb1", 0), ("set_switch", "lb2", -254), ("await_holder", "lb1", None), ("set_switch", "lb2", 0),
    ]  # fmt: skip


class World:
    """Three balancers that preempt: the highest priority holds the VIP as soon as its number is written."""

    def __init__(self, priorities: dict[str, int], numbers: dict[str, int]) -> None:
        self.priorities, self.numbers = priorities, dict(numbers)

    def priority(self, name: str) -> int:
        return max(1, min(254, self.priorities[name] + self.numbers[name]))

    @property
    def first(self) -> list[str]:
        top = max(map(self.priority, self.priorities))
        return [name for name in self.priorities if self.priority(name) == top]

    def snapshot(self) -> Snapshot:
        among = tuple(self.priorities)
        nodes = [
            node(
                name, conf(name, among=among, priority=self.priorities[name]), holds=name == self.first[0],
                state="master" if name == self.first[0] else "backup", priority=self.priority(name),
            )
            for name in among
        ]  # fmt: skip
        return edge(*nodes, switches=dict(self.numbers))

    def does(self, step: Step) -> None:
        if step.verb == "set_switch":
            assert self.numbers[step.target] == step.expect["was"]
            assert step.expect["holder"] in (None, *self.first)
            self.numbers[step.target] = step.expect["number"]
        else:
            assert self.first == [step.target]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 254), min_size=2, max_size=3, unique=True),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=6),
)
def test_one_balancer_is_first_after_every_step_also_when_we_die_between(
    priorities: list[int], moves: list[tuple[int, int]]
) -> None:
    """Each move may die after some of its steps; the next one begins from what is there then."""
    names = ["lb1", "lb2", "lb3"][: len(priorities)]
    world = World(dict(zip(names, priorities)), dict.fromkeys(names, 0))
    for number, survives in moves:
        target = names[number % len(names)]
        decision = to(target, world.snapshot())
        if isinstance(decision, Refused):
            assert all("no room above" in reason for reason in decision.reasons)
            continue
        for step in decision.steps[: survives + 1]:
            world.does(step)
            assert len(world.first) == 1
        if survives >= len(decision.steps):
            assert world.first == [target]
