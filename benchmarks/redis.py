"""The figures of the area `redis`: one cluster of the lab for all of them."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable

from benchmarks.figures import Figure, worst
from lab.cluster import Member
from lab.errors import LabError
from lab.redis import DRIVER, RedisCluster
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.redis import operations

PAIRS, ROUNDS, SWITCHES = 40, 3, 3
TIMEOUT_S = 1.0
SETTINGS = 8
"""So many settings the check reads of each server."""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Five figures, in about two minutes."""
    with RedisCluster() as lab:
        where = select({"deployments": [lab.deployment()]}, "lab")
        wait_for(lambda: not operations.check(where).findings, 30, "a check that finds nothing")
        say("redis_check against a bare client")
        yield against_bare_node(lab, where)
        say("redis_check with a hung server")
        yield one_hung(lab, where)
        say("redis_switchover under a writer, and Sentinel's own failover beside it")
        yield from switching(lab, where)


def against_bare_node(lab: RedisCluster, where: Deployment) -> Figure:
    """A B A B: the check of all servers and Sentinels, and all of them asked by bare clients."""
    ratios: list[float] = []
    checks: list[float] = []
    bares: list[float] = []
    for number in range(PAIRS):
        pair: list[tuple[list[float], Callable[[], float]]] = [
            (checks, lambda: _check_s(where)),
            (bares, lambda: _bares_s(lab)),
        ]
        for times, measured in pair if number % 2 else reversed(pair):
            times.append(measured())
        ratios.append(checks[-1] / bares[-1])
    return Figure(
        "redis_check_to_bare_node", statistics.median(ratios), 1.5, "x",
        f"check {1000 * statistics.median(checks):.0f} ms, slowest bare node {1000 * statistics.median(bares):.0f} ms",
        f"median ratio of {PAIRS} alternating pairs; all six at once, fresh connections, the same questions",
    )  # fmt: skip


def _check_s(where: Deployment) -> float:
    began = time.perf_counter()
    report = operations.check(where)
    if report.findings:
        raise LabError(f"the check found {report.findings[0].line()}")
    return time.perf_counter() - began


def _bares_s(lab: RedisCluster) -> float:
    with ThreadPoolExecutor(len(lab.members)) as pool:
        return max(pool.map(lambda member: _bare_s(lab, member), lab.members))


def _bare_s(lab: RedisCluster, member: Member) -> float:
    """A fresh connection, and the questions one after the other."""
    began = time.perf_counter()
    with lab.client(member.name) as client:
        client.ping()
        client.ping()
        if member in lab.redises:
            client.execute_command("INFO", "all")
            for _ in range(SETTINGS):
                client.execute_command("CONFIG", "GET", "save")
        else:
            for words in (("MASTERS",), ("REPLICAS", "st2"), ("CKQUORUM", "st2")):
                client.execute_command("SENTINEL", *words)
    return time.perf_counter() - began


def one_hung(lab: RedisCluster, where: Deployment) -> Figure:
    """SIGSTOP of a replica: it costs its time-out, once."""
    lab.hang("redis3")
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        report = operations.check(where, TIMEOUT_S)
        seen = any(finding.code == "MemberHung" for finding in report.findings)
        took.append(time.perf_counter() - began if seen else float("nan"))
    lab.restore()
    beside = f"its timeout is {TIMEOUT_S:g} s"
    return Figure("redis_check_one_hung", worst(took), 1.2 * TIMEOUT_S, "s", beside, f"SIGSTOP; worst of {ROUNDS}")


@dataclass
class Writer:
    """A client as applications have them: asks the first Sentinel that answers, writes, and asks again on an error."""

    lab: RedisCluster
    acknowledged: list[tuple[float, int]] = field(default_factory=list)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Before, during and after the body."""
        over = threading.Event()
        thread = threading.Thread(target=self._write, args=(over,), daemon=True)
        thread.start()
        time.sleep(0.5)
        try:
            yield
            time.sleep(4)
        finally:
            over.set()
            thread.join(30)

    def _write(self, over: threading.Event) -> None:
        number = 0
        while not over.is_set():
            with contextlib.suppress(*DRIVER, LabError):
                _, port = self.lab.ask("sentinel1", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "st2")
                name = next(m.name for m in self.lab.redises if m.port == int(port))
                with self.lab.client(name, timeout_s=1) as client:
                    while not over.is_set():
                        number += 1
                        client.set(f"w:{number}", number)
                        self.acknowledged.append((time.monotonic(), number))
            time.sleep(0.01)

    def gap_s(self, since: float) -> float:
        """The longest time without an acknowledged write."""
        moments = [at for at, _ in self.acknowledged if at >= since]
        return max(b - a for a, b in zip(moments, moments[1:]))

    def lost(self, since: float) -> int:
        """Acknowledged writes that are not there."""
        numbers = [number for at, number in self.acknowledged if at >= since]
        with self.lab.client(self.lab.await_primary().name, timeout_s=10) as client:
            there = client.mget([f"w:{number}" for number in numbers])
        return sum(value != str(number) for number, value in zip(numbers, there))


def switching(lab: RedisCluster, where: Deployment) -> Iterator[Figure]:
    """Ours several times, and SENTINEL FAILOVER as often, under the same writer."""
    ours, theirs = [], []
    for _ in range(SWITCHES):
        ours.append(_one(lab, lambda: _ours(where)))
        theirs.append(_one(lab, lambda: _theirs(lab)))
    gaps, lost, written = (max(row[0] for row in ours), sum(row[1] for row in ours), sum(row[2] for row in ours))
    bare_gap, bare_lost = max(row[0] for row in theirs), sum(row[1] for row in theirs)
    how = f"1 writer that asks a Sentinel, worst of {SWITCHES}"
    beside = f"SENTINEL FAILOVER alone: {bare_gap:.2f} s, as the old primary goes on taking writes"
    yield Figure("redis_switchover_outage", gaps, 3.0, "s", beside, how)
    beside = f"{written} were acknowledged; SENTINEL FAILOVER alone lost {bare_lost}"
    yield Figure("redis_switchover_lost_writes", lost, 0, "writes", beside, f"{how}, sum")


def _one(lab: RedisCluster, switch: Callable[[], None]) -> tuple[float, int, int]:
    writer, since = Writer(lab), time.monotonic()
    with writer.writing():
        switch()
    # Sentinel turns the old primary into a replica some ten seconds later: only then its last writes are gone.
    wait_for(lambda: _settled(lab), 60, "the old primary to follow")
    found = writer.gap_s(since), writer.lost(since), len(writer.acknowledged)
    lab.restore()
    return found


def _settled(lab: RedisCluster) -> bool:
    with contextlib.suppress(*DRIVER, LabError):
        return [lab.ask(member.name, "ROLE")[0] for member in lab.redises].count("master") == 1
    return False


def _ours(where: Deployment) -> None:
    result = operations.switchover(where, "best")
    if result.get("outcome") != "done":
        raise LabError(f"redis_switchover: {result.get('error', result['summary'])}")


def _theirs(lab: RedisCluster) -> None:
    former = lab.primary().name
    lab.ask("sentinel1", "SENTINEL", "FAILOVER", "st2")
    lab.await_primary(other_than=former)
