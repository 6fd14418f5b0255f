"""A Member from one server's replies, whichever of the two dialects it speaks. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from typing import Any, Optional

from st2ha.config import Host
from st2ha.mysql.dialect import of_server
from st2ha.mysql.facts import Channel, Failover, Member, SemiSync
from st2ha.mysql.gtid import Gtids

Reply = Mapping[str, Any]

READ = (
    "server_id", "read_only", "super_read_only", "log_bin", "log_slave_updates", "log_replica_updates", "gtid_mode",
    "gtid_strict_mode", "datadir",
)  # fmt: skip
COMPARED = (
    "binlog_format", "sync_binlog", "innodb_flush_log_at_trx_commit", "lower_case_table_names", "sql_mode",
    "character_set_server", "collation_server", "max_connections", "max_allowed_packet", "gtid_domain_id",
    "default_storage_engine", "time_zone", "binlog_row_image",
)  # fmt: skip
"""What a replica that becomes primary should have like its primary."""
FILTERS = (
    "Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table", "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table", "Replicate_Do_Domain_Ids", "Replicate_Ignore_Domain_Ids",
    "Replicate_Ignore_Server_Ids", "Replicate_Rewrite_DB",
)  # fmt: skip


def parse_member(host: Host, replies: Reply) -> Member:
    """A Member from replies as gather.read() makes them. ValueError for a greeting that no dialect knows."""
    dialect, why = of_server(replies["greeting"])
    if dialect is None:
        raise ValueError(why)
    variables, mariadb = replies["variables"], dialect.mariadb
    return Member(
        host=host,
        name=str(host),
        dialect=dialect.name,
        version=dialect.version,
        server_id=int(variables.get("server_id", 0)),
        read_only=_on(variables.get("read_only")) or _on(variables.get("super_read_only")),
        binlog=_on(variables.get("log_bin")),
        logs_updates=_on(variables.get("log_replica_updates", variables.get("log_slave_updates"))),
        gtid=mariadb or _on(variables.get("gtid_mode")),
        strict=not mariadb or _on(variables.get("gtid_strict_mode")),
        gtids=_gtids(replies["applied"], mariadb),
        purged=_gtids(replies["purged"], mariadb),
        channels=tuple(_channel(row, mariadb) for row in replies["replica"]),
        semi_sync=_semi_sync(variables, replies["status"]),
        connections=_connections(variables, replies["status"]),
        oldest_transaction_s=next((row["oldest_s"] for row in replies["transactions"]), None),
        disk_used=_disk_used(str(variables.get("datadir", "")), replies.get("disks", ())),
        replicators=_replicators(replies),
        variables={name: str(variables[name]) for name in COMPARED if name in variables},
        failover=next((_failover(row) for row in replies["failover"]), None),
        starts_writable=_starts_writable(replies["origin"], _on(variables.get("read_only"))),
        tls_expires_at=replies.get("tls_expires_at"),
        unread=dict(replies["unread"]),
    )


def channels_of(session: Any) -> tuple[Channel, ...]:
    """A server's channels as they are now, by a client.Session."""
    dialect = session.dialect
    return tuple(_channel(row, dialect.mariadb) for row in session.rows(dialect.replica_status))


def gtids_of(session: Any) -> Gtids:
    """What a server has applied, by a client.Session."""
    return _gtids(str(session.value(session.dialect.applied) or ""), session.dialect.mariadb)


def _replicators(replies: Reply) -> Optional[frozenset[str]]:
    return None if "replication users" in replies["unread"] else frozenset(row["name"] for row in replies["users"])


def _on(value: Any) -> bool:
    return str(value).upper() in ("ON", "1", "YES", "TRUE")


def _gtids(text: str, mariadb: bool) -> Gtids:
    return Gtids.mariadb_position(text) if mariadb else Gtids.mysql_set((text or "").replace("\n", ""))


