"""partition_check on real processes: stand-in containers that read the same st2.conf, keys and file as StackStorm's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.wait import wait_for
from st2ha import check as top
from st2ha.config import select
from st2ha.partition.operations import check
from st2ha.report import Report
from tests.fleet import Fleet

RANGES = {"n1": "MIN..1400000000", "n2": "1400000000..2800000000", "n3": "2800000000..MAX"}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as made:
        yield made


def found(report: Report) -> dict[str, str]:
    return {each.code: f"{each.subject}: {each.message}" for each in report.findings}


def test_a_fleet_by_hash_a_lost_sensor_and_a_lost_node(fleet: Fleet) -> None:
    for node, ranges in RANGES.items():
        fleet.tell(node, f"name:hash, hash_ranges:{ranges}")
    fleet.start()
    wait_for(fleet.each_once, 60, "all sensors")
    report = top.check(fleet.deployment())
    (layer,) = (row for row in report.facts["layers"] if row["layer"] == "sensors")
    assert layer["summary"] == "OK Sensors: 8 sensors on 3 nodes, each on one", report.result()["findings"]
    rows = report.facts["sensors_nodes"]
    assert [row["runs"] for row in rows] == [len(fleet.run_by(node)) for node in fleet.nodes]
    ref, pid = next((ref, pid) for _, ref, node, pid in fleet.history() if node == "n1")
    os.kill(int(pid), signal.SIGTERM)
    wait_for(lambda: ref not in fleet.running(), 60, "the sensor's end")
    assert found(check(fleet.deployment())) == {}, "its container has just been started"
    codes = found(check(fleet.deployment(limits={"settle_s": 0})))
    assert set(codes) == {"SensorGivenUp"}
    assert codes["SensorGivenUp"].startswith(f"sensors/n1: {ref} has no process: after two respawns")
    fleet.kill("n2")
    codes = found(check(fleet.deployment()))
    assert codes["NodeSilent"] == "sensors/n2: no sensor container runs there"
    assert codes["EventsLost"].startswith("sensors: 2 sensors of n2 run nowhere (pack0.Sensor0, pack1.Sensor1)")


def test_keys_that_are_missing_or_newer_than_their_container(fleet: Fleet) -> None:
    fleet.keys = {"n1.sensor_partition": ",".join(fleet.refs[:5]), "n2.sensor_partition": ",".join(fleet.refs[5:])}
    for node in fleet.nodes:
        fleet.tell(node, "name:kvstore")
    fleet.start("n1", "n2")
    fleet.service("start", "n3")  # it ends by itself: no key
    wait_for(lambda: fleet.alive() == ["n1", "n2"] and fleet.each_once(), 60, "two containers")
    layer = fleet.deployment(limits={"imbalance": 9})
    codes = found(check(layer))
    assert set(codes) == {"NodeMissingFromMap", "NodeSilent"}, codes
    assert codes["NodeMissingFromMap"].startswith("sensors/n3: the key n3.sensor_partition is missing")
    time.sleep(1.1)  # a process's age has whole seconds
    fleet.set_key("n1.sensor_partition", ",".join(fleet.refs[:4]))
    codes = found(check(layer))
    assert set(codes) == {"NodeMissingFromMap", "NodeSilent", "StaleMap", "SensorUnowned"}, codes
    assert codes["StaleMap"].startswith("sensors/n1: its map changed ")


def test_the_file_with_an_empty_list(fleet: Fleet) -> None:
    fleet.partition_file.write_text(f"n1: {fleet.refs[:6]}\nn2: []\n".replace("'", ""))
    for node in ("n1", "n2"):
        fleet.tell(node, f"name:file, partition_file:{fleet.partition_file}")
    fleet.tell("n3", "name:hash, hash_ranges:4..2")
    fleet.start("n1", "n2")
    wait_for(lambda: len(fleet.run_by("n2")) == 8, 60, "the trap")
    codes = found(check(fleet.deployment()))
    assert codes["EmptyListRunsAll"].startswith("sensors/n2: its list in the file is empty")
    assert {"SensorOwnedTwice", "MixedProviders", "RangesUnreadable", "NodeSilent"} <= set(codes)


def test_what_does_not_answer_is_told_and_keeps_nobody(fleet: Fleet) -> None:
    for node, ranges in RANGES.items():
        fleet.tell(node, f"name:hash, hash_ranges:{ranges}")
    fleet.start("n1")
    config: dict[str, Any] = fleet.config(timeout_s=8.0)
    nodes = config["deployments"][0]["sensors"]["nodes"]
    nodes[1]["command"] = "sh -c 'sleep 30'"
    nodes[2]["command"] = "/no/such/shell"
    config["deployments"][0]["stackstorm"]["api_url"] = "http://127.0.0.1:9"
    began = time.monotonic()
    report = check(select(config, "lab"))
    assert time.monotonic() - began < 28
    unread = {each.subject: each.message for each in report.findings if each.code == "NodeUnread"}
    assert "did not end within" in unread["sensors/n2"]
    assert "'/no/such/shell' cannot be run here" in unread["sensors/n3"]
    assert "refuses connections" in found(report)["SensorsUnread"]
    assert {each.code for each in report.findings} == {"NodeUnread", "SensorsUnread"}
    assert report.facts["nodes"][0]["runs"] is not None
