"""Every recorded case gives what its expect.yaml says: a new case is a new folder, no new code here.

expect.yaml: `findings` as `SEVERITY Code subject`, in their order of weight; `switchover` for each target the verbs of
the plan (`follow` left out: who follows whom before is chance), [] where it is primary already, or words of the
refusal; `limits` and `reviewed_rollbacks` as in the configuration (without it all rollbacks are reviewed).
"""

from __future__ import annotations

from typing import Any

import pytest

from st2ha.config import Mongodb, MongodbLimits
from st2ha.errors import BadInput
from st2ha.mongodb.assess import assess
from st2ha.mongodb.decide import limitation, switchover
from st2ha.mongodb.facts import Snapshot
from st2ha.plan import Plan
from st2ha.report import Finding, by_weight
from tests import recorded

REVIEWED = {f"mongo{number}:27017": 99 for number in range(1, 10)}


def found(case: str) -> tuple[Finding, ...]:
    expected, looks = recorded.expectations(case), recorded.looks(case)
    limits = MongodbLimits(**expected.get("limits", {}))
    earlier = looks[0] if len(looks) > 1 else None
    return assess(looks[-1], limits, looks[-1].at, earlier, expected.get("reviewed_rollbacks", REVIEWED))


def settings_for(case: str, snapshot: Snapshot) -> Mongodb:
    limits = MongodbLimits(**recorded.expectations(case).get("limits", {}))
    return Mongodb(tuple(snapshot.answers), snapshot.replica_set, limits=limits)


def test_cases_are_recorded() -> None:
    assert len(recorded.CASES) >= 25


@pytest.mark.parametrize("case", recorded.CASES)
def test_findings(case: str) -> None:
    lines = [f"{each.severity.name} {each.code} {each.subject}" for each in found(case)]
    assert sorted(lines) == sorted(recorded.expectations(case)["findings"])


@pytest.mark.parametrize("case", recorded.CASES)
def test_findings_come_by_weight_and_say_what_follows_and_what_to_do(case: str) -> None:
    findings = found(case)
    assert list(findings) == by_weight(findings)
    for each in findings:
        assert len(each.message) > 20 and len(each.remedy) > 10, each
        assert not each.message.endswith(".") and "None" not in each.message, each


SWITCHOVERS = [
    (case, target, expected)
    for case in recorded.CASES
    for target, expected in recorded.expectations(case)["switchover"].items()
]


@pytest.mark.parametrize(("case", "target", "expected"), SWITCHOVERS, ids=[f"{c}-{t}" for c, t, _ in SWITCHOVERS])
def test_switchover(case: str, target: str, expected: Any) -> None:
    snapshot = recorded.snapshot(case)
    try:
        decision = switchover(snapshot, settings_for(case, snapshot), None if target == "best" else target)
    except BadInput as error:
        assert expected["refused"] in str(error)
        return
    if isinstance(decision, Plan):
        verbs = [
            f"{step.verb} {step.target}".removesuffix(":27017") for step in decision.steps if step.verb != "follow"
        ]
        assert verbs == expected
    else:
        assert expected["refused"] in decision.sentence()


@pytest.mark.parametrize("case", recorded.CASES)
def test_no_plan_elects_a_member_that_has_a_limitation(case: str) -> None:
    snapshot = recorded.snapshot(case)
    settings = settings_for(case, snapshot)
    for target in [None, *(snapshot.name_of(host) for host in snapshot.answers)]:
        decision = switchover(snapshot, settings, target, force=True)
        elected = [step.target for step in decision.steps if step.verb == "elect"] if isinstance(decision, Plan) else []
        for name in elected:
            member = snapshot.member(name)
            assert member is not None and limitation(snapshot, member) is None
            assert target in (None, name), "a named target is never replaced"
