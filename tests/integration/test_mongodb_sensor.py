"""The sensor as a process on a real set: with the newest pymongo, and with StackStorm's under eventlet.

The order of patching is the worst that StackStorm could have: pymongo is imported after the blocking poll() was put
back. How fast the sensor is, is not asserted here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.mongodb import MongoCluster
from lab.wait import wait_for
from tests.sensor_real import MAIN, PACK, WORLDS, Sensor, sensor_of


@pytest.fixture(params=sorted(WORLDS))
def sensor(request: pytest.FixtureRequest, mongo: MongoCluster, tmp_path: Path) -> Iterator[Sensor]:
    with sensor_of("mongodb", request.param, mongo.write_config(tmp_path / "ha.yaml"), tmp_path / "state") as one:
        yield one


CRASH = ("NoPrimary", "OneFailureFromNoMajority", "MemberDown")
IN_STACKSTORM = pytest.mark.parametrize("sensor", ["stackstorm"], indirect=True)
"""What does not depend on the driver's version is tried with StackStorm's alone."""
DOWN = [("appeared", "MemberDown"), ("appeared", "NoPrimary"), ("appeared", "OneFailureFromNoMajority")]


def test_a_crash_is_told_once_and_a_restart_repeats_nothing(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    before = mongo.primary()
    mongo.kill(before.name)
    wait_for(lambda: len(sensor.told(*CRASH)) >= 3 and sensor.moves(), 20, "what a crash tells")
    after = mongo.primary()
    assert sorted(sensor.told(*CRASH)[:3]) == DOWN
    assert sensor.moves() == [(before.address, after.address)]
    # A change that is dispatched and not yet saved may be told again, with the same id.
    wait_for(lambda: sensor.primary() == after.address, 10, "the new primary to be saved")
    sensor.end(signal.SIGKILL)

    sensor.start()
    wait_for(lambda: ("cleared", "NoPrimary") in sensor.told(), 40, "the election to be over")
    assert sorted(sensor.told(*CRASH)[:3]) == DOWN and sensor.told(*CRASH)[3:] == [("cleared", "NoPrimary")]
    sensor.end()

    mongo.start(before.name)  # while nobody watches
    mongo.wait_healthy()
    sensor.start()
    wait_for(lambda: len(sensor.told(*CRASH)) == 6, 40, "the member to be back")
    assert sorted(sensor.told(*CRASH)[4:]) == [("cleared", "MemberDown"), ("cleared", "OneFailureFromNoMajority")]
    assert sensor.moves() == [(before.address, after.address)]


@IN_STACKSTORM
def test_a_planned_switchover_alarms_nobody(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    before, other = mongo.primary(), mongo.secondaries()[0]
    command = [sys.executable, "-c", MAIN, str(PACK), "mongodb_switchover", f"member={other.address}"]
    env = {**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib"), "ST2HA_STATE_DIR": str(sensor._state)}
    config = ["deployment=lab", "--config", str(sensor._config)]
    subprocess.run([*command, *config], env=env, check=False, timeout=120, stdout=subprocess.DEVNULL)
    assert mongo.primary() == other
    wait_for(lambda: sensor.moves() == [(before.address, other.address)], 10, "the new primary to be told")
    assert sensor.told(*CRASH) == []


@IN_STACKSTORM
def test_a_hung_primary_does_not_delay_the_word_of_the_next(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    before = mongo.primary()
    mongo.hang(before.name)
    wait_for(lambda: ("appeared", "MemberHung") in sensor.told(), 40, "the hang to be told")
    wait_for(sensor.moves, 20, "the new primary to be told")
    assert sensor.moves()[0][0] == before.address and len(sensor.moves()) == 1


@IN_STACKSTORM
def test_it_outlives_a_cluster_that_is_gone(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    for member in mongo.members:
        mongo.kill(member.name)
    wait_for(lambda: sensor.told("NoPrimary"), 20, "the loss to be told")
    wait_for(lambda: len(sensor.told("MemberDown")) == 3, 20, "the loss of each member to be told")
    for member in mongo.members:
        mongo.start(member.name)
    mongo.wait_healthy()
    wait_for(lambda: ("cleared", "NoPrimary") in sensor.told(), 60, "the end of it to be told")
    assert sensor.told("NoPrimary") == [("appeared", "NoPrimary"), ("cleared", "NoPrimary")]
    assert sensor.alive()


@IN_STACKSTORM
def test_a_password_that_is_wrong_at_first_needs_no_restart(
    mongo: MongoCluster, sensor: Sensor, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    text = sensor._config.read_text().replace(str(mongo.password_file), str(secret))
    sensor._config.write_text(text)
    sensor.start()
    wait_for(lambda: ("appeared", "AuthFailed") in sensor.told(), 20, "the refusal to be told")
    secret.write_text(mongo.password)
    wait_for(lambda: len([1 for pair in sensor.told() if pair == ("cleared", "AuthFailed")]) == 3, 60, "the end of it")


@IN_STACKSTORM
def test_started_before_the_cluster_it_waits_for_it(mongo: MongoCluster, sensor: Sensor) -> None:
    for member in mongo.members:
        mongo.kill(member.name)
    sensor.start()
    wait_for(lambda: len(sensor.told("MemberDown")) == 3, 20, "all members to be told as down")
    for member in mongo.members:
        mongo.start(member.name)
    mongo.wait_healthy()
    wait_for(lambda: len(sensor.told("MemberDown")) == 6, 60, "all members to be told as back")
    assert sensor.moves() == []
