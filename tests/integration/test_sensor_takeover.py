"""sensor_takeover on real processes: who is lost, who only seems to be, and what happens when it comes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.wait import wait_for
from metadata.results import check_result
from st2ha.config import select
from st2ha.partition.changes import takeover
from st2ha.stackstorm import answered
from tests.fleet import Fleet

SHARES = {"n1": slice(0, 2), "n2": slice(2, 4), "n3": slice(4, 6)}
RANGES = {"n1": "MIN..1400000000", "n2": "1400000000..2800000000", "n3": "2800000000..MAX"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path, refs=6) as made:
        yield made


def started(fleet: Fleet, provider: str) -> None:
    for node in fleet.nodes:
        fleet.tell(node, f"name:hash, hash_ranges:{RANGES[node]}" if provider == "hash" else "name:kvstore")
        fleet.keys[f"{node}.sensor_partition"] = ",".join(fleet.refs[SHARES[node]])
    fleet.start()
    wait_for(fleet.each_once, 60, "all sensors")


def run(fleet: Fleet, unreachable: str = "", layer: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    """The action's result; the nodes of `unreachable` cannot be entered."""
    config = fleet.config(takeover={"grace_s": 0, **(layer or {})})
    for node in config["deployments"][0]["sensors"]["nodes"]:
        if node["name"] in unreachable.split():
            node["command"] = "/no/such/way"
    action = answered(lambda self, **given: takeover(select(config, "lab"), **given))
    _, result = action(None, **{"node": "n1", **parameters})  # type: ignore[arg-type]
    assert check_result("sensor_takeover", json.loads(json.dumps(result))) == []
    return result


@pytest.mark.parametrize("provider", ["hash", "kvstore"])
def test_taken_over_and_given_back(fleet: Fleet, provider: str) -> None:
    started(fleet, provider)
    assert run(fleet)["summary"] == "OK n1 runs: nothing was taken over"
    fleet.kill("n1")
    shown = run(fleet, node="sensors/n1", dry_run=True)
    assert shown["summary"].startswith("PLAN takeover of n1") and not fleet.each_once()
    done = run(fleet, node="sensors/n1")
    assert done["outcome"] == "done", done
    assert fleet.each_once() and fleet.run_by("n1") == set() and "n1" not in fleet.alive()
    assert {row["sensor"] for row in done["moves"]} and {row["to"] for row in done["moves"]} <= {"n2", "n3"}
    fleet.start("n1")  # the node is back, and stays idle until it is told otherwise
    assert fleet.each_once() and fleet.run_by("n1") == set()
    back = run(fleet, direction="give_back")
    assert back["outcome"] == "done", back
    assert fleet.each_once() and fleet.run_by("n1")
    assert fleet.twice() == []


def test_a_node_that_cannot_be_entered_needs_a_witness(fleet: Fleet) -> None:
    started(fleet, "kvstore")
    refused = run(fleet, "n1")
    assert refused["kind"] == "refused" and "n1 is not known to be silent" in refused["error"]
    fleet.kill("n1")
    refused = run(fleet, "n1")
    assert "no second witness that n1 is lost: takeover.witness_command is not set" in refused["error"]
    reach = {"witness_command": f"test -e {fleet.path}/reach-{{name}}"}
    refused = run(fleet, "n1", {"witness_command": "/no/such/ping {host}"})
    assert "n2 and n3 could not say" in refused["error"]
    (fleet.path / "reach-n1").touch()
    assert "n2 and n3 reach n1: it may be alive" in run(fleet, "n1", reach)["error"]
    (fleet.path / "reach-n1").unlink()
    lines = len(fleet.history())
    fleet.kill("n2")
    refused = run(fleet, "n1", reach)
    assert refused["reasons"] == ["2 nodes are lost (n1, n2), max_nodes is 1: ask a person"]
    done = run(fleet, "n1", reach, force=True)
    assert done["outcome"] == "done", done
    assert fleet.keys["n1.sensor_partition"] == fleet.keys["n2.sensor_partition"] == "runs-nothing"
    assert fleet.each_once() and fleet.run_by("n3") == set(fleet.refs) and fleet.twice(lines) == []
    fleet.start("n1", "n2")  # both are back and read their empty keys
    assert fleet.each_once() and fleet.twice() == []


def test_without_keys_it_is_fenced_or_left(fleet: Fleet) -> None:
    started(fleet, "hash")
    fleet.kill("n1")
    witness = {"witness_command": "false"}
    assert "with provider hash it comes back with its old share" in run(fleet, "n1", witness)["error"]
    before = fleet.running()
    failed = run(fleet, "n1", {"fence_command": "false"})
    assert failed["steps_done"] == [] and "fence_command ended with 1: nothing was moved" in failed["error"]
    assert fleet.running() == before
    done = run(fleet, "n1", {"fence_command": f"touch {fleet.path}/fenced-{{name}}"})
    assert done["outcome"] == "done", done
    assert (fleet.path / "fenced-n1").exists() and done["steps_done"][0]["verb"] == "fence"
    assert fleet.each_once() and fleet.twice() == []


def test_it_comes_back_within_the_grace_time(fleet: Fleet) -> None:
    started(fleet, "kvstore")
    fleet.kill("n1")
    back = threading.Timer(1.0, lambda: fleet.start("n1"))
    back.start()
    assert run(fleet, grace_s=30)["summary"] == "OK n1 runs: nothing was taken over"
    back.join()
    wait_for(fleet.each_once, 60, "all sensors")


def test_wrong_input(fleet: Fleet) -> None:
    for parameters, words in (
        ({"node": "sensors"}, "does not tell which node is silent"),
        ({"node": ""}, "parameter `node` is '', no node of sensors.nodes: use one of n1, n2, n3"),
        ({"node": None}, "parameter `node` is 'None', no node"),
        ({"direction": "back"}, "parameter `direction` is 'back': use one of take, give_back"),
        ({"grace_s": -1}, "parameter `grace_s` is -1: it must be between 0 and 3600"),
    ):
        result = run(fleet, **parameters)  # type: ignore[arg-type]
        assert result["kind"] == "bad_input" and words in result["error"], result
