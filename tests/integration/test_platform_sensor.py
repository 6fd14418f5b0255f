"""Two nodes' sensors of a replayed StackStorm under one lease on a real Redis; one runs as StackStorm runs it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.redis import RedisCluster
from lab.wait import wait_for
from tests.recorded_platform import replay_of
from tests.replay import Replay, replaying
from tests.sensor_real import Sensor, sensor_of

DEADLINE_S = 90
BEGINNING = [("appeared", "ExecutionsStuck"), ("appeared", "RangesGap")]
STUCK = replay_of("stuck_requested").answers
GAP = {
    "provider": "hash",
    "nodes": [{"name": "nodeA", "hash_ranges": "MIN..7"}, {"name": "nodeB", "hash_ranges": "8..MAX"}],
}


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


def told(*sensors: Sensor) -> list[tuple[str, str]]:
    return sorted(pair for sensor in sensors for pair in sensor.told("ExecutionsStuck", "RangesGap"))


def test_one_of_two_tells_and_the_other_goes_on_when_it_is_killed(
    replay: Replay, redis_lab: RedisCluster, tmp_path: Path
) -> None:
    layer = {"api_url": replay.url, "api_key": replay.api_key, "timeout_s": 20}
    deployment = {**redis_lab.deployment(), "stackstorm": layer, "sensors": GAP}
    path = tmp_path / "ha.yaml"
    path.write_text(yaml.safe_dump({"lease": {"backend": "redis", "ttl_s": 10}, "deployments": [deployment]}))
    replay.answers.update(STUCK)
    with (
        sensor_of("partition", "newest", path, tmp_path / "state") as one,
        sensor_of("partition", "stackstorm", path, tmp_path / "state") as two,
    ):
        one.start(DEADLINE_S)
        two.start(DEADLINE_S)
        wait_for(lambda: len(told(one, two)) == 2, DEADLINE_S, "both layers' findings to be told")
        assert told(one, two) == BEGINNING
        first, other = (one, two) if told(one) else (two, one)
        wait_for(lambda: all(code in str(first.saved()) for _, code in BEGINNING), DEADLINE_S, "it to be saved")

        first.end(signal.SIGKILL)
        replay.answers.clear()
        wait_for(lambda: len(told(one, two)) == 3, DEADLINE_S, "the other one to tell the end of it")
        assert ("cleared", "ExecutionsStuck") in told(other)
        assert told(one, two) == sorted([*BEGINNING, ("cleared", "ExecutionsStuck")])
        payloads = [event["payload"] for event in (*one.events, *two.events)]
        assert {(p["service"], p["deployment"]) for p in payloads} == {("stackstorm", "lab")}
        assert len({p["id"] for p in payloads}) == len(payloads)
        assert other.alive()
