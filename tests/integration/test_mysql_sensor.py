"""The sensor as a process on a real pair: in the pack's own environment, and under StackStorm's eventlet."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from lab.mysql import MysqlCluster
from lab.wait import wait_for
from tests.real_mysql import change
from tests.sensor_real import PACK, WORLDS, Sensor, sensor_of

CRASH = ("NoPrimary", "MemberDown")
DOWN = [("appeared", "MemberDown"), ("appeared", "NoPrimary")]


@pytest.fixture(params=sorted(WORLDS))
def sensor(request: pytest.FixtureRequest, mysql: MysqlCluster, tmp_path: Path) -> Iterator[Sensor]:
    with sensor_of("mysql", request.param, mysql.write_config(tmp_path / "ha.yaml"), tmp_path / "state") as one:
        yield one


def test_a_crash_is_told_once_and_a_restart_repeats_nothing_and_loses_nothing(
    mysql: MysqlCluster, sensor: Sensor
) -> None:
    first, second = (member.address for member in mysql.members)
    sensor.start()
    mysql.kill("db1")
    wait_for(lambda: len(sensor.told(*CRASH)) == 2, 20, "the loss to be told", interval_s=0.01)
    assert sorted(sensor.told()) == DOWN and sensor.moves() == []
    wait_for(lambda: all(f"{code} mysql/main" in str(sensor.saved()) for code in CRASH), 10, "the loss to be saved")
    sensor.end(signal.SIGKILL)

    assert change(mysql, "failover")["outcome"] == "done"  # while nobody watches
    sensor.start()
    wait_for(sensor.moves, 10, "the new primary to be told")
    wait_for(lambda: ("cleared", "NoPrimary") in sensor.told(), 40, "the end of it to be told")
    assert sorted(sensor.told(*CRASH)[:2]) == DOWN and sensor.told(*CRASH)[2:] == [("cleared", "NoPrimary")]

    mysql.kill("db2")
    wait_for(lambda: len(sensor.told(*CRASH)) == 5, 20, "the loss of both to be told")
    assert sensor.moves() == [(first, second)] and sensor.alive()
    fits_its_triggers(sensor)


def fits_its_triggers(sensor: Sensor) -> None:
    """StackStorm drops a payload that does not fit; MySQL counts no elections."""
    for event in sensor.events:
        trigger = yaml.safe_load((PACK / "triggers" / f"{event['trigger'][3:]}.yaml").read_text())
        jsonschema.validate(event["payload"], trigger["payload_schema"])
    assert [event["payload"]["term"] for event in sensor.events if event["trigger"] == "ha.role_changed"] == [None]


def test_a_planned_switchover_alarms_nobody(mysql: MysqlCluster, sensor: Sensor) -> None:
    first, second = (member.address for member in mysql.members)
    sensor.start()
    assert change(mysql, "switchover")["outcome"] == "done"
    wait_for(lambda: sensor.moves() == [(first, second)], 10, "the new primary to be told")
    time.sleep(5)  # what stays for four seconds would be told
    assert sensor.told() == []
