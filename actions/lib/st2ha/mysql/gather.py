"""Read a primary and its replicas: each server is asked directly, all at once, and answers for itself."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional

import pymysql

from st2ha.config import Host
from st2ha.errors import BadInput
from st2ha.mysql import client as driver
from st2ha.mysql.client import Row, Session
from st2ha.mysql.dialect import Dialect
from st2ha.mysql.facts import Answer, Denied, Member, Snapshot
from st2ha.mysql.parse import COMPARED, READ, parse_member
from st2ha.mysql.scene import strangers
from st2ha.mysql.settings import Mysql
from st2ha.probe import Attempt, Unanswered, ask_all

Replies = dict[str, Any]
Record = Callable[[Host, Replies], None]
Ask = Callable[[Host, Attempt], Answer]

STATUS = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Rpl_semi_sync_master_status', "
    "'Rpl_semi_sync_master_clients', 'Rpl_semi_sync_slave_status', 'Rpl_semi_sync_source_status', "
    "'Rpl_semi_sync_source_clients', 'Rpl_semi_sync_replica_status')"
)
VARIABLES = (
    f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({', '.join(map(repr, (*READ, *COMPARED)))}) "
    "OR Variable_name LIKE 'rpl_semi_sync_%'"
)
TRANSACTIONS = (
    "SELECT MAX(TIMESTAMPDIFF(SECOND, trx_started, NOW())) AS oldest_s FROM information_schema.INNODB_TRX "
    "WHERE trx_state <> 'LOCK WAIT'"
)
USERS = "SELECT DISTINCT User AS name FROM mysql.user WHERE Repl_slave_priv = 'Y'"
DISKS = "SELECT Path AS path, Used AS used, Available AS available FROM information_schema.DISKS"
ORIGIN = (
    "SELECT GLOBAL_VALUE_ORIGIN AS origin FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME = 'READ_ONLY'",
    "SELECT VARIABLE_SOURCE AS origin FROM performance_schema.variables_info WHERE VARIABLE_NAME = 'read_only'",
)
NO_BINARY_LOGS = 1381
NAMES_S = 1.0


def gather(settings: Mysql, record: Optional[Record] = None) -> Snapshot:
    """All facts within `settings.timeout_s`; at most NAMES_S more where a replica knows its source by another name.

    `record` is given each server's replies (they become test cases).
    """
    addresses: dict[Host, tuple[str, ...]] = {}

    def ask(host: Host, attempt: Attempt) -> Answer:
        return _ask(settings, host, attempt, addresses, record)

    at = time.time()
    answers = ask_all(settings.hosts, ask, settings.timeout_s)
    same_dialect(answers.values())
    snapshot = Snapshot(settings.cluster, answers, at, dict(addresses))
    unknown = {source.rpartition(":")[0] for _, source in strangers(snapshot)}
    if unknown:
        found = ask_all(sorted(unknown), lambda name, _: _ips(name), min(NAMES_S, settings.timeout_s))
        aliases = {name: ips for name, ips in found.items() if isinstance(ips, tuple)}
        snapshot = dataclasses.replace(snapshot, aliases=aliases)
    if not any(snapshot.errant(member) for member in snapshot.members):
        return snapshot
    return _with_source_read_last(settings, snapshot, ask)


def _with_source_read_last(settings: Mysql, snapshot: Snapshot, ask: Ask) -> Snapshot:
    """The same, with the source's GTIDs read after all others'.

    All are read at once, so under load a replica may be read a moment after its source and have what the source had
    not yet: what remains after another look at the source is errant.
    """
    source = snapshot.source
    again = ask_all([source.host], ask, settings.timeout_s)[source.host] if source else None
    if source is None or not isinstance(again, Member):
        return snapshot
    answers = {**snapshot.answers, source.host: dataclasses.replace(source, gtids=again.gtids)}
    return dataclasses.replace(snapshot, answers=answers)


def same_dialect(answers: Iterable[Any]) -> None:
    """BadInput if the members among the answers are of both kinds."""
    dialects = {answer.dialect: answer.name for answer in answers if isinstance(answer, Member)}
    if len(dialects) > 1:
        raise BadInput(
            f"mysql.hosts mixes MariaDB ({dialects['mariadb']}) and MySQL ({dialects['mysql']}): they cannot replicate "
            "by GTID, give each its own deployment"
        )


def _ask(
    settings: Mysql, host: Host, attempt: Attempt, addresses: dict[Host, tuple[str, ...]], record: Optional[Record]
) -> Answer:
    try:
        addresses[host] = _ips(host.name)  # also of one that is dead: its replicas may know it by its IP
        session = driver.open_session(settings, host, attempt, together=True)
        replies = read(session, settings.canary_database)
    except driver.Refused as error:
        return Denied(host, str(host), str(error))
    except driver.DriverError as error:
        raise Unanswered(driver.silence(error), driver.words(error)) from None
    if record is not None:
        record(host, replies)
    return parse_member(host, replies)


def questions(dialect: Dialect, canary_database: str) -> dict[str, str]:
    """What a server is asked, by the name under which `unread` says that it may not be read."""
    asked = {
        "variables": VARIABLES,
        "status": STATUS,
        "gtids": dialect.applied,
        "replication status": dialect.replica_status,
        "transactions": TRANSACTIONS,
        "replication users": USERS,
        "variables' origin": ORIGIN[not dialect.mariadb],
        "failovers": f"SELECT at, former, current FROM `{canary_database}`.failovers ORDER BY at DESC LIMIT 1",
    }
    if dialect.mariadb:
        return {**asked, "disks": DISKS, "binary logs": "SHOW BINARY LOGS"}
    return {**asked, "purged": "SELECT @@GLOBAL.gtid_purged AS value"}


def read(session: Session, canary_database: str) -> Replies:
    """A server's replies as plain JSON; what we may not read is named under `unread`."""
    found, unread = _ask_together(session, questions(session.dialect, canary_database))
    logs = found.get("binary logs", ())
    if logs:  # what came before the oldest one cannot be sent any more
        last = {"purged": f"SELECT BINLOG_GTID_POS({session.connection.escape(logs[0]['Log_name'])}, 4) AS value"}
        found.update(_ask_together(session, last)[0])

    def named(what: str) -> dict[str, Any]:
        return {row["Variable_name"].lower(): row["Value"] for row in found[what]}

    def value(what: str) -> str:
        rows = found.get(what) or [{"value": ""}]
        return str(rows[0]["value"] or "")

    return {
        "greeting": session.greeting,
        "variables": named("variables"),
        "status": named("status"),
        "applied": value("gtids"),
        "replica": found["replication status"],
        "transactions": found["transactions"],
        "users": found["replication users"],
        "origin": found["variables' origin"],
        "failover": found["failovers"],
        "disks": found.get("disks", []),
        "purged": value("purged"),
        "unread": unread,
        "tls_expires_at": session.tls_expires_at,
    }


def _ask_together(session: Session, asked: Mapping[str, str]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The rows of each question, and why those are empty that we may not ask.

    All go out at once, because a round trip costs more than most of the answers. An error ends what was sent: the rest
    is asked again.
    """
    found: dict[str, list[Row]] = {what: [] for what in asked}
    unread: dict[str, str] = {}
    left = list(asked)
    while left:
        answers = session.each([asked[what] for what in left])
        try:
            while left:
                rows = next(answers)
                found[left.pop(0)] = [{key: _plain(value) for key, value in row.items()} for row in rows]
        except pymysql.MySQLError as error:
            if driver.code_of(error) in driver.NO_PRIVILEGE:
                unread[left.pop(0)] = driver.words(error)
            elif driver.code_of(error) in (*driver.NO_SUCH, NO_BINARY_LOGS):
                del left[0]
            else:
                raise
    return found, unread


def _ips(name: str) -> tuple[str, ...]:
    """The IPs of a host, none if its name is not known here."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _plain(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.timedelta)):
        return str(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
