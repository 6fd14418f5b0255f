"""The workflow balancer_maintenance, conducted by bin/st2ha on the real edge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.edge_switch import SwitchLab
from tests.edge_real import write_config

PACK = Path(__file__).resolve().parents[2]
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"


@pytest.fixture
def edge(switch_session: SwitchLab) -> Iterator[SwitchLab]:
    with switch_session.inside("client"):
        yield switch_session
    switch_session.restore()


def maintenance(edge: SwitchLab, tmp: Path, balancer: str, *words: str) -> tuple[int, dict[str, Any]]:
    """(exit code, the workflow's output)."""
    given = [f"balancer={balancer}", "deployment=lab", "--config", str(write_config(edge, tmp / "ha.yaml")), "--json"]
    command = [sys.executable, "-c", MAIN, str(PACK), "run", "balancer_maintenance", *given, *words]
    env = {**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib"), "ST2HA_STATE_DIR": str(tmp / "state")}
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)["output"]
    assert next(iter(output)) == "summary" and len(json.dumps(output, indent=1).splitlines()) < 15
    return done.returncode, output


def test_the_holder_gives_the_vip_away_and_gets_it_back(edge: SwitchLab, tmp_path: Path) -> None:
    code, output = maintenance(edge, tmp_path, "lb1", "move_back=true", "--answer", "done=yes")
    assert code in (0, 1), output
    assert output["summary"] == "OK maintenance of lb1: worked on, it has the VIP again"
    assert output["switched"].startswith("OK") and output["answer"] == "yes" and output["after"]
    assert edge.holders() == ["lb1"]


def test_a_dry_run_changes_and_asks_nothing(edge: SwitchLab, tmp_path: Path) -> None:
    code, output = maintenance(edge, tmp_path, "lb1", "--dry-run")
    assert code in (0, 1) and output["summary"].startswith("PLAN maintenance of lb1: the VIP to lb2"), output
    assert edge.holders() == ["lb1"]


def test_it_is_refused_without_another_balancer(edge: SwitchLab, tmp_path: Path) -> None:
    edge.nginx["lb2"].kill()
    code, output = maintenance(edge, tmp_path, "lb1", "--answer", "done=yes")
    assert code not in (0, 1) and "no other balancer is able to serve" in output["summary"], output
    assert edge.holders() == ["lb1"]
