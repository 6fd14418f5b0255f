"""partition_apply on real processes. What ran where is told by the stand-in sensors' own log: never twice at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.wait import wait_for
from metadata.results import check_result
from st2ha.errors import WorldChanged
from st2ha.partition import decide
from st2ha.partition.act import Acting
from st2ha.partition.changes import Moving, apply
from st2ha.partition.settings import Sensors
from st2ha.plan import Step
from st2ha.stackstorm import answered
from tests.fleet import Fleet

NUMBERS = range(1, 7) if os.environ.get("ST2HA_LONG") else (1, 3, 4)
"""After which of the six steps our own process is killed."""
ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'actions' / 'lib'}"}
RANGES = {"n1": "MIN..1400000000", "n2": "1400000000..2800000000", "n3": "2800000000..MAX"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, refs=6) as made:
        yield made


def run(fleet: Fleet, layer: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """The action's result, as its output_schema has it."""
    action = answered(lambda self, **given: apply(fleet.deployment(**(layer or {})), **given))
    _, result = action(None, **parameters)  # type: ignore[arg-type]
    assert check_result("partition_apply", json.loads(json.dumps(result))) == []
    assert "hunter2" not in json.dumps(result)
    return result


def by_key(fleet: Fleet, nodes: str = "n1,n2") -> None:
    """A fleet of provider kvstore that runs on these nodes, made by apply itself."""
    for node in fleet.nodes:
        fleet.tell(node, "name:kvstore")
    shares = {
        node: [ref for n, ref in enumerate(fleet.refs) if n % 2 == place] for place, node in enumerate(("n1", "n2"))
    }
    fleet.keys = {f"{node}.sensor_partition": ",".join(shares.get(node, ["runs-nothing"])) for node in fleet.nodes}
    fleet.start()
    wait_for(fleet.each_once, 60, "all sensors")


def verbs(result: dict[str, Any]) -> list[str]:
    return [f"{step['verb']} {step['target']}" for step in result["plan"]["steps"]]


def test_from_everything_everywhere_to_each_sensor_once(fleet: Fleet) -> None:
    for node in fleet.nodes:
        fleet.tell(node, "name:default")
    fleet.start()
    wait_for(lambda: len(fleet.history()) == 18, 60, "all sensors on all nodes")
    shown = run(fleet, provider="hash", dry_run=True)
    assert shown["summary"] == "PLAN fleet of 3 nodes told by hash: 6 steps, nothing done"
    assert verbs(shown)[0] == "stop n1, n2, n3" and verbs(shown)[-2] == "start n1, n2, n3"
    assert "-partition_provider = name:default\n+partition_provider = name:hash, hash_ranges:MIN.." in shown["diff"]
    assert len(fleet.history()) == 18 and "name:default" in fleet.conf("n1").read_text()
    done = run(fleet, provider="hash", target=shown["target"], as_read=shown["as_read"])
    assert done["outcome"] == "done", done
    assert fleet.each_once() and fleet.twice(18) == []
    assert "# Which sensors run here.\nsensor_node_name = n1\n" in fleet.conf("n1").read_text()
    assert done["severity"] == "ok", done["findings"]
    lines = len(fleet.history())
    again = run(fleet, provider="hash")
    assert again["summary"] == "OK fleet of 3 nodes told by hash" and len(fleet.history()) == lines
    refused = run(fleet, provider="hash", target=shown["target"], as_read=shown["as_read"])
    assert refused["kind"] == "refused" and "not as the plan had read it" in refused["error"]


def test_keys_file_and_a_node_that_is_drained(fleet: Fleet) -> None:
    by_key(fleet)
    kept = {ref for ref, nodes in fleet.running().items() if nodes == ["n2"]}
    lines = len(fleet.history())
    drained = run(fleet, provider="kvstore", nodes="n2, n3")
    assert drained["outcome"] == "done", drained
    assert verbs(drained) == [
        "stop n1", "write_key n1.sensor_partition", "write_key n3.sensor_partition", "restart n3", "start n1",
        "prove sensors",
    ]  # fmt: skip
    assert fleet.each_once() and fleet.twice() == [] and fleet.run_by("n1") == set()
    assert not any(ref in kept for _, ref, _, _ in fleet.history()[lines:]), "who keeps its sensors is not touched"
    filed = run(fleet, provider="file")
    assert filed["outcome"] == "done", filed
    assert fleet.each_once() and fleet.twice() == []
    assert sorted(yaml.safe_load(fleet.partition_file.read_text())) == fleet.nodes