def _channel(row: Reply, mariadb: bool) -> Channel:
    """A row of SHOW ALL SLAVES STATUS or SHOW REPLICA STATUS; MySQL's words are tried first."""

    def get(name: str, default: Any = None) -> Any:
        old = name.replace("Source", "Master").replace("Replica", "Slave")
        return row.get(name, row.get(old, default))

    gtids = _gtids(row.get("Gtid_IO_Pos" if mariadb else "Retrieved_Gtid_Set") or "", mariadb)
    behind = get("Seconds_Behind_Source")
    return Channel(
        source=f"{str(get('Source_Host')).lower()}:{get('Source_Port')}",
        source_id=int(get("Source_Server_Id", 0) or 0),
        user=str(get("Source_User") or ""),
        io=str(get("Replica_IO_Running")),
        sql=str(get("Replica_SQL_Running")),
        io_error=str(row.get("Last_IO_Error") or ""),
        io_errno=int(row.get("Last_IO_Errno") or 0),
        sql_error=str(row.get("Last_SQL_Error") or ""),
        behind_s=None if behind is None else float(behind),
        gtid=str(row.get("Using_Gtid", "No")) != "No" if mariadb else bool(int(row.get("Auto_Position") or 0)),
        received=gtids,
        drained=_drained(row, get, gtids, mariadb),
        filters=tuple(f"{name}={row[name]}" for name in FILTERS if row.get(name)),
    )


def _drained(row: Reply, get: Any, received: Gtids, mariadb: bool) -> bool:
    if not mariadb:
        return not received.beyond(_gtids(row.get("Executed_Gtid_Set") or "", False))
    same_file = get("Source_Log_File") == get("Relay_Source_Log_File")
    return bool(same_file and get("Read_Source_Log_Pos") == get("Exec_Source_Log_Pos"))


def _semi_sync(variables: Reply, status: Reply) -> SemiSync:
    def get(values: Reply, new: str, old: str) -> Any:
        return values.get(f"rpl_semi_sync_{new}", values.get(f"rpl_semi_sync_{old}"))

    return SemiSync(
        source_enabled=_on(get(variables, "source_enabled", "master_enabled")),
        source_active=_on(get(status, "source_status", "master_status")),
        clients=int(get(status, "source_clients", "master_clients") or 0),
        replica_enabled=_on(get(variables, "replica_enabled", "slave_enabled")),
        replica_active=_on(get(status, "replica_status", "slave_status")),
        timeout_s=float(get(variables, "source_timeout", "master_timeout") or 0) / 1000,
        waits_alone=_on(get(variables, "source_wait_no_replica", "master_wait_no_slave")),
    )


def _connections(variables: Reply, status: Reply) -> Optional[tuple[int, int]]:
    if "threads_connected" not in status or "max_connections" not in variables:
        return None
    return int(status["threads_connected"]), int(variables["max_connections"])


def _disk_used(datadir: str, disks: Any) -> Optional[float]:
    """The share in use of the file system that holds the data; MariaDB's plugin DISKS tells it, MySQL does not."""
    holding = [disk for disk in disks if os.path.join(datadir, "").startswith(os.path.join(str(disk["path"]), ""))]
    if not holding:
        return None
    disk = max(holding, key=lambda each: len(str(each["path"])))
    total = float(disk["used"]) + float(disk["available"])
    return float(disk["used"]) / total if total else None


def _failover(row: Reply) -> Failover:
    return Failover(float(row["at"]), str(row["former"]), str(row["current"]))


def _starts_writable(origin: Any, read_only: bool) -> bool:
    """Nothing in its option files makes it read-only; a value set by SQL hides what the files say."""
    where = str(next((row["origin"] for row in origin), "")).upper()
    from_files = where in ("CONFIG", "GLOBAL", "SERVER", "EXPLICIT", "COMMAND_LINE", "PERSISTED")
    return where in ("COMPILE-TIME", "COMPILED") or (from_files and not read_only)
