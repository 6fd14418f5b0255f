"""The workflow mongodb_maintenance, conducted by bin/st2ha on a real replica set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.mongodb import MongoCluster
from lab.wait import wait_for

PACK = Path(__file__).resolve().parents[2]
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"


class Maintenance:
    """Runs of the workflow on one set."""

    def __init__(self, rs: MongoCluster, path: Path) -> None:
        self.config = rs.write_config(path / "ha.yaml")
        self.env = {
            **os.environ,
            "PYTHONPATH": str(PACK / "actions" / "lib"),
            "ST2HA_STATE_DIR": str(path / "state"),
        }

    def start(self, member: str, *args: str) -> subprocess.Popen[str]:
        given = [f"member={member}", "deployment=lab", "--config", str(self.config), "--json", *args]
        command = [sys.executable, "-c", MAIN, str(PACK), "run", "mongodb_maintenance", *given]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def run(self, member: str, *args: str) -> tuple[int, dict[str, Any]]:
        """(exit code, the workflow's output); the output is short and begins with the summary."""
        process = self.start(member, *args)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err, err
        output: dict[str, Any] = json.loads(out)["output"]
        assert next(iter(output)) == "summary" and len(json.dumps(output, indent=1).splitlines()) < 15
        return process.returncode, output

    def actions(self) -> list[tuple[str, str]]:
        """(action, status) of the writing actions that ran, in the order in which they ended."""
        log = self.env["ST2HA_STATE_DIR"] + "/journal.jsonl"
        lines = [json.loads(line) for line in Path(log).read_text().splitlines()] if os.path.exists(log) else []
        plans = [line["goal"].split()[0] for line in lines if line.get("event") == "plan" and line.get("steps")]
        ends = [line["status"] for line in lines if line.get("event") == "outcome"]
        return list(zip(plans, ends))


@pytest.fixture
def maintenance(mongo: MongoCluster, tmp_path: Path) -> Maintenance:
    return Maintenance(mongo, tmp_path)


def test_a_primary_is_moved_away_frozen_and_let_in_again(mongo: MongoCluster, maintenance: Maintenance) -> None:
    before = mongo.primary()
    code, output = maintenance.run(before.address, "--answer", "done=yes")
    assert code in (0, 1), output
    assert output["summary"] == f"OK maintenance of {before.address}: worked on, back in duty"
    assert output["switched"].startswith("OK switchover") and output["answer"] == "yes" and output["after"]
    assert mongo.primary().address != before.address
    assert maintenance.actions() == [("switchover", "done"), ("freeze", "done"), ("unfreeze", "done")]


def test_a_secondary_needs_no_switchover(mongo: MongoCluster, maintenance: Maintenance) -> None:
    before = mongo.primary()
    code, output = maintenance.run(mongo.secondaries()[0].address, "--answer", "done=yes")
    assert code in (0, 1), output
    assert output["switched"] == "" and mongo.primary() == before
    assert maintenance.actions() == [("freeze", "done"), ("unfreeze", "done")]


@pytest.mark.parametrize("of_primary", [True, False])
def test_a_dry_run_changes_and_asks_nothing(mongo: MongoCluster, maintenance: Maintenance, of_primary: bool) -> None:
    before = mongo.primary()
    member = before if of_primary else mongo.secondaries()[0]
    code, output = maintenance.run(member.address, "--dry-run")
    assert code in (0, 1) and output["summary"].startswith(f"PLAN maintenance of {member.address}"), output
    assert bool(output["switched"]) is of_primary
    assert maintenance.actions() == [] and mongo.primary() == before


def test_the_answer_no_unfreezes_and_fails(mongo: MongoCluster, maintenance: Maintenance) -> None:
    member = mongo.secondaries()[0]
    code, output = maintenance.run(member.address, "--answer", "done=no")
    assert code == 3
    assert output["summary"] == f"FAILED maintenance of {member.address}: the answer was no; it is unfrozen again"
    assert maintenance.actions() == [("freeze", "done"), ("unfreeze", "done")]


def test_no_answer_unfreezes_and_fails(mongo: MongoCluster, maintenance: Maintenance) -> None:
    member = mongo.secondaries()[0]
    code, output = maintenance.run(member.address)
    assert code not in (0, 1)
    assert output["summary"].endswith("nobody answered; it is unfrozen again"), output
    assert maintenance.actions() == [("freeze", "done"), ("unfreeze", "done")]


def test_it_is_refused_while_another_member_is_down(mongo: MongoCluster, maintenance: Maintenance) -> None:
    member, other = mongo.secondaries()
    mongo.kill(other.name)
    code, output = maintenance.run(member.address, "--answer", "done=yes")
    assert code == 3 and output["summary"].startswith("REFUSED") and other.address in output["summary"], output
    assert maintenance.actions() == []


def test_an_unknown_member_is_refused_before_anything_is_done(mongo: MongoCluster, maintenance: Maintenance) -> None:
    code, output = maintenance.run("elsewhere:1", "--answer", "done=yes")
    assert code == 3 and output["summary"].startswith("REFUSED"), output
    assert maintenance.actions() == []


def test_a_member_that_dies_under_maintenance_fails_it(mongo: MongoCluster, maintenance: Maintenance) -> None:
    """The unfreeze is tried again and again, then the workflow fails and says what to do."""
    member = mongo.secondaries()[0]
    process = maintenance.start(member.address, "--answer", "done=yes")
    wait_for(lambda: ("freeze", "done") in maintenance.actions(), 30, "the freeze")
    mongo.kill(member.name)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err, err
    output = json.loads(out)["output"]
    assert process.returncode not in (0, 1) and output["summary"].startswith("FAILED maintenance"), output
