"""How long `mongodb_check` takes inside one process: healthy, and with members that hang."""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import replace

from pymongo import MongoClient

from benchmarks.figures import Figure, worst
from lab.mongodb import MongoCluster
from lab.proxy import Proxy
from st2ha.config import Deployment, Host, select
from st2ha.mongodb import operations

PAIRS = 60
PAUSE_S = 0.02
"""After each measured call: pymongo's closing connections must not be counted with the next one."""
TIMEOUT_S = 1.0
SLACK = 1.1
ROUNDS = 3
PROXIES, HUNG = 50, 10


def deployment(rs: MongoCluster) -> Deployment:
    """The cluster as the pack's configuration names it."""
    return select({"deployments": [rs.deployment()]}, "lab")


def against_bare_member(rs: MongoCluster) -> Figure:
    """A B A B: the check of all members, and the slowest of them asked alone by a bare client; median of the ratios."""
    where = deployment(rs)
    _check_s(where)
    ratios, checks, bares = [], [], []
    for number in range(PAIRS):
        if number % 2:
            checks.append(_check_s(where))
            bares.append(max(_bare_s(rs, host) for host in rs.hosts))
        else:
            bares.append(max(_bare_s(rs, host) for host in rs.hosts))
            checks.append(_check_s(where))
        ratios.append(checks[-1] / bares[-1])
    check_ms, bare_ms = 1000 * statistics.median(checks), 1000 * statistics.median(bares)
    return Figure(
        "mongodb_check_to_bare_member", statistics.median(ratios), 1.5, "x",
        f"check {check_ms:.1f} ms, slowest bare member {bare_ms:.1f} ms",
        f"median ratio of {PAIRS} alternating pairs; both log in on fresh connections",
    )  # fmt: skip


def _check_s(where: Deployment) -> float:
    began = time.perf_counter()
    operations.check(where)
    took_s = time.perf_counter() - began
    time.sleep(PAUSE_S)
    return took_s


def _bare_s(rs: MongoCluster, host: str) -> float:
    """A fresh client of one member, until the third reply; closing it is not counted, as it is not for the check."""
    began = time.perf_counter()
    with MongoClient[dict[str, object]](
        host, directConnection=True, username=rs.username, password=rs.password, authSource="admin"
    ) as client:
        for command in ("hello", "replSetGetStatus", "serverStatus"):
            client.admin.command(command)
        took_s = time.perf_counter() - began
    time.sleep(PAUSE_S)
    return took_s


def one_hung(rs: MongoCluster) -> Figure:
    """One of three is stopped (SIGSTOP); the worst of some checks."""
    where = deployment(rs)
    victim = rs.secondaries()[0]
    rs.hang(victim.name)
    try:
        slowest = worst(_timed_out_s(where, "hung") for _ in range(ROUNDS))
    finally:
        rs.resume(victim.name)
    rs.wait_healthy()
    return _bounded("mongodb_check_one_hung", slowest, "SIGSTOP of a secondary")


def fifty_members(rs: MongoCluster) -> Figure:
    """Proxies to the three members, some of which accept and are silent; the worst of some checks."""
    with contextlib.ExitStack() as stack:
        proxies = [
            stack.enter_context(Proxy((member.host, member.port), mode="hang" if number < HUNG else "pass"))
            for number, member in zip(range(PROXIES), rs.members * PROXIES)
        ]
        lab = deployment(rs)
        hosts = tuple(Host(proxy.host, proxy.port) for proxy in proxies)
        where = replace(lab, mongodb=replace(lab.require_mongodb(), hosts=hosts))
        slowest = worst(_timed_out_s(where, "hung", HUNG) for _ in range(ROUNDS))
    return _bounded("mongodb_check_10_hung_of_50", slowest, f"{PROXIES} proxies to 3 members, {HUNG} of them silent")


def _bounded(name: str, slowest_s: float, how: str) -> Figure:
    beside = f"its timeout is {TIMEOUT_S:g} s"
    return Figure(name, slowest_s, TIMEOUT_S * SLACK, "s", beside, f"{how}; worst of {ROUNDS}")


def _timed_out_s(where: Deployment, state: str, count: int = 1) -> float:
    """Seconds of a check; no number unless exactly `count` members are in `state`: nobody else may be given up."""
    began = time.perf_counter()
    report = operations.check(where, TIMEOUT_S)
    took_s = time.perf_counter() - began
    found = [row["state"] for row in report.facts["members"]].count(state)
    time.sleep(PAUSE_S)
    return took_s if found == count else float("nan")
