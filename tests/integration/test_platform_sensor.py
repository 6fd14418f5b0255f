"""The sensor as a process on a replayed StackStorm: in the pack's own environment, and under StackStorm's eventlet."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.wait import wait_for
from tests.recorded_platform import replay_of
from tests.replay import Replay, replaying
from tests.sensor_real import WORLDS, Sensor, sensor_of

DEADLINE_S = 90
STUCK = replay_of("stuck_requested").answers


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


@pytest.fixture
def sensors(replay: Replay, tmp_path: Path) -> Iterator[list[Sensor]]:
    layer = {"api_url": replay.url, "api_key": replay.api_key, "timeout_s": 20}
    config = tmp_path / "ha.yaml"
    config.write_text(yaml.safe_dump({"deployments": [{"name": "lab", "stackstorm": layer}]}))
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(sensor_of("partition", world, config, tmp_path / world)) for world in sorted(WORLDS)]


def all_told(sensors: list[Sensor], number: int, what: str) -> None:
    wait_for(lambda: all(len(each.told("ExecutionsStuck")) >= number for each in sensors), DEADLINE_S, what)


def test_a_change_is_told_once_and_a_restart_repeats_nothing(replay: Replay, sensors: list[Sensor]) -> None:
    replay.answers.update(STUCK)
    for sensor in sensors:
        sensor.start()
    all_told(sensors, 1, "stuck executions to be told")
    wait_for(lambda: all("ExecutionsStuck" in str(s.saved()) for s in sensors), DEADLINE_S, "it to be saved")
    for sensor in sensors:
        sensor.end(signal.SIGKILL)

    for sensor in sensors:
        sensor.start()
    replay.answers.clear()
    all_told(sensors, 2, "their end to be told")
    for sensor in sensors:
        assert sensor.told() == [("appeared", "ExecutionsStuck"), ("cleared", "ExecutionsStuck")]
        payloads = [event["payload"] for event in sensor.events]
        assert {(p["service"], p["deployment"], p["subject"]) for p in payloads} == {
            ("stackstorm", "lab", "stackstorm/executions/requested")
        }
        assert sensor.alive()
