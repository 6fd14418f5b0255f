"""Leases on real servers, their holders killed, hung and cut off at random: never two of them.

ST2HA_TORTURE_S makes it longer (seconds for each backend); from a minute on the servers are killed, too.
"""

from __future__ import annotations

import logging
import os
import random
from typing import Any, Callable, Optional

import pytest

from benchmarks.lease_torture import Holders, Line, judge, read, torture
from lab.mongodb import MongoCluster
from lab.redis import RedisCluster
from st2ha.partition.lease.clerk import open_store
from st2ha.partition.lease.lease import Lease
from st2ha.partition.lease.rule import FREE
from st2ha.partition.lease.settings import configured

SECONDS = float(os.environ.get("ST2HA_TORTURE_S", "10"))
TTL_S = 1.5


def tortured(config: dict[str, Any], also: Optional[Callable[[random.Random], None]]) -> None:
    seed = random.randrange(10**6)
    with Holders(config) as holders:
        done = list(torture(holders, SECONDS, TTL_S, seed, also if SECONDS >= 60 else None))
        verdict = judge(read(holders.log))
    print(f"seed {seed}: {len(done)} faults; {verdict}")
    assert (verdict.double, verdict.falling) == (0, 0), (seed, done)
    assert verdict.holders >= 2 and verdict.dispatches > 50


def config_of(cluster: Any, backend: str, ttl_s: float = TTL_S) -> dict[str, Any]:
    return {"deployments": [cluster.deployment()], "lease": {"backend": backend, "ttl_s": ttl_s}}


@pytest.mark.timeout(SECONDS + 200)
def test_never_two_holders_on_redis(redis_lab: RedisCluster) -> None:
    def kill_primary(chance: random.Random) -> None:
        primary = redis_lab.await_primary()
        redis_lab.kill(primary.name)
        redis_lab.await_primary(other_than=primary.name)
        redis_lab.start(primary.name)

    tortured(config_of(redis_lab, "redis"), kill_primary)


@pytest.mark.timeout(SECONDS + 200)
def test_never_two_holders_on_mongodb(mongo: MongoCluster) -> None:
    def kill_primary(chance: random.Random) -> None:
        primary = mongo.primary()
        mongo.kill(primary.name)
        mongo.primary()
        mongo.start(primary.name)
        mongo.wait_healthy()

    tortured(config_of(mongo, "mongodb"), kill_primary)


def test_an_end_gives_the_lease_back(mongo: MongoCluster) -> None:
    config = config_of(mongo, "mongodb", 1)
    settings = configured(config)
    assert settings is not None
    lease = Lease(settings, config, "x", logging.getLogger("test"))
    assert lease.wait(30)
    token = lease.check()
    lease.end()
    assert lease.token is None
    record, _ = open_store(settings, "x").look()
    assert record is not None and (record.holder, record.token) == (FREE, token)


def test_the_judge_sees_two_holders() -> None:
    good = [Line(1.0, 1.1, 5, "a"), Line(2.0, 2.1, 5, "a"), Line(3.0, 3.1, 9, "b")]
    assert judge(good).double == judge(good).late == judge(good).falling == 0
    assert judge([*good, Line(3.2, 3.3, 5, "a")]).double == 1
    assert (judge([*good, Line(2.5, 2.6, 5, "a")]).double, judge([*good, Line(2.5, 2.6, 5, "a")]).late) == (0, 1)
    assert judge([*good, Line(4.0, 4.1, 7, "c")]).falling == 1
    assert judge([*good, Line(4.0, 4.1, 9, "a")]).falling == 1
