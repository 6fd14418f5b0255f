"""A write that must come back: from the primary itself and from its replicas."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pymysql

from st2ha.errors import StepFailed
from st2ha.mysql import client as driver
from st2ha.mysql.client import Session

ARRIVE_S = 10.0


def write_canary(primary: Session, replicas: Mapping[str, Session], database: str) -> str:
    """Write a row, wait for it at each replica, compare the table's checksums; a note. StepFailed if it is lost."""
    began, stamp = time.monotonic(), time.time_ns()
    _replace(primary, database, stamp)
    if primary.value(f"SELECT stamp FROM `{database}`.canary WHERE id = 1") != stamp:
        raise StepFailed(f"the write to {database}.canary was acknowledged and is not there")
    written_ms = (time.monotonic() - began) * 1000
    position = str(primary.value(primary.dialect.position) or "").replace("\n", "")
    mine = _checksum(primary, database)
    for name, replica in replicas.items():
        if replica.value(*replica.dialect.waiting(position, ARRIVE_S)) != 0:
            raise StepFailed(f"the write did not arrive at {name} within {ARRIVE_S:g} s")
        theirs = _checksum(replica, database)
        if theirs != mine:
            raise StepFailed(f"{database}.canary differs at {name}: checksum {theirs} against {mine}")
    arrived = f", at {', '.join(replicas)} after {(time.monotonic() - began) * 1000:.0f} ms, same checksum"
    return f"written in {written_ms:.0f} ms" + (arrived if replicas else "")


def _replace(primary: Session, database: str, stamp: int) -> None:
    statement = f"REPLACE INTO `{database}`.canary (id, stamp) VALUES (1, %s)"
    try:
        primary.rows(statement, (stamp,))
    except pymysql.MySQLError as error:
        if driver.code_of(error) not in driver.NO_SUCH:
            raise
        primary.run(
            f"CREATE DATABASE IF NOT EXISTS `{database}`",
            f"CREATE TABLE IF NOT EXISTS `{database}`.canary (id INT PRIMARY KEY, stamp BIGINT NOT NULL) ENGINE=InnoDB",
        )
        primary.rows(statement, (stamp,))


def _checksum(session: Session, database: str) -> int:
    rows = session.rows(f"CHECKSUM TABLE `{database}`.canary")
    return int(rows[0]["Checksum"] or 0)
