"""Leases on real servers, their holders killed, hung and cut off at random: never two of them.

ST2HA_TORTURE_S makes it longer (seconds for each backend); from a minute on the servers are killed, too.
"""

from __future__ import annotations

import os
import random
from typing import Any, Callable, Optional

import pytest

from benchmarks.lease_torture import Holders, Line, judge, read, torture
from lab.mongodb import MongoCluster
from lab.redis import RedisCluster
from lab.wait import wait_for
from st2ha.partition.lease.clerk import Store, open_store
from st2ha.partition.lease.rule import FREE
from st2ha.partition.lease.settings import configured

SECONDS = float(os.environ.get("ST2HA_TORTURE_S", "5"))
TTL_S = 1.5


def tortured(config: dict[str, Any], also: Optional[Callable[[random.Random], None]]) -> None:
    seed = random.randrange(10**6)
    with Holders(config) as holders:
        done = list(torture(holders, SECONDS, TTL_S, seed, also if SECONDS >= 60 else None))
        verdict = judge(read(holders.log))
        for member in holders.members:
            holders.stop(member.name)
        settings = configured(config)
        assert settings is not None
        store = open_store(settings, "torture")
        wait_for(lambda: is_free(store), 30, "the last holder's clerk to give the lease back")
    print(f"seed {seed}: {len(done)} faults; {verdict}")
    assert (verdict.double, verdict.falling) == (0, 0), (seed, done)
    assert verdict.holders >= 2 and verdict.dispatches > 50


def is_free(store: Store) -> bool:
    record, _ = store.look()
    return record is not None and record.holder == FREE


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


def test_the_judge_sees_two_holders() -> None:
    good = [Line(1.0, 1.1, 5, "a"), Line(2.0, 2.1, 5, "a"), Line(3.0, 3.1, 9, "b")]
    assert judge(good).double == judge(good).late == judge(good).falling == 0
    assert judge([*good, Line(3.2, 3.3, 5, "a")]).double == 1
    assert (judge([*good, Line(2.5, 2.6, 5, "a")]).double, judge([*good, Line(2.5, 2.6, 5, "a")]).late) == (0, 1)
    assert judge([*good, Line(4.0, 4.1, 7, "c")]).falling == 1
    assert judge([*good, Line(4.0, 4.1, 9, "a")]).falling == 1
