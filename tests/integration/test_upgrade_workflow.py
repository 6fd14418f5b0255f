"""The workflow upgrade, conducted by bin/st2ha (the real orquesta) on two stand-in sides behind real balancers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.stackstorm import TwoSides
from lab.stackstorm_edge import EdgeSides
from lab.stackstorm_traffic import Traffic
from tests.upgrade_real import LONG, assert_nothing_lost, config, do

PACK = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(900)  # the machine may be busy
long = pytest.mark.skipif(not LONG, reason="ST2HA_TEST_LONG runs it: an upgrade of its own, 30 s")


def upgrade(sides: TwoSides, tmp: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """(exit code, the workflow's output)."""
    (tmp / "ha.yaml").write_text(yaml.safe_dump({**config(sides), "default_deployment": "lab"}))
    given = ["deployment=lab", f"export_to={tmp}", "--config", str(tmp / "ha.yaml"), "--json", *words]
    command = [sys.executable, str(PACK / "bin" / "st2ha"), "run", "upgrade", *given]
    env = {**os.environ, "ST2HA_STATE_DIR": str(tmp / "state")}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False
    )
    print(done.stdout, done.stderr)  # shown where a test fails
    assert "Traceback" not in done.stderr, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)["output"]
    assert next(iter(output)) == "summary" and len(json.dumps(output, indent=1).splitlines()) < 15
    return done.returncode, output


def test_the_whole_way_with_both_questions_answered(sides: TwoSides, tmp_path: Path) -> None:
    with Traffic(sides) as traffic:
        code, output = upgrade(sides, tmp_path, "--answer", "begin=yes", "--answer", "keep=yes")
        assert code in (0, 1), output
        assert output["summary"].startswith("OK upgrade: the new side works, the window was"), output
        assert output["plan"].startswith("PLAN st2 to st2_v2_5") and output["answer"] == "yes"
        assert output["window_s"] > 0 and output["after"] == ""
        assert_nothing_lost(sides, traffic, "new")
    assert do(sides, "status")["facts"]["state"] == "cut over"


@long
def test_a_cutover_that_fails_is_rolled_back_without_a_question(sides: EdgeSides, tmp_path: Path) -> None:
    with Traffic(sides) as traffic:
        with sides.broken_balancer("lb1"):
            code, output = upgrade(sides, tmp_path, "--answer", "begin=yes")
        assert code == 1, output  # a warning: the old side works
        assert output["summary"].startswith("FAILED upgrade in cutover: rolled back, the old side works"), output
        assert output["after"].startswith("OK rollback to st2") and output["severity"] == "warning"
        assert_nothing_lost(sides, traffic, "old")
    assert not sides.runs("new1")


@long
def test_the_answer_at_settle_may_be_no(sides: TwoSides, tmp_path: Path) -> None:
    with Traffic(sides) as traffic:
        code, output = upgrade(sides, tmp_path, "--answer", "begin=yes", "--answer", "keep=no")
        assert code == 1 and output["summary"].startswith("FAILED upgrade in settle: rolled back"), output
        assert_nothing_lost(sides, traffic, "old")


@long
def test_without_a_yes_nothing_is_changed(sides: TwoSides, tmp_path: Path) -> None:
    for words in (["--dry-run"], [], ["--answer", "begin=no"]):
        code, output = upgrade(sides, tmp_path, *words)
        assert (code in (0, 1)) == (words == ["--dry-run"]), output
        assert output["answer"] in ("", "no") and output["window_s"] == 0
    assert do(sides, "status")["facts"]["state"] == "new" and not sides.runs("new1")
    assert sides.name not in sides.mongo.client(login="lab_root").list_database_names()
