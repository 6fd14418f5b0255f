"""What MySQL and MariaDB spell differently: statements as data, keyed by what they are for.

MariaDB 10.2 and newer; MySQL 8.0.23 and newer (where SLAVE became REPLICA and CHANGE MASTER became CHANGE REPLICATION
SOURCE; SHOW MASTER STATUS went in 8.4). Sources: both manuals, tried on 10.11 and 9.7.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Optional

Version = tuple[int, int, int]
OLDEST_MYSQL: Version = (8, 0, 23)
OLDEST_MARIADB: Version = (10, 2, 0)


@dataclass(frozen=True)
class Dialect:
    """The words of one kind of server of one version."""

    name: str
    version: Version
    replica_status: str
    start: str
    stop: str
    start_io: str
    stop_io: str
    reset: str
    position: str
    applied: str
    freeze: tuple[str, ...]

    @property
    def mariadb(self) -> bool:
        return self.name == "mariadb"

    def waiting(self, position: str, seconds: float) -> tuple[str, tuple[Any, ...]]:
        """A query of one value that is 0 when everything up to `position` is applied."""
        if self.mariadb:
            return "SELECT MASTER_GTID_WAIT(%s, %s) AS value", (position, seconds)
        return "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s) AS value", (position, seconds)

    def attaching(self, host: str, port: int, user: str, password: str, tls: bool) -> list[tuple[str, tuple[Any, ...]]]:
        """Statements that make a stopped server a replica of another one, from where it is."""
        if not self.mariadb:
            secure = "SOURCE_SSL=1" if tls else "SOURCE_SSL=0, GET_SOURCE_PUBLIC_KEY=1"
            change = (
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST=%s, SOURCE_PORT=%s, SOURCE_USER=%s, SOURCE_PASSWORD=%s, "
                f"SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, {secure}"
            )
            return [(change, (host, port, user, password))]
        # A former primary's own transactions are in its binary log, not in gtid_slave_pos: they must count.
        demote = ", MASTER_DEMOTE_TO_SLAVE=1" if self.version >= (10, 10, 0) else ""
        before = [] if demote else [("SET GLOBAL gtid_slave_pos=@@gtid_current_pos", ())]
        change = (
            "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, MASTER_PASSWORD=%s, "
            f"MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_SSL={int(tls)}{demote}"
        )
        return [*before, (change, (host, port, user, password))]


def of_server(greeting: str) -> tuple[Optional[Dialect], str]:
    """The dialect of a server by the version in its greeting; else None and why it is not served."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)-MariaDB", greeting) or re.match(r"(\d+)\.(\d+)\.(\d+)", greeting)
    if found is None:
        return None, f"says it is version {greeting[:40]!r}"
    version = (int(found[1]), int(found[2]), int(found[3]))
    if "MariaDB" in greeting:
        return (mariadb(version), "") if version >= OLDEST_MARIADB else (None, f"MariaDB {greeting[:20]} is too old")
    return (
        (mysql(version), "")
        if version >= OLDEST_MYSQL
        else (None, f"MySQL {greeting[:20]} is too old: 8.0.23 is needed")
    )


def mariadb(version: Version) -> Dialect:
    """MariaDB's words."""
    return Dialect(
        name="mariadb",
        version=version,
        replica_status="SHOW ALL SLAVES STATUS",
        start="START SLAVE",
        stop="STOP SLAVE",
        start_io="START SLAVE IO_THREAD",
        stop_io="STOP SLAVE IO_THREAD",
        reset="RESET SLAVE ALL",
        position="SELECT @@GLOBAL.gtid_binlog_pos AS value",
        applied="SELECT CONCAT_WS(',', @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_slave_pos) AS value",
        freeze=("SET GLOBAL read_only=1",),
    )


def mysql(version: Version) -> Dialect:
    """MySQL's words; super_read_only shuts out administrators, too, and turns read_only on with it."""
    return Dialect(
        name="mysql",
        version=version,
        replica_status="SHOW REPLICA STATUS",
        start="START REPLICA",
        stop="STOP REPLICA",
        start_io="START REPLICA IO_THREAD",
        stop_io="STOP REPLICA IO_THREAD",
        reset="RESET REPLICA ALL",
        position="SELECT @@GLOBAL.gtid_executed AS value",
        applied="SELECT @@GLOBAL.gtid_executed AS value",
        freeze=("SET GLOBAL super_read_only=1",),
    )
