"""Plans and refusals, and what must hold for every one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.errors import BadInput
from st2ha.plan import Plan, Refused
from st2ha.probe import Silence, Silent
from st2ha.rabbitmq import decide, decide_vhost
from st2ha.rabbitmq.assess import assess
from st2ha.rabbitmq.content import Policy, Queue
from st2ha.rabbitmq.decide_vhost import Wanted
from st2ha.rabbitmq.facts import Node, Snapshot
from st2ha.rabbitmq.scene import critical_for, sole_copies
from tests import recorded_rabbitmq as recorded
from tests.recorded_rabbitmq import answered, changed, content, with_content, with_queues

HEALTHY = recorded.snapshot("healthy3")
SETTINGS = recorded.settings()
NODES = ("rabbit1@localhost", "rabbit2@localhost", "rabbit3@localhost")
ONE, TWO, THREE = NODES


def told(decision: Any) -> str:
    assert isinstance(decision, Refused)
    return decision.sentence()


@pytest.mark.parametrize("name", [TWO, "RABBIT2", "mq2:15672", " rabbit2@localhost "])
def test_a_node_has_several_names(name: str) -> None:
    assert decide.named(HEALTHY, name) == TWO


@pytest.mark.parametrize("name", ["rabbit9", "localhost", "*", "http://mq2:15672"])
def test_a_name_that_means_no_node_or_several_is_told_back(name: str) -> None:
    with pytest.raises(BadInput, match="use one of rabbit1@localhost"):
        decide.named(HEALTHY, name)


def test_without_the_tool_a_drain_tells_the_command() -> None:
    assert "run rabbitmq-upgrade drain on rabbit2@localhost by hand" in told(
        decide.drain(HEALTHY, recorded.settings(command=None), TWO)
    )


def test_no_drain_while_anything_is_unknown() -> None:
    hung = answered(HEALTHY, "mq3", Silent(Silence.HUNG, "no answer within 3 s"))
    assert "rabbit3@localhost hung: its state is unknown" in told(decide.drain(hung, SETTINGS, TWO, force=True))
    blocked = changed(HEALTHY, "mq3", views=(), blocked="no answer")
    assert "waits for another node" in told(decide.drain(blocked, SETTINGS, TWO, force=True))


def test_forget_refuses_whatever_may_still_live() -> None:
    assert "answers: stop it first" in told(decide.forget(HEALTHY, SETTINGS, TWO, force=True))
    killed = recorded.snapshot("node_killed")
    assert isinstance(decide.forget(killed, SETTINGS, TWO), Plan)
    amqp = replace(killed, amqp_open=frozenset({recorded.host("mq2")}))
    assert "still accepts AMQP" in told(decide.forget(amqp, SETTINGS, TWO, force=True))
    hung = answered(killed, "mq2", Silent(Silence.HUNG, "no answer"))
    assert "is hung, not down" in told(decide.forget(replace(hung, known={recorded.host("mq2"): TWO}), SETTINGS, TWO))


def test_no_rebalance_while_a_node_is_down() -> None:
    uneven = tuple(Queue("st2", f"st2.{n}", "quorum", "running", ONE, NODES, NODES) for n in range(4))
    killed = with_queues(recorded.snapshot("node_killed"), *uneven)
    assert f"{TWO} is not running: its share would come back to it unevenly" in told(decide.rebalance(killed))


def test_a_vhost_is_made_and_then_is_as_wanted() -> None:
    wanted = Wanted("/st2_v2_5", "st2", queue_type="quorum", copy_from="st2")
    plan = decide_vhost.create(HEALTHY, wanted)
    assert isinstance(plan, Plan)
    assert [step.verb for step in plan.steps] == ["put_vhost", "put_permission", "put_policy", "vhost_works"]
    same = decide_vhost.create(HEALTHY, Wanted("st2", "st2"))
    assert isinstance(same, Plan)
    assert same.steps == ()


def test_a_difference_in_permissions_is_shown() -> None:
    plan = decide_vhost.create(HEALTHY, Wanted("st2", "st2", read="^st2"))
    assert isinstance(plan, Plan)
    assert plan.steps[0].because == 'configure ".*" write ".*" read "^st2"; before: ".*" ".*" ".*"'


def test_mirroring_is_not_copied_to_rabbitmq_4() -> None:
    four = HEALTHY
    for name in ("mq1", "mq2", "mq3"):
        four = changed(four, name, version="4.0.5")
    mixed = Policy("st2", "mixed", ".*", "queues", 0, {"ha-mode": "all", "message-ttl": 1000})
    four = with_content(four, policies=(*content(four).policies, mixed))
    plan = decide_vhost.create(four, Wanted("new", "st2", copy_from="st2"))
    assert isinstance(plan, Plan)
    bodies = {step.expect["policy"]: step.expect["body"] for step in plan.steps if step.verb == "put_policy"}
    assert {name: body["definition"] for name, body in bodies.items()} == {"mixed": {"message-ttl": 1000}}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted("new", "nobody"), "parameter `user` is 'nobody'"),
        (Wanted("new", "st2", copy_from="nowhere"), "parameter `copy_policies_from` is 'nowhere'"),
    ],
)
def test_unknown_names_are_bad_input(wanted: Wanted, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        decide_vhost.create(HEALTHY, wanted)


@pytest.mark.parametrize("name", ["/", "/st2_v2_5", "100%", "a b", "ä"])
def test_odd_names_of_vhosts_are_names(name: str) -> None:
    assert decide_vhost.checked_vhost(name) == name


@pytest.mark.parametrize("name", ["", "  ", None, 5, "a\nb", "x" * 256, "%2F", "st2%2fnew"])
def test_what_is_no_name_of_a_vhost(name: Any) -> None:
    with pytest.raises(BadInput, match="parameter `vhost`"):
        decide_vhost.checked_vhost(name)


def test_a_vhost_in_use_is_not_deleted() -> None:
    base = with_content(
        HEALTHY,
        connections={"old": 3},
        vhosts=(*content(HEALTHY).vhosts, replace(content(HEALTHY).vhosts[0], name="old")),
    )
    assert "it has 3 connections (force=true overrides this)" in told(decide_vhost.delete(base, SETTINGS, "old"))
    assert isinstance(decide_vhost.delete(base, SETTINGS, "old", force=True), Plan)
    assert "StackStorm uses it" in told(decide_vhost.delete(base, SETTINGS, "st2", force=True))


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        (Queue("st2", "q", "classic", "running", ONE), None),
        (Queue("st2", "q", "classic", "running", ONE, transient_owner=True), "exclusive"),
        (Queue("st2", "q", "classic", "running", ONE, durable=False), "not durable"),
        (Queue("st2", "q", "classic", "running", ONE, arguments={"x-max-priority": 5}), "priorities"),
        (Queue("st2", "q", "stream", "running", ONE), "stream"),
    ],
)
def test_what_becomes_a_quorum_queue(queue: Queue, why: Optional[str]) -> None:
    limitation = decide.limitation(queue)
    assert (limitation is None) if why is None else (limitation is not None and why in limitation)


# -- properties

silences = st.sampled_from([Silent(kind, kind.value) for kind in Silence])


@st.composite
def queues(draw: st.DrawFn) -> Queue:
    members = tuple(draw(st.permutations(NODES)))[: draw(st.integers(1, 3))]
    others = members[1:]
    subset = tuple(name for name in others if draw(st.booleans()))
    kind = draw(st.sampled_from(["classic", "quorum"]))
    online = (members[0], *subset) if kind == "quorum" else members
    synced = subset if kind == "classic" else ()
    name, messages = f"st2.{draw(st.integers(0, 99))}", draw(st.integers(0, 5))
    return Queue("st2", name, kind, "running", members[0], members, online, synced, messages=messages, ready=messages)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    base = with_queues(HEALTHY, *draw(st.lists(queues(), max_size=5)))
    for number, name in enumerate(NODES, 1):
        fate = draw(st.sampled_from(["well", "well", "well", "silent", "blocked", "alone"]))
        if fate == "silent":
            base = answered(base, f"mq{number}", draw(silences))
        elif fate == "blocked":
            base = changed(base, f"mq{number}", views=(), name=None, content=None, blocked="no answer")
        elif fate == "alone" and isinstance(base.answers[recorded.host(f"mq{number}")], Node):
            views = recorded.node(base, f"mq{number}").views
            alone = tuple(replace(view, running=view.name == name) for view in views)
            base = changed(base, f"mq{number}", views=alone)
    return base


@given(snapshots(), st.sampled_from(NODES))
def test_an_unforced_drain_never_takes_what_a_queue_needs(snapshot: Snapshot, node: str) -> None:
    try:
        decision = decide.drain(snapshot, SETTINGS, node)
    except BadInput:
        return
    if isinstance(decision, Plan) and decision.steps:
        assert len(snapshot.sides) == 1
        running = snapshot.sides[0]
        assert not critical_for(content(snapshot), node, running)
        assert not sole_copies(content(snapshot), node)
        unsure = (Silence.HUNG, Silence.UNREACHABLE, Silence.TLS, Silence.BROKEN, Silence.DENIED)
        assert not any(silent.kind in unsure for _, silent in snapshot.of(Silent))


@given(snapshots(), st.sampled_from(NODES), st.booleans())
def test_a_node_that_answers_or_is_seen_is_never_forgotten(snapshot: Snapshot, node: str, force: bool) -> None:
    try:
        decision = decide.forget(snapshot, SETTINGS, node, force)
    except BadInput:
        return
    if isinstance(decision, Plan) and decision.steps:
        assert snapshot.node(node) is None
        assert not any(view.running for _, view in snapshot.views_of(node))


@given(snapshots())
def test_every_cluster_can_be_assessed_and_told(snapshot: Snapshot) -> None:
    findings = assess(snapshot, SETTINGS, snapshot.at)
    assert len({finding.key for finding in findings}) == len(findings)
    assert len(snapshot.rows()) == 3
    if len(snapshot.sides) > 1:
        assert any(
            finding.code in ("Partitioned", "TopologyUnknown", "NodeDown", "NodeHung") or finding.severity >= 2
            for finding in findings
        )
