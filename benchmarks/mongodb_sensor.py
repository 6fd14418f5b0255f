"""How soon `mongodb_sensor` tells of a killed primary, and what it costs while nothing happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from demo.pack import Pack, Sensor, end
from lab.lookout import Lookout
from lab.mongodb import MongoCluster
from lab.process import MARKER

KILLS = 3
STEADY_S = 30.0
CALM_S = 12.0
"""The sensor looks more often for so long after its start."""
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
# The least that a watcher of a replica set can be: the driver's own monitoring in an idle process.
BARE_WATCHER = "import sys, time, pymongo; c = pymongo.MongoClient(sys.argv[1:], replicaSet='rs0'); time.sleep(600)"


@contextlib.contextmanager
def bare_watcher(rs: MongoCluster) -> Iterator[int]:
    """The pid of a process that does nothing but hold a driver's client of the set."""
    process = subprocess.Popen(
        [sys.executable, "-c", BARE_WATCHER, *rs.hosts],
        env={**os.environ, MARKER: str(rs.directory)},
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        end(process)


def steady_state(sensor: Sensor, bare: int) -> list[Figure]:
    """CPU and memory of the sensor's processes, without the `bin/st2ha` that only prints for them."""
    assert sensor.process is not None
    parent = sensor.process.pid
    time.sleep(CALM_S)
    pids = descendants(parent)
    began, cpu_s, bare_s = time.monotonic(), _cpu_s(pids), _cpu_s([bare])
    time.sleep(STEADY_S)
    took_s = time.monotonic() - began
    share, bare_share = ((now - then) / took_s * 100 for now, then in ((_cpu_s(pids), cpu_s), (_cpu_s([bare]), bare_s)))
    unchanged = float("nan") if descendants(parent) != pids else 1.0
    how = f"{len(pids)} processes (without the bin/st2ha that prints), over {took_s:.0f} s"
    rss_mb, bare_mb = _rss_mb(pids), _rss_mb([bare])
    return [
        Figure("sensor_steady_cpu", share * unchanged, 1.0, "%", f"a bare MongoClient: {bare_share:.2f} %", how),
        Figure("sensor_steady_rss", rss_mb * unchanged, 80.0, "MB", f"a bare MongoClient: {bare_mb:.1f} MB", how),
    ]


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, without it."""
    children: dict[int, list[int]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(int(directory.name))[1]), []).append(int(directory.name))
    found, fresh = [], [pid]
    while fresh:
        fresh = [child for each in fresh for child in children.get(each, ())]
        found += fresh
    return sorted(found)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: [0] is the state, [1] the parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pids: list[int]) -> float:
    return sum((int(_stat(pid)[11]) + int(_stat(pid)[12])) * TICK_S for pid in pids)


def _rss_mb(pids: list[int]) -> float:
    return sum(int(_stat(pid)[21]) * PAGE_MB for pid in pids)


def detection(rs: MongoCluster) -> list[Figure]:
    """Kill the primary several times, each time before a fresh sensor; the worst delays."""
    findings, roles, floors, elections = [], [], [], []
    for number in range(KILLS):
        with Sensor(Pack(rs, f"kill{number}")) as sensor, Lookout(rs) as lookout:
            victim = rs.primary()
            began = time.time()
            rs.kill(victim.name)
            took_over, address = lookout.primary_at(began)
            floors.append(lookout.lost_at(victim.address, began) - began)
            elections.append(took_over - began)
            findings.append(sensor.first("ha.finding_changed", began, 15, change="appeared").at - began)
            roles.append(sensor.first("ha.role_changed", began, 15, current=address).at - took_over)
        rs.start(victim.name)
        rs.wait_healthy(60)
    worst = f"the worst of {KILLS}"
    polled = f"a client that polls every 10 ms: {max(floors):.2f} s"
    elected = f"the elections took {min(elections):.1f} to {max(elections):.1f} s"
    return [
        Figure("finding_changed_after_kill", max(findings), 1.0, "s", polled, f"after SIGKILL, {worst}"),
        Figure("role_changed_after_claim", max(roles), 0.5, "s", elected, f"after a member's own word, {worst}"),
    ]