@pytest.mark.parametrize("fault", ["start", "put"])
def test_a_failure_undoes_everything(fleet: Fleet, fault: str) -> None:
    by_key(fleet)
    keys, running = dict(fleet.keys), fleet.running()
    if fault == "start":
        fleet.fails("n3", "start")
        fleet.kill("n3")  # it is down before, and so afterwards
        fleet.fails("n1", "start")
    else:
        fleet.refuse_puts_after = 1
    if fault == "start":
        stopped = run(fleet, provider="kvstore", nodes="n2,n3", deadline_s=60)
        assert "Job for st2sensorcontainer failed" in stopped["error"] and stopped["undo"]["outcome"] == "failed"
        assert fleet.keys == keys and fleet.twice() == []
        fleet.fails("n1", "start", on=False)
        fleet.fails("n3", "start", on=False)
        assert run(fleet, provider="kvstore", nodes="n1,n2")["outcome"] == "done"
    else:
        failed = run(fleet, provider="kvstore", nodes="n2,n3")
        assert failed["error"].endswith("undoing it: done"), failed
        assert "500 Internal Server Error" in failed["error"]
        assert fleet.keys == keys and fleet.running() == running
    assert fleet.each_once() and fleet.twice() == []


def test_killed_between_any_two_steps_a_second_call_finishes(fleet: Fleet, tmp_path: Path) -> None:
    by_key(fleet)
    config = tmp_path / "ha.yaml"
    config.write_text(yaml.safe_dump(fleet.config()))
    told, goals = [], ("n2,n3", "n1,n2")
    for number in NUMBERS:
        goal = goals[len(told) % 2]
        command = [
            sys.executable,
            "-m",
            "tests.killed_partition",
            str(config),
            str(number),
            "provider=kvstore",
            f"nodes={goal}",
        ]
        ended = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=300, check=False)
        told.append(ended.stdout.strip())
        assert fleet.twice() == [], told
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        result = run(fleet, provider="kvstore", nodes=goal)
        assert result.get("outcome", "done") == "done" and result["severity"] == "ok", (told, result)
        assert fleet.each_once() and fleet.twice() == [], told
        assert {node for node in fleet.nodes if fleet.run_by(node)} == set(goal.split(",")), told
    steps = ["stop", "write_key", "write_key", "restart", "start", "prove"]
    assert [line.split()[0] for line in told] == [steps[number - 1] for number in NUMBERS]


def test_what_changed_since_it_was_read_is_left_alone(fleet: Fleet) -> None:
    by_key(fleet)
    deployment = fleet.deployment()
    settings: Sensors = deployment.require("sensors")
    moving = Moving(deployment, settings)
    world = moving.gather()
    goal, _ = decide.wished(world, settings, "kvstore", ["n2", "n3"], True)
    acting = Acting(deployment, settings, decide.forth(world, goal))
    with pytest.raises(WorldChanged, match=f"n1 runs {fleet.refs[0]}, which n[23] shall run: nothing is started"):
        acting.start(Step("start", "n2, n3", ""))
    fleet.keys["n3.sensor_partition"] = "mine.Sensor"
    with pytest.raises(WorldChanged, match=r"the key n3\.sensor_partition has changed since it was read"):
        acting.write_key(Step("write_key", "n3.sensor_partition", ""))
    assert fleet.keys["n3.sensor_partition"] == "mine.Sensor"
    by_hash, _ = decide.wished(world, settings, "hash", fleet.nodes, True)
    acting = Acting(deployment, settings, decide.forth(world, by_hash))
    fleet.conf("n1").write_text(fleet.conf("n1").read_text() + "# a person was here\n")
    with pytest.raises(WorldChanged, match=r"n1\.conf has changed since it was read: it is left as it is"):
        acting.verbs()["write_st2_conf"](Step("write_st2_conf", "n1", ""))
    assert fleet.conf("n1").read_text().endswith("# a person was here\n")


def test_refusals(fleet: Fleet) -> None:
    for node in fleet.nodes:
        fleet.tell(node, f"name:hash, hash_ranges:{RANGES[node]}")
    fleet.conf("n2").unlink()
    result = run(fleet, provider="hash")
    assert result["kind"] == "refused" and "n2 is unread" in result["error"]
    fleet.tell("n2", f"name:file, partition_file:{fleet.path}/other.yaml")
    assert "n2 reads" in run(fleet, provider="hash")["error"]
    fleet.tell("n2", f"name:hash, hash_ranges:{RANGES['n2']}")
    target = {node: {"provider": "hash", "hash_ranges": RANGES["n1"]} for node in fleet.nodes}
    result = run(fleet, target=target)
    assert result["kind"] == "refused" and "would run on" in result["error"] and "force=true" in result["error"]
    for parameters, words in (
        ({"provider": "default"}, "parameter `provider` is 'default': use one of configured, hash"),
        ({}, "parameter `provider` is 'configured', and sensors.provider is None"),
        ({"provider": "hash", "nodes": "n9"}, "parameter `nodes` has 'n9': no such node"),
        ({"target": {"n1": target["n1"]}}, "parameter `target` has no n2: it must tell every node"),
        ({"target": {**target, "n2": {"provider": "kvstore"}}}, "has for n2 what is no share"),
        ({"target": ["x"]}, "parameter `target` is"),
    ):
        result = run(fleet, **parameters)  # type: ignore[arg-type]
        assert result["kind"] == "bad_input" and words in result["error"], result
    assert fleet.alive() == []
