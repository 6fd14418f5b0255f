"""The figures of the area `mongodb`: one replica set of the lab for all of them, made whole in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Callable

from benchmarks import mongodb_check, mongodb_sensor, mongodb_switchover, startup
from benchmarks.figures import Figure
from demo.pack import Pack, Sensor
from lab.install import install_mongodb
from lab.mongodb import MongoCluster

CALM_S = 15.0
"""What a sensor computes when it starts is not its steady state."""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about two and a half minutes; start-up before any server takes its part of the processor."""
    install_mongodb()
    say("start-up of actions")
    yield from startup.measure()
    with MongoCluster(members=3) as rs:
        say("mongodb_check against a bare client")
        yield mongodb_check.against_bare_member(rs)
        say("mongodb_check with one hung member")
        yield mongodb_check.one_hung(rs)
        say("mongodb_check of 50 members, 10 of them hung")
        yield mongodb_check.fifty_members(rs)
        with mongodb_sensor.bare_watcher(rs) as bare, Sensor(Pack(rs, "steady")) as sensor:
            say("the sensor's steady state")
            time.sleep(CALM_S)
            yield from mongodb_sensor.steady_state(sensor, bare)
        say("detection of a killed primary")
        yield from mongodb_sensor.detection(rs)
        say("planned switchover under load")
        yield from mongodb_switchover.measure(rs)
