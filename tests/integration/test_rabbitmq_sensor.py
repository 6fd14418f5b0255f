"""The sensor as a process on a real cluster: in the pack's own environment, and under StackStorm's eventlet."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for
from tests.sensor_real import WORLDS, Sensor, sensor_of

TOLD_S = 2.0
"""The issue's own limit for a kill, from the signal to the trigger."""
CRASH = ("NodeDown", "QuorumCritical")
SETTLE_S = 60


@pytest.fixture(params=sorted(WORLDS))
def sensor(request: pytest.FixtureRequest, rabbit: RabbitCluster, tmp_path: Path) -> Iterator[Sensor]:
    with sensor_of("rabbitmq", request.param, rabbit.write_config(tmp_path / "ha.yaml"), tmp_path / "state") as one:
        yield one


def test_a_crash_is_told_once_and_a_restart_repeats_nothing(rabbit: RabbitCluster, sensor: Sensor) -> None:
    sensor.start()
    began = time.monotonic()
    rabbit.kill("rabbit2")
    wait_for(lambda: sensor.told("NodeDown"), 20, "the loss to be told", interval_s=0.01)
    assert time.monotonic() - began < TOLD_S
    wait_for(lambda: "NodeDown rabbitmq/rabbit2@localhost" in str(sensor.saved()), 10, "the loss to be saved")
    sensor.end(signal.SIGKILL)

    sensor.start()
    rabbit.start("rabbit2", 90)
    rabbit.wait_healthy()
    wait_for(lambda: ("cleared", "NodeDown") in sensor.told(), SETTLE_S, "the node to be back")
    assert sensor.told("NodeDown") == [("appeared", "NodeDown"), ("cleared", "NodeDown")]
    sensor.end()

    rabbit.kill("rabbit3")  # while nobody watches
    sensor.start()
    wait_for(lambda: len(sensor.told("NodeDown")) == 3, 20, "the second loss to be told")
    subjects = [event["payload"]["subject"] for event in sensor.events if event["payload"]["code"] == "NodeDown"]
    assert subjects == ["rabbitmq/rabbit2@localhost"] * 2 + ["rabbitmq/rabbit3@localhost"]
    ids = [event["payload"]["id"] for event in sensor.events]
    assert len(ids) == len(set(ids))
    assert sensor.alive()
