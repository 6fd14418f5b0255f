"""Plans and refusals for what the recorded cases do not show: single facts changed in a healthy set."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from st2ha.config import Host, Mongodb
from st2ha.errors import BadInput
from st2ha.mongodb.decide import STEP_DOWN_S, best_candidate, freeze, limitation, switchover
from st2ha.mongodb.facts import Denied, Snapshot, View
from st2ha.plan import Plan, Refused
from st2ha.probe import Silence, Silent
from tests import recorded
from tests.recorded import answered, changed, everywhere, host

HEALTHY = recorded.snapshot("healthy3")
SETTINGS = Mongodb(tuple(HEALTHY.answers), "rs0")
DOWN = Silent(Silence.REFUSED, "connection refused", 0.001)


def with_line(base: Snapshot, name: str, **line: Any) -> Snapshot:
    """The snapshot with another line of the set's configuration."""
    config = base.config
    assert config is not None
    members = tuple(replace(m, **line) if m.name == f"{name}:27017" else m for m in config.members)
    return everywhere(base, config=replace(config, members=members))


def refusal(snapshot: Snapshot, target: str | None = "mongo2", force: bool = False) -> Refused:
    decision = switchover(snapshot, SETTINGS, target, force)
    assert isinstance(decision, Refused), decision
    return decision


def plan(snapshot: Snapshot, target: str | None = "mongo2", force: bool = False) -> Plan:
    decision = switchover(snapshot, SETTINGS, target, force)
    assert isinstance(decision, Plan), decision
    return decision


# -- what force overrides, and what it does not

