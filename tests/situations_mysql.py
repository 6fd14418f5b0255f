"""The situations of tests/record_mysql.py, each made on a real pair whose primary was db1.

A situation returns what must be true of a look before it is kept. Some cannot be made on one machine: those are
changes of a recording of healthy servers, and say what was changed and why.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Callable

from lab.mysql import MysqlCluster
from st2ha.mysql.facts import Snapshot

Situation = Callable[[MysqlCluster], Callable[[Snapshot], object]]
Looks = list[dict[str, Any]]
HELD: list[Any] = []
"""What a situation keeps open until it is recorded."""


def _any(snapshot: Snapshot) -> bool:
    return True


def healthy(pair: MysqlCluster) -> Any:
    return _any


def primary_killed(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    return lambda snapshot: all(m.channels[0].io != "Yes" for m in snapshot.members)


def primary_hung(pair: MysqlCluster) -> Any:
    pair.hang("db1")
    return _any


def primary_cut_off(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET GLOBAL slave_net_timeout=1", "STOP SLAVE", "START SLAVE")
    pair.cut_off("db1")
    return lambda snapshot: all(m.channels[0].io != "Yes" for m in snapshot.members)


def replica_killed(pair: MysqlCluster) -> Any:
    """The primary does not notice: the first write waits for the whole time-out, then semi-sync is given up."""
    pair.kill("db2")
    pair.query("db1", *[f"CREATE TABLE app.t{number} (n INT)" for number in range(3)])
    return lambda snapshot: snapshot.primary and not snapshot.primary.semi_sync.source_active


def replica_hung(pair: MysqlCluster) -> Any:
    pair.hang("db2")
    return _any


def both_killed(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    pair.kill("db2")
    return _any


def primary_restarted(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    pair.start("db1")
    return lambda snapshot: all(m.channels[0].io == "Yes" for m in snapshot.members if m.channels)


def old_primary_back(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    stop = ("STOP SLAVE", "RESET SLAVE ALL") if pair.flavor.name == "mariadb" else ("STOP REPLICA", "RESET REPLICA ALL")
    pair.query("db2", *stop, "SET GLOBAL read_only=0", "CREATE TABLE app.later (n INT)")
    pair.start("db1")
    return _any


def errant(pair: MysqlCluster) -> Any:
    pair.errant("db2", 5)
    return _any


def two_writable(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET GLOBAL read_only=0")
    return _any


def sql_stopped(pair: MysqlCluster) -> Any:
    pair.query("db1", "CREATE TABLE app.t (n INT PRIMARY KEY)")
    time.sleep(0.3)
    pair.query("db2", "SET sql_log_bin=0", "INSERT INTO app.t VALUES (1)")
    pair.query("db1", "INSERT INTO app.t VALUES (1)")
    return lambda snapshot: snapshot.members[1].channels[0].sql_error


def io_stopped(pair: MysqlCluster) -> Any:
    pair.query("db2", "STOP SLAVE IO_THREAD" if pair.flavor.name == "mariadb" else "STOP REPLICA IO_THREAD")
    return _any


def stream_hangs(pair: MysqlCluster) -> Any:
    pair.cut_off("db1", keep_clients=True)
    statements = ("CREATE TABLE app.t (n INT)", "INSERT INTO app.t VALUES (1)")
    pair.query("db1", "SET GLOBAL rpl_semi_sync_master_timeout=100", *statements)
    return lambda snapshot: snapshot.behind(snapshot.members[1])


def semi_sync_off(pair: MysqlCluster) -> Any:
    word = "master" if pair.flavor.name == "mariadb" else "source"
    pair.query("db1", f"SET GLOBAL rpl_semi_sync_{word}_enabled=0")
    return _any


def switchover_interrupted(pair: MysqlCluster) -> Any:
    pair.query("db1", "SET GLOBAL read_only=1")
    return _any


def purged_needed(pair: MysqlCluster) -> Any:
    pair.kill("db2")
    pair.query(
        "db1", "CREATE TABLE app.a (n INT)", "FLUSH BINARY LOGS", "CREATE TABLE app.b (n INT)", "FLUSH BINARY LOGS"
    )
    last = pair.query("db1", "SHOW BINARY LOGS")[-1]["Log_name"]
    pair.query("db1", f"PURGE BINARY LOGS TO '{last}'")
    pair.start("db2")
    _follow_again(pair)
    return lambda snapshot: any(m.channels and m.channels[0].io_errno for m in snapshot.members)


def filtered(pair: MysqlCluster) -> Any:
    pair.query("db2", "STOP SLAVE", "SET GLOBAL replicate_do_db='app'", "START SLAVE")
    return lambda snapshot: snapshot.members[1].channels[0].running


def user_missing(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET sql_log_bin=0", "DROP USER 'repl'@'127.0.0.1'")
    return _any


def drifted(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET GLOBAL sync_binlog=0", "SET GLOBAL max_connections=30")
    return _any


def check_user_weak(pair: MysqlCluster) -> Any:
    pair.query("db1", "REVOKE SLAVE MONITOR ON *.* FROM 'st2ha'@'127.0.0.1'")
    time.sleep(0.3)
    return _any


def wrong_password(pair: MysqlCluster) -> Any:
    pair.query("db1", "SET PASSWORD FOR 'st2ha'@'127.0.0.1' = PASSWORD('another')")
    time.sleep(0.3)
    return _any


def primary_unreachable(pair: MysqlCluster) -> Any:
    """Only from here: the stream of its replica lives until slave_net_timeout."""
    pair.cut_off("db1")
    return _any


def same_server_id(pair: MysqlCluster) -> Any:
    word = "SLAVE" if pair.flavor.name == "mariadb" else "REPLICA"
    pair.query("db2", f"STOP {word}", "SET GLOBAL server_id=1", f"START {word}")
    return lambda snapshot: snapshot.members[1].channels[0].io_errno


def foreign_source(pair: MysqlCluster) -> Any:
    """It replicates from a server that nobody has told us of: a port on which nobody listens."""
    pair.query("db2", "STOP SLAVE", "CHANGE MASTER TO MASTER_PORT=9", "START SLAVE")
    return lambda snapshot: snapshot.members[1].channels[0].io_errno


def not_a_database(pair: MysqlCluster) -> Any:
    pair.kill("db2")
    listener = socket.create_server((pair.members[1].host, pair.members[1].port))
    HELD.append(listener)

    def greet() -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                listener.accept()[0].sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    threading.Thread(target=greet, daemon=True).start()
    return _any


def started_writable(pair: MysqlCluster) -> Any:
    """The primary's option file does not say read_only; the lab gives options where others have files."""
    _restart_without(pair, "db1", "--read-only=1", "--super-read-only=1")
    return lambda snapshot: snapshot.members[1].channels[0].io == "Yes"


