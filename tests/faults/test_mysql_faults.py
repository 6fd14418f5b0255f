"""What breaks on a real pair is found, named and told within the timeout, and nothing else is."""

from __future__ import annotations

import time

import pytest

from lab.mysql import MysqlCluster
from lab.network import Network
from lab.wait import wait_for
from tests.real_mysql import found

needs_root = pytest.mark.skipif(Network.limitation() is not None, reason=str(Network.limitation()))
DOWN, HUNG = "warning MemberDown", "MemberHung"
Wanted = set[tuple[str, str]]


def comes(pair: MysqlCluster, wanted: Wanted, deadline_s: float = 15) -> float:
    """Wait until exactly this is found; the seconds."""
    last: list[Wanted] = [set()]
    began = time.monotonic()

    def same() -> bool:
        last[0] = found(pair)
        return last[0] == wanted

    try:
        wait_for(same, deadline_s, "the findings")
    except TimeoutError:
        assert last[0] == wanted
    return time.monotonic() - began


def test_a_killed_primary(mysql: MysqlCluster) -> None:
    mysql.kill("db1")
    assert comes(mysql, {("critical NoPrimary", "main"), (DOWN, "db1")}) < 2


def test_a_killed_replica(mysql: MysqlCluster) -> None:
    mysql.kill("db2")
    assert (DOWN, "db2") in found(mysql)
    mysql.query("db1", "CREATE TABLE app.t (n INT)")  # waits for the dead replica's acknowledgement, then goes on
    comes(mysql, {(DOWN, "db2"), ("warning SemiSyncDegraded", "db1")})


def test_a_hung_primary_and_a_hung_replica(mysql: MysqlCluster) -> None:
    mysql.hang("db1")
    assert found(mysql) == {(f"critical {HUNG}", "db1")}
    mysql.resume("db1")
    assert found(mysql) == set()
    mysql.hang("db2")
    assert found(mysql) == {(f"warning {HUNG}", "db2")}


@needs_root
def test_a_primary_that_only_we_cannot_reach(mysql: MysqlCluster) -> None:
    """Its replica's stream lives for slave_net_timeout, so it is not yet known to be lost."""
    mysql.cut_off("db1")
    assert found(mysql) == {("critical MemberUnreachableFromHere", "db1")}


def test_errant_transactions(mysql: MysqlCluster) -> None:
    mysql.errant("db2", 3)
    assert found(mysql) == {("warning ErrantTransactions", "db2")}


def test_semi_sync_turned_off(mysql: MysqlCluster) -> None:
    mysql.query("db1", "SET GLOBAL rpl_semi_sync_master_enabled=0")
    expected = {("warning SemiSyncDegraded", "db1"), ("warning ConfigDrift", "db2")}
    state = found(mysql)
    mysql.query("db1", "SET GLOBAL rpl_semi_sync_master_enabled=1")
    assert state == expected


def test_two_writable_servers(mysql: MysqlCluster) -> None:
    mysql.query("db2", "SET GLOBAL read_only=0")
    state = found(mysql)
    mysql.query("db2", "SET GLOBAL read_only=1")
    assert state == {("critical TwoWritable", "main"), ("warning ReplicaWritable", "db2")}
