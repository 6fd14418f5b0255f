"""The sensor as a process on a replayed StackStorm, under StackStorm's eventlet."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.wait import wait_for
from tests.recorded_platform import replay_of
from tests.replay import Replay, replaying
from tests.sensor_real import Sensor, sensor_of

DEADLINE_S = 90
STUCK = replay_of("stuck_requested").answers
GAP = {
    "provider": "hash",
    "nodes": [{"name": "nodeA", "hash_ranges": "MIN..7"}, {"name": "nodeB", "hash_ranges": "8..MAX"}],
}


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


@pytest.fixture
def sensor(replay: Replay, tmp_path: Path) -> Iterator[Sensor]:
    layer = {"api_url": replay.url, "api_key": replay.api_key, "timeout_s": 20}
    config = tmp_path / "ha.yaml"
    config.write_text(yaml.safe_dump({"deployments": [{"name": "lab", "stackstorm": layer, "sensors": GAP}]}))
    with sensor_of("partition", "stackstorm", config, tmp_path / "state") as one:
        yield one


def test_a_change_is_told_once_and_a_restart_repeats_nothing(replay: Replay, sensor: Sensor) -> None:
    def told(number: int, what: str) -> None:
        wait_for(lambda: len(sensor.told("ExecutionsStuck")) >= number, DEADLINE_S, what)

    replay.answers.update(STUCK)
    sensor.start()
    told(1, "stuck executions to be told")
    wait_for(lambda: "ExecutionsStuck" in str(sensor.saved()), DEADLINE_S, "it to be saved")
    sensor.end(signal.SIGKILL)

    sensor.start()
    replay.answers.clear()
    told(2, "their end to be told")
    assert sensor.told("ExecutionsStuck") == [("appeared", "ExecutionsStuck"), ("cleared", "ExecutionsStuck")]
    assert sensor.told("RangesGap") == [("appeared", "RangesGap")]
    payloads = [event["payload"] for event in sensor.events]
    assert {(p["service"], p["deployment"]) for p in payloads} == {("stackstorm", "lab")}
    assert len({p["id"] for p in payloads}) == len(payloads)
    assert sensor.alive()