def binlog_off(pair: MysqlCluster) -> Any:
    _restart_without(pair, "db2", "--log-bin=binlog", "--log-slave-updates")
    _follow_again(pair)
    return lambda snapshot: snapshot.members[1].channels[0].running and snapshot.primary.semi_sync.clients


def by_position(pair: MysqlCluster) -> Any:
    pair.query("db2", "STOP SLAVE", "CHANGE MASTER TO MASTER_USE_GTID=no", "START SLAVE")
    return lambda snapshot: snapshot.members[1].channels[0].running


def not_strict(pair: MysqlCluster) -> Any:
    for member in pair.members:
        pair.query(member.name, "SET GLOBAL gtid_strict_mode=0")
    return _any


def gtid_off(pair: MysqlCluster) -> Any:
    """MySQL only: one step after the other, on each server, as its manual says."""
    pair.query("db2", "STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_AUTO_POSITION=0")
    for mode in ("ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"):
        for member in pair.members:
            pair.query(member.name, f"SET GLOBAL gtid_mode={mode}")
    pair.query("db2", "START REPLICA")
    return lambda snapshot: snapshot.members[1].channels[0].running


def waits_alone(pair: MysqlCluster) -> Any:
    """MariaDB's defaults."""
    for member in pair.members:
        pair.query(
            member.name,
            "SET GLOBAL rpl_semi_sync_master_wait_no_slave=1",
            "SET GLOBAL rpl_semi_sync_master_timeout=10000",
        )
    return _any


def connections_used_up(pair: MysqlCluster) -> Any:
    for member in pair.members:
        pair.query(member.name, "SET GLOBAL max_connections=10")
    HELD.extend(pair.connect("db1", "app") for _ in range(8))
    return _any


def long_transaction(pair: MysqlCluster) -> Any:
    """A little longer than the limit, which is a minute."""
    pair.query("db1", "CREATE TABLE app.t (n INT) ENGINE=InnoDB")
    open_one = pair.connect("db1", "app")
    HELD.append(open_one)
    for statement in ("BEGIN", "INSERT INTO app.t VALUES (1)"):
        open_one.cursor().execute(statement)
    time.sleep(61)
    return lambda snapshot: not snapshot.behind(snapshot.members[1])


def _follow_again(pair: MysqlCluster) -> None:
    first = pair.members[0]
    pair.query("db2", *pair.flavor.change_source(first.host, first.port, pair.logins["repl"].password))


def _restart_without(pair: MysqlCluster, name: str, *options: str) -> None:
    server = pair.servers[name]
    whole = server.command
    server.command = [word for word in whole if word not in options]
    pair.kill(name)
    pair.start(name)
    server.command = whole


def replica_is_older(looks: Looks) -> str:
    looks[0]["answers"]["db2:3306"]["replies"]["greeting"] = "5.5.5-10.6.18-MariaDB-log"
    return "the greeting of db2: only one version is installed"


def disk_full(looks: Looks) -> str:
    for name, used in (("db1:3306", 9), ("db2:3306", 97)):
        disk = {"path": "/", "used": used * 1_000_000, "available": (100 - used) * 1_000_000}
        looks[0]["answers"][name]["replies"]["disks"] = [disk]
    return "the disks of both: filling a real one would fill this machine's"


def certificate_ends(looks: Looks) -> str:
    for name, days in (("db1:3306", 20), ("db2:3306", 22)):
        looks[0]["answers"][name]["replies"]["tls_expires_at"] = looks[0]["at"] + days * 86_400
    return "the end of both certificates: the lab's are good for a month"


def replica_alone(looks: Looks) -> str:
    answers = looks[0]["answers"]
    answers["db1:3306"] = answers.pop("db2:3306")
    answers["db1:3306"]["replies"]["replica"][0]["Master_Host"] = "db9"
    return "only the replica is configured, as db1; its source is db9"


BOTH = (
    healthy, primary_killed, replica_killed, errant, two_writable, io_stopped, semi_sync_off, switchover_interrupted,
    old_primary_back, purged_needed, same_server_id, started_writable,
)  # fmt: skip
MARIADB = (
    *BOTH, primary_hung, primary_cut_off, replica_hung, both_killed, primary_restarted, sql_stopped, stream_hangs,
    filtered, user_missing, drifted, check_user_weak, wrong_password, primary_unreachable, foreign_source,
    not_a_database, binlog_off, by_position, not_strict, waits_alone, connections_used_up, long_transaction,
)  # fmt: skip
MYSQL9 = (*BOTH, gtid_off)
TWO_LOOKS = ("stream_hangs",)
ALTERED = (replica_is_older, disk_full, certificate_ends, replica_alone)
"""Changes of the case mariadb_healthy; each says what it changed and why."""
