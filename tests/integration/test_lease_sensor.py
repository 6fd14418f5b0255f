"""Two nodes' sensors under one lease, whose backend is the MongoDB that they watch; one runs as StackStorm runs it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import yaml

from lab.mongodb import MongoCluster
from lab.wait import wait_for
from tests.real import config_of
from tests.sensor_real import Sensor, sensor_of


def told(*sensors: Sensor) -> list[tuple[str, str]]:
    return [pair for sensor in sensors for pair in sensor.told("NoPrimary", "NoMajority")]


def test_one_of_two_tells_its_backends_end_and_the_other_one_takes_over(mongo: MongoCluster, tmp_path: Path) -> None:
    config: dict[str, Any] = {**config_of(mongo), "lease": {"backend": "mongodb", "ttl_s": 4}}
    path = tmp_path / "ha.yaml"
    path.write_text(yaml.safe_dump(config))
    primary, other = mongo.primary().name, mongo.secondaries()[0].name
    with (
        sensor_of("mongodb", "newest", path, tmp_path / "state") as one,
        sensor_of("mongodb", "stackstorm", path, tmp_path / "state") as two,
    ):
        one.start()
        two.start()
        mongo.kill(other)
        mongo.kill(primary)
        # The lease outlives its backend for long enough.
        wait_for(lambda: len(told(one, two)) == 2, 20, "the loss to be told")
        assert sorted(told(one, two)) == [("appeared", "NoMajority"), ("appeared", "NoPrimary")]
        holder, waiting = (one, two) if told(one) else (two, one)
        assert told(waiting) == [] and waiting.events == []
        wait_for(lambda: "NoPrimary" in str(holder.saved()), 10, "it to be saved")

        mongo.start(primary)
        mongo.start(other)
        mongo.wait_healthy()
        holder.end(signal.SIGKILL)
        wait_for(lambda: ("cleared", "NoPrimary") in told(waiting), 60, "the other one to tell the end of it")
        assert sorted(told(waiting)) in (
            [("cleared", "NoMajority"), ("cleared", "NoPrimary")],
            [("cleared", "NoPrimary")],
        )
