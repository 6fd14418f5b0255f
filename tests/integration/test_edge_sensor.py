"""The sensor as a process on the real edge: a balancer that dies, a VIP that moves, a switch that alarms nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from lab.edge import EdgeLab
from lab.wait import wait_for
from st2ha.config import select
from st2ha.edge.nginx import operations
from tests.edge_real import write_config
from tests.sensor_real import PACK, Sensor, sensor_of


@pytest.fixture
def sensor(edge: EdgeLab, tmp_path: Path) -> Iterator[Sensor]:
    with sensor_of("edge", "stackstorm", write_config(edge, tmp_path / "ha.yaml"), tmp_path / "state") as one:
        yield one


def test_a_switch_alarms_nobody_and_a_dead_balancer_is_told_once(edge: EdgeLab, sensor: Sensor) -> None:
    where = select({"deployments": [edge.deployment()]}, "lab")
    sensor.start()
    assert operations.switch(where, "green")["outcome"] == "done"
    time.sleep(5)  # what stays for four seconds would be told
    assert sensor.told("GroupsDiffer", "ConfigNotRunning", "BalancersDiffer", "PathBroken") == []
    assert sensor.moves() == []

    edge.nginx["lb1"].kill()
    wait_for(sensor.moves, 120, "the VIP's move to be told")
    wait_for(lambda: ("appeared", "BalancerDown") in sensor.told(), 120, "the dead balancer to be told")
    assert sensor.moves() == [("lb1", "lb2")]
    assert sensor.told("BalancerDown") == [("appeared", "BalancerDown")]
    for event in sensor.events:
        trigger = yaml.safe_load((PACK / "triggers" / f"{event['trigger'][3:]}.yaml").read_text())
        jsonschema.validate(event["payload"], trigger["payload_schema"])