SOFT = {
    "lag": (changed(HEALTHY, "mongo2", optime=HEALTHY.member("mongo2:27017").optime._replace(seconds=1)), "s behind"),  # type: ignore[union-attr]
    "third member down": (answered(HEALTHY, "mongo3", DOWN), "mongo3:27017 unreachable: connection refused"),
    "short oplog": (changed(HEALTHY, "mongo2", oplog_wrapped=True, oplog_window_s=60.0), "only 0.0 h of oplog"),
    "full disk": (changed(HEALTHY, "mongo2", disk_used=0.96), "disk of mongo2:27017 is 96% full"),
    "lower priority": (
        with_line(HEALTHY, "mongo1", priority=5.0),
        "mongo1:27017 has the higher priority (5 against 1)",
    ),
}
HARD = {
    "priority 0": (with_line(HEALTHY, "mongo2", priority=0.0), "priority 0"),
    "no vote": (with_line(HEALTHY, "mongo2", votes=0), "0 votes"),
    "delayed": (with_line(HEALTHY, "mongo2", delay_s=3600.0), "3600 s behind on purpose"),
    "initial sync": (changed(HEALTHY, "mongo2", state="STARTUP2"), "STARTUP2, not SECONDARY"),
    "position unknown": (changed(HEALTHY, "mongo2", optime=None), "position in the oplog is unknown"),
    "target down": (answered(HEALTHY, "mongo2", DOWN), "mongo2:27017 does not answer"),
    "a member that does not let us in": (
        answered(HEALTHY, "mongo3", Denied(host("mongo3"), "mongo3:27017", False, "no")),
        "mongo3:27017 does not let us in",
    ),
    "split brain": (changed(HEALTHY, "mongo3", writable=True, term=9), "two members accept writes"),
    "no primary": (changed(HEALTHY, "mongo1", writable=False, state="SECONDARY"), "no primary was found"),
    "a member that is not configured here": (
        replace(HEALTHY, answers={h: a for h, a in HEALTHY.answers.items() if h.name != "mongo3"}),
        "mongo3:27017 of the set is not in mongodb.hosts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOFT)
def test_force_overrides(name: str) -> None:
    snapshot, words = SOFT[name]
    refused = refusal(snapshot)
    assert not refused.reasons and words in refused.sentence()
    assert refused.sentence().endswith("(force=true overrides this)")
    assert "elect mongo2:27017" in [f"{step.verb} {step.target}" for step in plan(snapshot, force=True).steps]


@pytest.mark.parametrize("name", HARD)
def test_force_does_not_override(name: str) -> None:
    snapshot, words = HARD[name]
    for force in (False, True):
        refused = refusal(snapshot, force=force)
        assert words in "; ".join(refused.reasons)
        assert "force=true" not in refused.sentence()


def test_a_refusal_tells_all_reasons_at_once() -> None:
    snapshot = changed(answered(HEALTHY, "mongo3", DOWN), "mongo2", disk_used=0.99)
    assert refusal(snapshot).sentence() == (
        "switchover of rs0 to mongo2: mongo3:27017 unreachable: connection refused; "
        "the disk of mongo2:27017 is 99% full (force=true overrides this)"
    )


# -- the plan


def test_the_primary_steps_down_only_when_all_is_ready_for_the_target() -> None:
    verbs = [f"{step.verb} {step.target}" for step in plan(HEALTHY).steps]
    down = verbs.index("step_down mongo1:27017")
    assert verbs.index("catch_up mongo2:27017") < verbs.index("freeze mongo3:27017") < down
    assert verbs[down + 1] == "elect mongo2:27017"
    assert verbs[-1] == "prove mongo2:27017"


def test_whoever_is_frozen_for_the_switch_is_unfrozen_after_it() -> None:
    freezes = [(step.target, step.expect["seconds"]) for step in plan(HEALTHY).steps if step.verb == "freeze"]
    assert freezes == [("mongo2:27017", 0), ("mongo3:27017", STEP_DOWN_S), ("mongo3:27017", 0), ("mongo1:27017", 0)]


def test_each_step_says_why_and_the_writing_ones_what_they_expect() -> None:
    steps = plan(HEALTHY).steps
    assert all(step.because for step in steps)
    assert all(step.expect["term"] == 1 for step in steps if step.verb in ("catch_up", "follow", "step_down"))


def test_a_candidate_that_came_back_just_now_is_left_to_the_clients_first() -> None:
    views = tuple(View(f"{name}:27017", "SECONDARY", True, up_s) for name, up_s in (("mongo2", 10.0), ("mongo3", 11.0)))
    snapshot = changed(HEALTHY, "mongo1", views=views)
    verbs = [step.verb for step in plan(snapshot).steps]
    assert verbs.index("catch_up") < verbs.index("await_clients") < verbs.index("follow")
    assert "await_clients" not in [step.verb for step in plan(snapshot, target="mongo3").steps]


def test_a_candidate_that_syncs_from_another_secondary_is_turned_to_the_primary_first() -> None:
    snapshot = changed(HEALTHY, "mongo2", sync_source="mongo3:27017")
    follows = [(s.target, s.expect["source"]) for s in plan(snapshot).steps if s.verb == "follow"]
    assert follows == [("mongo2:27017", "mongo1:27017"), ("mongo3:27017", "mongo2:27017")]


def test_a_member_that_is_cut_off_is_left_alone() -> None:
    decision = switchover(recorded.snapshot("primary_cut_off"), SETTINGS, "mongo3", force=True)
    assert isinstance(decision, Plan)
    assert not [step for step in decision.steps if step.target == "mongo1:27017"]


# -- names


@pytest.mark.parametrize("target", ["mongo2", "mongo2:27017", " MONGO2:27017 "])
def test_a_member_may_be_named_with_or_without_its_port(target: str) -> None:
    assert plan(HEALTHY, target).steps[-1].target == "mongo2:27017"


def test_a_member_that_is_none() -> None:
    with pytest.raises(BadInput) as caught:
        switchover(HEALTHY, SETTINGS, "mongo9")
    assert str(caught.value) == (
        "parameter `member` is 'mongo9', no member of rs0: use one of mongo1:27017, mongo2:27017, mongo3:27017"
    )


def test_a_name_that_fits_two_members_is_none() -> None:
    hosts = [Host("10.0.0.1", 27017 + number) for number in range(len(HEALTHY.answers))]
    snapshot = replace(HEALTHY, answers=dict.fromkeys(hosts, DOWN))
    with pytest.raises(BadInput, match="no member of rs0"):
        switchover(snapshot, SETTINGS, "10.0.0.1")


# -- candidates


def test_the_best_candidate_has_the_highest_priority_then_the_most_data_then_the_first_name() -> None:
    def best(snapshot: Snapshot) -> str:
        candidate = best_candidate(snapshot, SETTINGS)
        assert candidate is not None
        return candidate.name.split(":")[0]

    optime = HEALTHY.member("mongo3:27017").optime  # type: ignore[union-attr]
    assert optime is not None
    assert best(HEALTHY) == "mongo2"
    assert best(changed(HEALTHY, "mongo3", optime=optime._replace(increment=optime.increment + 5))) == "mongo3"
    assert best(with_line(HEALTHY, "mongo3", priority=2.0)) == "mongo3"


def test_no_best_candidate_without_a_configuration() -> None:
    snapshot = everywhere(HEALTHY, config=None)
    assert best_candidate(snapshot, SETTINGS) is None
    member = snapshot.member("mongo2:27017")
    assert member is not None and limitation(snapshot, member) == "mongo2:27017 is not in the set's configuration"


# -- freeze


def test_freeze_and_unfreeze() -> None:
    for seconds, goal in ((600, "freeze of mongo2:27017 for 600 s"), (0, "unfreeze of mongo2:27017")):
        decision = freeze(HEALTHY, SETTINGS, "mongo2", seconds)
        assert isinstance(decision, Plan) and decision.goal == goal
        assert [(s.verb, s.target, s.expect["seconds"]) for s in decision.steps] == [
            ("freeze", "mongo2:27017", seconds)
        ]


ARBITER = recorded.snapshot("arbiter")
FREEZE_REFUSED = {
    "the primary": (HEALTHY, "mongo1", "mongo1:27017 is primary: run mongodb_switchover first"),
    "one that is down": (answered(HEALTHY, "mongo2", DOWN), "mongo2", "mongo2:27017 does not answer"),
    "an arbiter": (ARBITER, "mongo3", "mongo3:27017 is an arbiter: it is never elected"),
    "a removed member": (recorded.snapshot("member_removed"), "mongo3", "it was removed from the set"),
    "the last that could become primary": (
        answered(answered(HEALTHY, "mongo1", DOWN), "mongo3", DOWN),
        "mongo2", "the only member that could become primary",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FREEZE_REFUSED)
def test_freeze_is_refused(name: str) -> None:
    snapshot, member, words = FREEZE_REFUSED[name]
    decision = freeze(snapshot, SETTINGS, member, 600)
    assert isinstance(decision, Refused) and words in decision.sentence()


def test_the_only_spare_may_be_frozen() -> None:
    """Whoever works on it takes it away anyhow."""
    assert isinstance(freeze(ARBITER, SETTINGS, "mongo2", 600), Plan)


def test_unfreeze_is_never_refused_for_a_member_that_answers() -> None:
    assert isinstance(freeze(HEALTHY, SETTINGS, "mongo1", 0), Plan)
