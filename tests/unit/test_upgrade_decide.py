"""Which steps an upgrade takes, forwards and back, from every state of its ledger; and the table they come from."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from st2ha.plan import Plan, Refused
from st2ha.report import Report
from st2ha.upgrade import assess as rules
from st2ha.upgrade import decide
from st2ha.upgrade.act import Acting
from st2ha.upgrade.conf import Names
from st2ha.upgrade.drain import Leftovers, Open
from st2ha.upgrade.ledger import CUT_OVER, CUTTING, NEW, PREPARED, RETIRED, ROLLED_BACK, VERIFIED, Entry
from st2ha.upgrade.phases import CUTOVER, PHASES, phase_of
from st2ha.upgrade.preflight import Cache, Inside, Preflight
from st2ha.upgrade.scene import Scene
from st2ha.upgrade.settings import Node, Side, Upgrade

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
OLD = Side("old", (2, 4), (Node("old1", "old1", "/x", "old"),), "http://old")
NEW_SIDE = Side("new", (2, 5), tuple(Node(name, name, "/x", "new") for name in ("new1", "new2")), "http://new")
UPGRADE = Upgrade(OLD, NEW_SIDE, (), balancers=("lb2", "lb1"), switch=("switch",), vip_api_url="http://vip")
SCENE = Scene(UPGRADE, Names("st2_v2_5", "st2_v2_5"), "st2", "st2", Entry(), None, {}, ())
FORWARD = [(verb, phase.name) for phase in PHASES for verb in phase.steps]


def entry(state: str, *verbs: str, **more: Any) -> Entry:
    return Entry(state, steps=tuple({"verb": verb, "target": "x", "at": NOW} for verb in verbs), **more)


def verbs(decision: Any) -> list[str]:
    assert isinstance(decision, Plan), decision
    return [f"{step.verb} {step.target}" for step in decision.steps]


def refusal(decision: Any) -> str:
    assert isinstance(decision, Refused), decision
    return decision.sentence()


def test_every_verb_of_the_table_can_be_carried_out_and_belongs_to_a_phase() -> None:
    for phase in PHASES:
        for verb in (*phase.steps, *phase.undo):
            assert callable(getattr(Acting, verb)), verb
            assert phase_of(verb)


def test_a_cutover_switches_the_standby_first_and_starts_sensors_last() -> None:
    found = verbs(decide.cutover(replace(SCENE, entry=entry(VERIFIED))))
    assert found == [
        "catch_up_first st2_v2_5",
        "stop_inflow old1",
        "wait_drained st2",
        "catch_up st2_v2_5",
        "switch lb2",
        "switch lb1",
        "finish_old st2",
        "hand_over st2_v2_5",
        "start_inflow new1, new2",
        "canary_vip http://vip",
        "end_streams old1",
    ]


@pytest.mark.parametrize("state, able", [
    (NEW, {"prepare"}), (PREPARED, {"prepare", "verify"}), (VERIFIED, {"verify", "cutover"}), (CUTTING, {"cutover"}),
    (CUT_OVER, {"cutover"}), (ROLLED_BACK, set()), (RETIRED, set()),
])  # fmt: skip
def test_what_may_follow_on_each_state(state: str, able: set[str]) -> None:
    scene = replace(SCENE, entry=entry(state))
    decisions = {
        "prepare": decide.forward(scene, "prepare"),
        "verify": decide.forward(scene, "verify"),
        "cutover": decide.cutover(scene),
    }
    assert {name for name, decision in decisions.items() if isinstance(decision, Plan)} == able


def test_a_second_controller_is_refused_by_name() -> None:
    assert "process 7 on b" in refusal(decide.forward(replace(SCENE, holder="process 7 on b"), "prepare"))


def test_a_downgrade_needs_force_and_tells_its_risk() -> None:
    scene = replace(SCENE, upgrade=replace(UPGRADE, new=replace(NEW_SIDE, version=(2, 3, 9))))
    words = refusal(decide.forward(scene, "prepare"))
    assert "2.3.9 is older than 2.4" in words and "force=true" in words
    assert isinstance(decide.forward(scene, "prepare", force=True), Plan)


@pytest.mark.parametrize("number", range(1, len(FORWARD) - 2))
def test_a_rollback_undoes_what_was_begun_and_deletes_nothing_that_users_reached(number: int) -> None:
    """After each step of the way, as if killed there."""
    done = [verb for verb, _ in FORWARD[:number]]
    scene = replace(SCENE, entry=entry(CUTTING, *done, switched_at=NOW if "switch" in done else None))
    found = [line.split()[0] for line in verbs(decide.rollback(scene, purge=True))]
    assert ("switch_back" in found) == ("switch" in done)
    assert ("start_inflow_old" in found) == ("stop_inflow" in done)
    assert ("stop_work" in found) == ("start_work" in done)
    assert ("stop_inflow_new" in found) == ("start_inflow" in done)
    assert ("drop_database" in found) == ("delete_vhost" in found) == ("switch" not in done)
    assert ("export_new" in found) == ("return_keys" in found) == ("switch" in done)
    if "end_streams" in done:  # stopped, and killed before they were started: balancers go back to what runs only
        assert found.index("start_streams_old") < found.index("switch_back")
    if "switch" in done:  # before the old side's sensors start
        assert found.index("switch_back") < found.index("return_keys") < found.index("start_inflow_old")
    if "start_inflow" in done:
        assert found.index("switch_back") < found.index("stop_inflow_new") < found.index("start_inflow_old")
        assert found.index("drain_new") < found.index("stop_work")


def test_a_rollback_starts_streams_only_where_their_restart_was_broken_off() -> None:
    done = Entry(CUT_OVER, steps=({"verb": "end_streams", "target": "x", "at": NOW, "done_at": NOW},), switched_at=NOW)
    assert "start_streams_old" not in " ".join(verbs(decide.rollback(replace(SCENE, entry=done), purge=False)))


def test_a_switch_that_was_meant_and_not_begun_reached_nobody() -> None:
    scene = replace(SCENE, entry=entry(CUTTING, "create_vhost", "copy_database", "stop_inflow", "switch"))
    found = [line.split()[0] for line in verbs(decide.rollback(scene, purge=True))]
    assert found == ["start_inflow_old", "drop_database", "delete_vhost"]


def test_nothing_begun_is_nothing_to_undo() -> None:
    assert verbs(decide.rollback(SCENE, purge=True)) == []
    assert "the upgrade is retired" in refusal(decide.rollback(replace(SCENE, entry=entry(RETIRED, "switch")), False))


def test_the_old_side_goes_after_the_soak_time_and_with_its_name_repeated() -> None:
    scene = replace(SCENE, entry=entry(CUT_OVER, handed_over_at=NOW))
    late = NOW.timestamp() + UPGRADE.soak_s + 1
    assert "soak time" in refusal(decide.retire(scene, NOW.timestamp() + 60, "st2"))
    assert "repeat the old database's name, st2" in refusal(decide.retire(scene, late, "st2_v2_5"))
    assert "rabbitmq.vhost is still st2" in refusal(decide.retire(replace(scene, configured_vhost="st2"), late, "st2"))
    assert verbs(decide.retire(scene, late, "st2")) == [
        "stop_old old1",
        "delete_old_vhost st2",
        "drop_old_database st2",
    ]
    assert "this needs one that is cut over" in refusal(
        decide.retire(replace(scene, entry=entry(VERIFIED)), late, "st2")
    )


def test_the_window_is_from_the_first_stop_of_this_attempt() -> None:
    assert entry(CUTTING, "stop_inflow").closed_at == NOW and entry(NEW).closed_at is None
    assert CUTOVER == ("drain", "catch-up", "cutover")


@pytest.mark.parametrize("found, leftovers, words, aborted", [
    (Open(0, (), (), 0, 0, 0), Leftovers(), None, ()),
    (Open(2, (), (), 1, 0, 3), Leftovers(), "2 executions, 1 scheduled item, 3 messages", ()),
    (Open(0, ("a",), ("b",), 0, 0, 0), Leftovers(), "inquiries: a, paused: b", ()),
    (Open(0, ("a",), ("b",), 0, 0, 0), Leftovers("carry"), "paused: b", ()),
    (Open(0, ("a",), ("b",), 0, 0, 0), Leftovers("carry", "carry"), None, ()),
    (Open(0, ("a",), ("b",), 0, 0, 0), Leftovers("abort", "carry"), "inquiries: a", ("a",)),
    (Open(0, ("a",), ("b",), 0, 0, 0), Leftovers("wait", "abort"), "inquiries: a, paused: b", ("b",)),
    (Open(0, tuple("abcde"), (), 0, 0, 0), Leftovers(), "inquiries: a, b, c and 2 more", ()),
])  # fmt: skip
def test_what_a_drain_waits_for(found: Open, leftovers: Leftovers, words: str | None, aborted: tuple[str, ...]) -> None:
    assert found.missing(leftovers) == words and found.to_abort(leftovers) == aborted


def states(state: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names or (*UPGRADE.inflow, *UPGRADE.work, *UPGRADE.late), state)


GOOD = Inside("2.5.1", "3.11", "key", ("/opt/stackstorm/packs",), (), 0.0, 10**10, states("inactive"))
CONF = {"messaging": {"url": "amqp://h/st2"}, "database": {"db_name": "st2"}}
SHARED = {**CONF, "sensorcontainer": {"partition_provider": "name:kvstore"}}
ONE_TIMER = replace(NEW_SIDE, nodes=(NEW_SIDE.nodes[0], replace(NEW_SIDE.nodes[1], services=("st2sensorcontainer",))))
LOOKED = Preflight(
    replace(SCENE, upgrade=replace(UPGRADE, new=ONE_TIMER)),
    {"old1": replace(GOOD, version="2.4.0", states=states("active")), "new1": GOOD, "new2": GOOD},
    Report("lab", "all well"),
    (),
    False,
    Open(3, (), (), 0, 0, 0),
    ("administrator",),
    {"old1": CONF, "new1": SHARED, "new2": SHARED},
    caches=(Cache("mongo1:27017", 10**9),),
    index_bytes=10**8,
)


def test_a_node_starts_what_it_is_listed_for() -> None:
    plan = decide.cutover(replace(LOOKED.scene, entry=entry(VERIFIED)))
    assert isinstance(plan, Plan)
    (started,) = (step.expect["services"] for step in plan.steps if step.verb == "start_inflow")
    everything = ("st2sensorcontainer", "st2timersengine", "st2garbagecollector")
    assert started == {"new1": everything, "new2": ("st2sensorcontainer",)}


def codes(looked: Preflight, force: bool = False) -> set[str]:
    return {f"{finding.severity.word} {finding.code}" for finding in rules.assess(looked, force)}


def with_new(**other: Any) -> Preflight:
    return replace(LOOKED, nodes={**LOOKED.nodes, "new2": replace(GOOD, **other)})


def with_old(**other: Any) -> Preflight:
    return replace(LOOKED, nodes={**LOOKED.nodes, "old1": replace(LOOKED.nodes["old1"], **other)})


def with_conf(node: str, options: dict[str, dict[str, str]]) -> Preflight:
    return replace(LOOKED, confs={**LOOKED.confs, node: options})


def test_a_fit_upgrade_has_no_finding() -> None:
    assert codes(LOOKED) == set()


@pytest.mark.parametrize("looked, wanted", [
    (with_new(version=None), {"warning VersionUnread"}),
    (with_new(version="2.6.0"), {"critical VersionOther"}),
    (with_new(key="another"), {"critical CryptoKeyOther"}),
    (with_new(key=None), {"critical CryptoKeyOther"}),
    (with_new(content=()), {"critical ContentMissing"}),
    (with_new(python="3.12"), {"warning PythonOther"}),
    (with_new(unreached=("mq1:5672",)), {"critical ServerUnreachedByNode"}),
    (with_new(clock_s=-3.0), {"warning NodeClockApart"}),
    (replace(LOOKED, nodes={**LOOKED.nodes, "new2": "ssh did not get in"}), {"unknown NodeUnasked"}),
    (replace(LOOKED, against_copy=("too little disk",)), {"critical CopyImpossible"}),
    (replace(LOOKED, vhost_exists=True), {"critical VhostTaken"}),
    (replace(LOOKED, vhost_exists=None), {"unknown VhostsUnread"}),
    (replace(LOOKED, open="no broker"), {"unknown WorkUnread"}),
    (replace(LOOKED, open=Open(0, ("a",), (), 0, 0, 0)), {"warning InquiriesWaiting"}),
    (replace(LOOKED, open=Open(0, (), ("b",), 0, 0, 0)), {"warning ExecutionsPaused"}),
    (replace(LOOKED, scene=replace(SCENE, upgrade=replace(UPGRADE, new=ONE_TIMER, balancers=()))),
     {"warning BalancersUnset"}),
    (replace(LOOKED, scene=replace(LOOKED.scene, entry=entry(PREPARED, "create_vhost")), vhost_exists=True), set()),
    (replace(LOOKED, broker_tags=("monitoring",)), {"critical BrokerRightsMissing"}),
    (with_conf("old1", {**CONF, "messaging": {"url": "amqp://h/other"}}), {"critical OldSideApart"}),
    (with_conf("old1", {**CONF, "database": {"host": "mongodb://a/st2", "db_name": "st3"}}),
     {"critical DatabaseNamedTwice"}),
    (with_conf("old1", {**CONF, "database": {"host": "mongodb://a/st2", "db_name": "st2"}}), set()),
    (with_new(states=states("active", "st2api")), {"critical NewSideRuns"}),
    (with_new(states=None), {"warning ServicesUntold"}),
    (with_old(states={**states("active"), "st2notifier": "inactive"}), {"warning ServiceIdle"}),
    (with_old(states={**states("active"), "st2timersengine": "failed"}), {"critical ServiceIdle"}),
    (with_old(states={**states("active"), "st2garbagecollector": "inactive"}), set()),
    (replace(LOOKED, scene=SCENE), {"critical StartedTwice"}),
    (with_conf("new2", {**CONF, "sensorcontainer": {"partition_provider": "name:default"}}), set()),
    (replace(LOOKED, confs=dict.fromkeys(LOOKED.confs, CONF)), {"critical StartedTwice"}),
    (with_new(free_bytes=10**8), {"warning MemoryShort"}),
    (replace(LOOKED, index_bytes=6 * 10**8), {"warning CacheShort"}),
    (replace(LOOKED, rehearsed={"new1": ("its directory cannot be written",)}), {"critical WayBackClosed"}),
])  # fmt: skip
def test_each_finding_of_a_preflight(looked: Preflight, wanted: set[str]) -> None:
    assert codes(looked) == wanted


def test_a_downgrade_is_a_finding() -> None:
    scene = replace(SCENE, upgrade=replace(UPGRADE, new=replace(ONE_TIMER, version=(2, 3))))
    nodes = {**LOOKED.nodes, "new1": replace(GOOD, version="2.3"), "new2": replace(GOOD, version="2.3")}
    assert codes(replace(LOOKED, scene=scene, nodes=nodes)) == {"critical DowngradeAsked"}
    assert codes(replace(LOOKED, scene=scene, nodes=nodes), force=True) == {"warning DowngradeAsked"}
