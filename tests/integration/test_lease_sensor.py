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


def lost(sensor: Sensor) -> list[str]:
    """The members whose end it told."""
    payloads = [event["payload"] for event in list(sensor.events)]
    found = [each for each in payloads if (each.get("code"), each.get("change")) == ("MemberDown", "appeared")]
    return [each["subject"].split("/")[-1] for each in found]


def test_one_of_two_tells_its_backends_end_and_the_other_one_takes_over(mongo: MongoCluster, tmp_path: Path) -> None:
    config: dict[str, Any] = {**config_of(mongo), "lease": {"backend": "mongodb", "ttl_s": 3}}
    path = tmp_path / "ha.yaml"
    path.write_text(yaml.safe_dump(config))
    primary, (other, third) = mongo.primary().name, [member.name for member in mongo.secondaries()]
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
        record = mongo.client().st2ha_canary.st2ha_lease
        former = record.find_one({})["token"]
        holder.end(signal.SIGKILL)
        wait_for(lambda: record.find_one({})["token"] > former, 30, "the other one to take over")
        mongo.kill(third)
        address = mongo.member(third).address
        wait_for(lambda: lost(waiting), 60, "the next loss to be told")
        assert lost(waiting) == [address]
