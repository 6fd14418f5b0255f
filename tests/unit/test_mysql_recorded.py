"""What is found and decided in situations that were made on real servers (python -m tests.record_mysql)."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from st2ha.errors import BadInput
from st2ha.mysql import decide, decide_failover
from st2ha.mysql.assess import assess
from st2ha.mysql.gather import same_dialect
from st2ha.plan import Decision, Plan
from tests import recorded_mysql as recorded
from tests.recorded_mysql import SETTINGS


def told(decision: Decision) -> object:
    """A plan's steps, or the sentence of a refusal."""
    if isinstance(decision, Plan):
        return [f"{step.verb} {step.target}" for step in decision.steps]
    return decision.sentence()


def findings(case: str) -> list[str]:
    """`severity Code subject` of each, the worst first."""
    looks = recorded.looks(case)
    found = assess(looks[-1], SETTINGS, looks[-1].at, looks[0] if len(looks) > 1 else None)
    return [f"{each.severity.word} {each.code} {each.subject.split('/')[-1]}" for each in found]


@pytest.mark.parametrize("case", recorded.CASES)
def test_findings(case: str) -> None:
    assert findings(case) == recorded.expectations(case)["findings"]


@pytest.mark.parametrize("case", recorded.CASES)
def test_decisions(case: str) -> None:
    snapshot, expected = recorded.snapshot(case), recorded.expectations(case)
    assert told(decide.switchover(snapshot, SETTINGS)) == expected["switchover"]
    assert told(decide_failover.failover(snapshot, SETTINGS)) == expected["failover"]
    assert told(decide.rejoin(snapshot, SETTINGS, "db1")) == expected["rejoin_db1"]


@pytest.mark.parametrize("case", recorded.CASES)
def test_every_finding_says_what_follows_and_what_to_do(case: str) -> None:
    looks = recorded.looks(case)
    for finding in assess(looks[-1], SETTINGS, looks[-1].at):
        assert finding.remedy and len(finding.line()) < 700
        assert re.search(r"\d|:|,", finding.message)


@pytest.mark.parametrize(("case", "read_only"), [("mariadb_replica_killed", True), ("mariadb_primary_killed", False)])
def test_beside_a_primary_a_dead_server_is_to_be_started_read_only(case: str, read_only: bool) -> None:
    snapshot = recorded.snapshot(case)
    remedies = [each.remedy for each in assess(snapshot, SETTINGS, snapshot.at) if each.code == "MemberDown"]
    assert [("--read-only=1" in remedy) for remedy in remedies] == [read_only]


def test_a_source_is_known_by_any_name_of_its_ip() -> None:
    base = recorded.snapshot("mariadb_primary_killed")
    (channel,) = base.members[0].channels
    channel = replace(channel, source="primary.example:3306")
    assert base.source_name(channel) == "primary.example:3306"
    known = replace(base, addresses={recorded.host("db1"): ("10.0.0.1",)}, aliases={"primary.example": ("10.0.0.1",)})
    assert known.source_name(channel) == "db1:3306"
    assert known.source_name(replace(channel, source="primary.example:3307")) == "primary.example:3307"


def test_mixed_dialects_are_no_cluster() -> None:
    """tests/integration/test_mysql_cli.py has it on real servers, where MySQL 9 is unpacked."""
    mariadb, mysql = (recorded.snapshot(case).members[0] for case in ("mariadb_healthy", "mysql9_healthy"))
    with pytest.raises(
        BadInput, match=r"^mysql\.hosts mixes MariaDB \(db1:3306\) and MySQL \(db1:3306\): .* deployment$"
    ):
        same_dialect([mariadb, mysql])
    same_dialect([mariadb, mariadb])


ON_REAL_SERVERS = {"TlsFailed", "CanaryLost", "HookFailed"}
"""Codes that no snapshot shows: tests/integration/test_mysql_operations.py has them."""


def test_every_documented_code_has_a_case() -> None:
    """And each code that a rule can tell is documented."""
    root = Path(__file__).resolve().parents[2]
    sources = "".join(path.read_text() for path in (root / "actions/lib/st2ha/mysql").glob("*.py"))
    codes = set(re.findall(r'(?:finding\(\s*|Finding\()"([A-Z]\w+)"', sources))
    table = (root / "docs/findings.md").read_text().split("## MySQL")[1].split("\n## ")[0]
    assert codes == set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    shown = {line.split()[1] for case in recorded.CASES for line in recorded.expectations(case)["findings"]}
    assert codes - shown == ON_REAL_SERVERS
