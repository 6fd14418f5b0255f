"""The sensor as a process on a real cluster: in the pack's own environment, and under StackStorm's eventlet."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for
from tests.sensor_real import WORLDS, Sensor, sensor_of

SETTLE_S = 60


@pytest.fixture
def sensors(rabbit: RabbitCluster, tmp_path: Path) -> Iterator[list[Sensor]]:
    """One in each world, both watching the same cluster: a fault takes long enough to be made only once."""
    config = rabbit.write_config(tmp_path / "ha.yaml")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(sensor_of("rabbitmq", world, config, tmp_path / world)) for world in sorted(WORLDS)]


def all_told(sensors: list[Sensor], number: int, deadline_s: float, what: str) -> None:
    """Wait until each has told so many changes of NodeDown."""
    wait_for(lambda: all(len(one.told("NodeDown")) >= number for one in sensors), deadline_s, what, interval_s=0.01)


def test_a_crash_is_told_once_and_a_restart_repeats_nothing(rabbit: RabbitCluster, sensors: list[Sensor]) -> None:
    for sensor in sensors:
        sensor.start()
    rabbit.kill("rabbit2")
    all_told(sensors, 1, 20, "the loss to be told")
    wait_for(lambda: all("NodeDown" in str(sensor.saved()) for sensor in sensors), 10, "the loss to be saved")
    for sensor in sensors:
        sensor.end(signal.SIGKILL)

    for sensor in sensors:
        sensor.start()
    rabbit.start("rabbit2", 90)
    all_told(sensors, 2, SETTLE_S, "the node to be back")
    for sensor in sensors:
        assert sensor.told("NodeDown") == [("appeared", "NodeDown"), ("cleared", "NodeDown")]
        sensor.end()

    rabbit.kill("rabbit3")  # while nobody watches
    for sensor in sensors:
        sensor.start()
    all_told(sensors, 3, 20, "the second loss to be told")
    for sensor in sensors:
        payloads = [event["payload"] for event in sensor.events]
        subjects = [payload["subject"] for payload in payloads if payload["code"] == "NodeDown"]
        assert subjects == ["rabbitmq/rabbit2@localhost"] * 2 + ["rabbitmq/rabbit3@localhost"]
        assert len({payload["id"] for payload in payloads}) == len(payloads)
        assert sensor.alive()
