"""Every rule about StackStorm's own services, through the API's client: recorded answers, changed in one thing."""

from __future__ import annotations

import pytest

from st2ha.platform.facts import Execution, Member, execution_from, seconds
from st2ha.platform.operations import check
from tests.recorded_platform import CASES, deployment, expected, replay_of, settings_of
from tests.replay import recorded, replaying


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    with replaying(replay_of(case)) as replay:
        report = check(deployment(replay, settings_of(case)))
    found = [finding.as_dict() for finding in report.findings]
    wanted = expected(case)
    assert [(f["code"], f["severity"], f["subject"]) for f in found] == [
        (w["code"], w["severity"], w["subject"]) for w in wanted
    ], found
    for finding, want in zip(found, wanted):
        assert want["says"] in finding["message"]
        assert finding["remedy"]


def test_the_cases_are_there() -> None:
    assert len(CASES) > 25


def test_an_execution_as_the_api_tells_it() -> None:
    (row,) = recorded("running", "executions_running")["body"]
    assert execution_from(row) == Execution(
        id="6b0820418889e30598ec1e0b",
        action="core.local",
        status="running",
        since=seconds("2026-11-26T12:04:18.860000Z"),
        runner=Member("vm", 21617),
    )
