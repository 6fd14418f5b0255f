"""The lease's figures, part of the area `partition`: failover, writes, double dispatches, on both backends."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from typing import Any, Callable, Union

from benchmarks.figures import Figure, worst
from benchmarks.lease_torture import Holders, judge, read, torture
from lab.mongodb import MongoCluster
from lab.redis import RedisCluster
from lab.wait import wait_for

TTL_S, ROUNDS = 10.0, 2
QUICK_TTL_S = 2.0
WRITES_FOR_S = 20.0
TORTURE_S = float(os.environ.get("ST2HA_TORTURE_S", "30"))
Backend = Union[MongoCluster, RedisCluster]


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Six figures, in about four minutes."""
    for name, cluster in (("mongodb", MongoCluster()), ("redis", RedisCluster())):
        with cluster:
            say(f"lease on {name}: writes, and failover, at a ttl of {TTL_S:g} s")
            yield from quiet(name, cluster)
            say(f"lease on {name}: torture for {TORTURE_S:g} s")
            yield tortured(name, cluster)


def quiet(name: str, cluster: Backend) -> Iterator[Figure]:
    """What one sensor on three nodes writes while nothing happens; then its holder is hung, and is killed alone."""
    with Holders(config_of(name, cluster, TTL_S)) as holders:
        wait_for(lambda: len(read(holders.log)) > 10, 60, "the first holder")
        before, began = writes(cluster), time.monotonic()
        time.sleep(WRITES_FOR_S)
        rate = (writes(cluster) - before) / (time.monotonic() - began)
        how = f"three contenders for {WRITES_FOR_S:g} s at a ttl of {TTL_S:g} s, by the record's own beats"
        yield Figure(f"lease_{name}_writes", rate, 0.5, "writes/s", "", how)
        took = [failover(holders, holders.hang, holders.resume) for _ in range(ROUNDS)]
        beside = f"ttl {TTL_S:g} s; median {statistics.median(took):.2f} s"
        ended = [failover(holders, holders.stop, holders.start) for _ in range(ROUNDS)]
        beside += f"; SIGTERM of the holder: {statistics.median(ended):.2f} s"
        how = f"SIGSTOP of the holder with its clerk, to the first dispatch of another one; worst of {ROUNDS}"
        yield Figure(f"lease_{name}_failover", worst(took), TTL_S + 1, "s", beside, how)


def failover(holders: Holders, breaks: Callable[[str], None], mends: Callable[[str], None]) -> float:
    """Seconds from the end of the present holder to the first dispatch of the next one."""
    time.sleep(random.uniform(0, 3))
    last = read(holders.log)[-1]
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    breaks(last.holder)
    wait_for(lambda: read(holders.log)[-1].token > last.token, 60, "the next holder", interval_s=0.05)
    first = next(line for line in read(holders.log) if line.token > last.token)
    mends(last.holder)
    return first.before - before


def writes(cluster: Backend) -> int:
    """How often the record was written: its beat, while its holder stays."""
    if isinstance(cluster, MongoCluster):
        record: Any = cluster.client().st2ha_canary.st2ha_lease.find_one({"_id": "torture"})
        return int(record["beat"])
    return int(cluster.ask(cluster.primary().name, "HGET", "st2ha:lease:torture", "beat"))


def tortured(name: str, cluster: Backend) -> Figure:
    """Holders killed, hung and cut off at random; from a minute on the backend's primary is killed now and then."""
    seed = random.randrange(10**6)

    def kill_primary(_: random.Random) -> None:
        primary = cluster.await_primary() if isinstance(cluster, RedisCluster) else cluster.primary()
        cluster.kill(primary.name)
        if isinstance(cluster, RedisCluster):
            cluster.await_primary(other_than=primary.name)
        else:
            cluster.primary()
        cluster.start(primary.name)

    with Holders(config_of(name, cluster, QUICK_TTL_S)) as holders:
        also = kill_primary if TORTURE_S >= 60 else None
        faults = len(list(torture(holders, TORTURE_S, QUICK_TTL_S, seed, also)))
        verdict = judge(read(holders.log))
    how = f"{faults} faults in {TORTURE_S:g} s (ST2HA_TORTURE_S) at a ttl of {QUICK_TTL_S:g} s, seed {seed}"
    return Figure(f"lease_{name}_double", verdict.double + verdict.falling, 0, "dispatches", str(verdict), how)


def config_of(name: str, cluster: Backend, ttl_s: float) -> dict[str, Any]:
    return {"deployments": [cluster.deployment()], "lease": {"backend": name, "ttl_s": ttl_s}}
