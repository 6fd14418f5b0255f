"""Read one replica set: each member is asked directly, all at once, and answers for itself."""

from __future__ import annotations

import datetime
import time
from typing import Any, Callable, Optional, Union

from pymongo.errors import OperationFailure, PyMongoError

from st2ha.config import Host, Mongodb
from st2ha.errors import BadInput
from st2ha.mongodb import client as driver
from st2ha.mongodb.facts import Answer, Denied, Member, Outsider, Snapshot, is_writable, parse_member
from st2ha.probe import Attempt, Silence, Silent, Unanswered, ask_all
from st2ha.reach import reach

SERVER_STATUS_WITHOUT = (
    "wiredTiger", "tcmalloc", "metrics", "locks", "transactions", "mirroredReads", "indexStats", "network",
    "readConcernCounters", "electionMetrics", "opLatencies", "logicalSessionRecordCache",
)  # fmt: skip
"""Sections nobody reads: without them the reply is 4 kB instead of 60."""

Replies = dict[str, Any]


def gather(settings: Mongodb, record: Optional[Callable[[Host, Replies], None]] = None) -> Snapshot:
    """All facts of the set, within `settings.timeout_s`. BadInput if every member says it belongs to another set.

    `record` is given each member's raw replies (tests/record.py keeps them as test cases).
    """
    key = driver.ScramKey()

    def ask(host: Host, attempt: Attempt) -> Union[Answer, Silent]:
        return _ask(settings, host, attempt, key, record)

    at = time.time()
    answers = ask_all(settings.hosts, ask, settings.timeout_s)
    _same_set(settings, answers.values())
    return Snapshot(settings.replica_set, answers, at)


def _same_set(settings: Mongodb, answers: Any) -> None:
    others = {answer.set_name for answer in answers if isinstance(answer, Outsider) and answer.set_name}
    if others and not any(isinstance(answer, (Member, Denied)) for answer in answers):
        raise BadInput(
            f"mongodb.replica_set is {settings.replica_set!r}, the servers belong to {', '.join(sorted(others))!r}: "
            "correct the name, or the hosts"
        )


def _ask(
    settings: Mongodb,
    host: Host,
    attempt: Attempt,
    key: driver.ScramKey,
    record: Optional[Callable[[Host, Replies], None]],
) -> Answer:
    expires_at = reach(host, settings.tls, attempt)
    client = driver.member_client(settings, host, attempt.left_s(), serverMonitoringMode="poll")
    attempt.afterwards(client.close)
    try:
        with key.shared_with(client):
            server, offset_s = _server_status(client)
        replies = {"hello": server.get("repl", {}), "server": server, **_replica_set_replies(client)}
    except OperationFailure as error:
        return _refusal(settings, host, attempt, error)
    except PyMongoError as error:
        raise Unanswered(_silence(error), driver.words(error)) from None
    if record is not None:
        record(host, replies)
    if replies["hello"].get("setName") != settings.replica_set:
        return Outsider(host, replies["hello"].get("setName"), f"it is in the set {replies['hello'].get('setName')!r}")
    return parse_member(host, replies, offset_s, expires_at)


def _server_status(client: driver.Client) -> tuple[Replies, float]:
    """serverStatus, and its clock minus ours (taken at the middle of the call, so wrong by half of it at the most)."""
    client.admin.command("ping")  # connects and signs in, so that the clocks are compared on a warm connection
    sent_at = time.time()
    reply = client.admin.command({"serverStatus": 1, "repl": 1, "oplog": 1, **dict.fromkeys(SERVER_STATUS_WITHOUT, 0)})
    middle = (sent_at + time.time()) / 2
    return reply, reply["localTime"].replace(tzinfo=datetime.timezone.utc).timestamp() - middle


def _replica_set_replies(client: driver.Client) -> Replies:
    command = client.admin.command
    return {
        "status": command("replSetGetStatus"),
        "config": command("replSetGetConfig"),
        "disk": command("dbStats", freeStorage=0),
    }


def _refusal(settings: Mongodb, host: Host, attempt: Attempt, error: OperationFailure) -> Answer:
    """What an error of the server tells: no member at all, an arbiter (which knows no users), or no entry for us."""
    if error.code in (driver.NO_REPLICATION, driver.NOT_INITIATED):
        return Outsider(host, None, "it is not part of a replica set")
    if error.code == driver.NOT_IN_CONFIG:
        return Outsider(host, None, "it was removed from the set: its configuration does not list it")
    if error.code not in (driver.AUTHENTICATION_FAILED, driver.UNAUTHORIZED):
        raise Unanswered(Silence.BROKEN, driver.words(error))
    hello = _hello_without_login(settings, host, attempt)
    if hello.get("arbiterOnly"):
        return parse_member(host, {"hello": hello})
    return Denied(host, str(hello.get("me", host)).lower(), is_writable(hello), driver.words(error))


def _hello_without_login(settings: Mongodb, host: Host, attempt: Attempt) -> Replies:
    client = driver.member_client(settings, host, attempt.left_s(), login=False)
    attempt.afterwards(client.close)
    try:
        return dict(client.admin.command("hello"))
    except PyMongoError as error:
        raise Unanswered(_silence(error), driver.words(error)) from None


def _silence(error: PyMongoError) -> Silence:
    """It accepted our first connection, so a time-out now is a hang; anything else it did is broken."""
    text = str(error).lower()
    if "timed out" in text or "timeout" in text:
        return Silence.HUNG
    if "refused" in text or "closed" in text or "reset" in text:
        return Silence.REFUSED
    return Silence.BROKEN
