"""The workflow sensor_fleet_change, conducted by bin/st2ha on a fleet of stand-in containers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.wait import wait_for
from tests.fleet import Fleet

PACK = Path(__file__).resolve().parents[2]
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Two nodes of provider kvstore; all sensors are on n1."""
    with Fleet(tmp_path, nodes=2, refs=4) as made:
        made.keys = {"n1.sensor_partition": ",".join(made.refs), "n2.sensor_partition": "runs-nothing"}
        for node in made.nodes:
            made.tell(node, "name:kvstore")
        made.start()
        wait_for(made.each_once, 60, "all sensors")
        yield made


def run(fleet: Fleet, *args: str) -> tuple[int, dict[str, Any]]:
    """(exit code, the workflow's output); the output is short and begins with the summary."""
    config = fleet.path / "ha.yaml"
    config.write_text(yaml.safe_dump(fleet.config(provider="kvstore", start_s=60, stop_s=60, timeout_s=30)))
    env = {**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib"), "ST2HA_STATE_DIR": str(fleet.path / "state")}
    given = ["sensor_fleet_change", "deployment=lab", "--config", str(config), "--json", *args]
    ended = subprocess.run(
        [sys.executable, "-c", MAIN, str(PACK), "run", *given],
        env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in ended.stderr, ended.stderr
    output: dict[str, Any] = json.loads(ended.stdout)["output"]
    assert next(iter(output)) == "summary" and len(json.dumps(output, indent=1).splitlines()) < 15
    return ended.returncode, output


def test_planned_asked_made_real_and_checked(fleet: Fleet) -> None:
    before = fleet.running()
    code, output = run(fleet, "--dry-run")
    assert code in (0, 1) and output["summary"] == "PLAN fleet of 2 nodes told by kvstore: 6 steps, nothing done", (
        output
    )
    assert fleet.running() == before and output["answer"] == ""
    code, output = run(fleet, "--answer", "apply=no")
    assert code == 3 and output["summary"].endswith("the answer was no, nothing was changed"), output
    assert fleet.running() == before
    code, output = run(fleet, "--answer", "apply=yes")
    assert code == 0 and output["summary"] == "OK fleet change: 2 sensors move, done and checked", output
    assert output["planned"].startswith(
        "stop n1, write_key n1.sensor_partition, write_key n2.sensor_partition, restart n2"
    )
    assert fleet.each_once() and fleet.twice() == [] and len(fleet.run_by("n2")) == 2


def test_rolled_back_on_failure(fleet: Fleet) -> None:
    before, keys = fleet.running(), dict(fleet.keys)
    fleet.refuse_puts_after = 1
    code, output = run(fleet, "--answer", "apply=yes")
    assert code == 3, output
    assert output["summary"].endswith("it could not be made real; the nodes are told what they were told before")
    assert fleet.running() == before and fleet.keys == keys and fleet.twice() == []
