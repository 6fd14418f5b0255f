"""The figures of the area `mysql`: one MariaDB pair of the lab for all of them, built anew in between."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pymysql

from benchmarks.figures import Figure, worst
from lab.errors import LabError
from lab.mysql import MysqlCluster
from lab.mysql_writer import MysqlWriter
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.mysql import changes, operations
from st2ha.mysql.dialect import mariadb
from st2ha.mysql.gather import questions
from st2ha.mysql.watch import Watch

PAIRS, CLIENT_PAIRS, SWITCHOVERS, FAILOVERS, DETECTIONS = 40, 10, 20, 5, 5
PAUSE_S = 0.0085
"""Between two writes: with the write itself 10 ms."""
STATEMENTS = (
    *questions(mariadb((10, 11, 0)), "st2ha_canary").values(),
    "SELECT BINLOG_GTID_POS('binlog.000001', 4) AS value",
)
"""What one server is asked for."""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about a minute and a half."""
    with MysqlCluster() as pair:
        operations.check(deployment(pair), canary=True)
        pair.query("db1", "CREATE TABLE st2ha_canary.failovers (at DOUBLE PRIMARY KEY, former TEXT, current TEXT)")
        say("mysql_check against a bare client, and against the mariadb client")
        yield against_bare_server(pair)
        yield against_client(pair)
        pair.restore()
        say(f"{SWITCHOVERS} planned switchovers at 100 writes a second")
        yield from switchovers(pair)
        say("forced failovers after kill -9")
        yield failovers(pair)
        say("detection of a killed primary")
        yield detection(pair)


def deployment(pair: MysqlCluster) -> Deployment:
    """The cluster as the pack's configuration names it."""
    return select({"deployments": [pair.deployment()]}, "lab")


def against_bare_server(pair: MysqlCluster) -> Figure:
    """A B A B: the check of both servers, and the slower of them asked the same alone; median of the ratios."""
    where = deployment(pair)
    checks, bares = [], []
    for _ in range(PAIRS):
        checks.append(_took_s(lambda: operations.check(where)))
        bares.append(max(_took_s(lambda name=m.name: _bare(pair, name)) for m in pair.members))  # type: ignore[misc]
    ratio = statistics.median(check / bare for check, bare in zip(checks, bares))
    return Figure(
        "mysql_check_to_bare_server", ratio, 1.5, "x",
        f"check {1000 * statistics.median(checks):.1f} ms, slower bare server {1000 * statistics.median(bares):.1f} ms",
        f"median ratio of {PAIRS} alternating pairs; both log in on fresh connections",
    )  # fmt: skip


def against_client(pair: MysqlCluster) -> Figure:
    """The check, and what a script does for the same facts: the mariadb client, once for each server."""
    where = deployment(pair)

    def clients() -> None:
        for member in pair.members:
            _client(pair, member.name)

    check_s = statistics.median(_took_s(lambda: operations.check(where)) for _ in range(CLIENT_PAIRS))
    client_s = statistics.median(_took_s(clients) for _ in range(CLIENT_PAIRS))
    return Figure(
        "mysql_check_to_mariadb_client", check_s / client_s, 1 / 1.5, "x",
        f"check {1000 * check_s:.1f} ms, client for both servers {1000 * client_s:.1f} ms", "the same statements",
    )  # fmt: skip


def _bare(pair: MysqlCluster, name: str) -> None:
    with pair.client(name, "st2ha", ssl_disabled=True) as connection, connection.cursor() as cursor:
        for statement in STATEMENTS:
            cursor.execute(statement)
            cursor.fetchall()


def _client(pair: MysqlCluster, name: str) -> None:
    member, login = pair.member(name), pair.logins["st2ha"]
    command = ["mariadb", "--no-defaults", f"-h{member.host}", f"-P{member.port}", f"-u{login.username}", "--batch"]
    script = ";\n".join(STATEMENTS)
    subprocess.run(
        command, input=script, text=True, env={"MYSQL_PWD": login.password, "PATH": "/usr/bin"}, check=True,
        capture_output=True, timeout=20,
    )  # fmt: skip


def _took_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    took_s = time.perf_counter() - began
    time.sleep(0.02)  # closing connections must not be counted with the next measurement
    return took_s


def switchovers(pair: MysqlCluster) -> Iterator[Figure]:
    """There and back under load; each round's longest time without an acknowledged write, and what is missing."""
    where, blocked, began = deployment(pair), [], time.time()
    with MysqlWriter(pair, "switched", PAUSE_S) as load:
        for _ in range(SWITCHOVERS):
            since = time.time()
            result = changes.switchover(where, "best")
            if result.get("outcome") != "done":
                raise LabError(f"a switchover of the benchmark failed: {result.get('error')}")
            time.sleep(0.4)
            blocked.append(load.largest_gap(since))
        pace = load.count / (time.time() - began)
    operations.check(where, canary=True)  # returns when the replica has everything
    lost = max(len(set(load.acknowledged()) - load.present_on(member.name)) for member in pair.members)
    beside = f"median {statistics.median(blocked):.3f} s, {pace:.0f} writes a second"
    yield Figure("mysql_switchover_blocked", worst(blocked), 0.3, "s", beside, f"worst of {SWITCHOVERS} in a row")
    yield Figure("mysql_switchover_lost_writes", lost, 0, "writes", f"{load.count} acknowledged", "on either server")


def failovers(pair: MysqlCluster) -> Figure:
    """From the action's start to the first write that the new primary takes."""
    where, took = deployment(pair), []
    for _ in range(FAILOVERS):
        pair.restore()
        pair.kill("db1")
        time.sleep(0.3)
        began = time.monotonic()
        action = threading.Thread(target=changes.failover, args=(where, "best"))
        action.start()
        wait_for(lambda: _writes(pair, "db2"), 20, "a write", interval_s=0.01)
        took.append(time.monotonic() - began)
        action.join()
    beside = f"median {statistics.median(took):.2f} s"
    return Figure("mysql_failover_writable_again", worst(took), 2.0, "s", beside, f"worst of {FAILOVERS} after kill -9")


def _writes(pair: MysqlCluster, name: str) -> bool:
    try:
        pair.query(
            name, "CREATE TABLE IF NOT EXISTS app.probe (n INT)", "INSERT INTO app.probe VALUES (1)", login="app"
        )
    except pymysql.MySQLError:
        return False
    return True


def detection(pair: MysqlCluster) -> Figure:
    """From kill -9 of the primary to the observer's look that says so, in a thread of this process."""
    where, took = deployment(pair), []
    told: list[tuple[float, set[str]]] = []

    def tell(look: dict[str, Any]) -> None:
        told.append((time.monotonic(), {row["code"] for row in look.get("findings", ())}))

    threading.Thread(target=Watch(lambda: where.require("mysql"), tell).run, daemon=True).start()
    for _ in range(DETECTIONS):
        pair.restore()
        wait_for(lambda: told and not told[-1][1], 30, "a look that finds nothing")
        time.sleep(1)  # all pulses beat again
        told.clear()
        began = time.monotonic()
        pair.kill("db1")
        wait_for(lambda: any("NoPrimary" in found for _, found in told), 20, "NoPrimary", interval_s=0.01)
        took.append(next(at for at, found in told if "NoPrimary" in found) - began)
    beside = f"median {statistics.median(took):.2f} s"
    return Figure("mysql_detection_of_a_kill", worst(took), 1.5, "s", beside, f"worst of {DETECTIONS}")
