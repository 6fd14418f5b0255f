"""Read both databases and the ledger through the set's primary, and the members' disks from each of them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Callable, Optional, TypeVar

from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from st2ha.config import Mongodb
from st2ha.errors import HaError, NoPrimary
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.facts import LEDGER, Part, Record, Reply, World, missing_rights, parse_part, parse_record
from st2ha.mongodb.gather import gather as gather_set

COPIES, PARTS = "copies", "copied_parts"
PATIENT_S = 15.0  # a copy is worth waiting for a busy member
NOT_FOUND = 26
AT_ONCE = 8
"""Commands under way at the same time: each waits for the server more than it makes it work."""
Item = TypeVar("Item")
R = TypeVar("R")


def gather(settings: Mongodb, client: driver.Client, source: str, target: str) -> World:
    """All facts of a copy. HaError if the set has no primary; PyMongoError for what the driver meets."""
    snapshot = gather_set(replace(settings, timeout_s=max(settings.timeout_s, PATIENT_S)))
    primary = snapshot.primary
    if primary is None:
        raise NoPrimary(f"{settings.replica_set} has no primary that answers: run mongodb_check")
    lacking = missing_rights(_privileges(client), source, target)
    return World(
        source=source,
        target=target,
        source_parts={} if lacking else read_parts(client, source),
        target_parts={} if lacking else read_parts(client, target),
        record=None if lacking else read_record(client, source, target),
        free_bytes={member.name: member.disk_free_bytes for member in snapshot.members if member.optime},
        missing_rights=lacking,
        oplog_window_s=primary.oplog_window_s if primary.oplog_wrapped else None,
        version=primary.version or "",
    )


def read_parts(client: driver.Client, name: str, only: Optional[str] = None, sizes: bool = True) -> dict[str, Part]:
    """The collections and views of a database by name, without the server's own; all, or one."""
    rows = [
        row
        for row in client[name].list_collections(filter={"name": only} if only else {})
        if not str(row["name"]).startswith(("system.", "tmp.agg_out."))
    ]
    parts = in_parallel(lambda row: _read_part(client[name], row, sizes), rows)
    return {part.name: part for part in parts if part is not None}


def both_parts(client: driver.Client, one: str, other: str) -> tuple[dict[str, Part], dict[str, Part]]:
    """Those of two databases, without sizes."""
    first, second = in_parallel(lambda name: read_parts(client, name, sizes=False), (one, other))
    return first, second


def in_parallel(work: Callable[[Item], R], items: Iterable[Item], at_once: int = AT_ONCE) -> list[R]:
    """The results in the order of the items. After a failure no further one is begun."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, items))


def _read_part(database: Any, row: Reply, sizes: bool) -> Optional[Part]:
    """None for a collection that was dropped since it was listed."""
    if row.get("type", "collection") != "collection":
        return parse_part(row, [], None)
    try:
        indexes = database.command("listIndexes", row["name"], cursor={"batchSize": 1000})["cursor"]["firstBatch"]
        stats: list[dict[str, Any]] = [{"$collStats": {"storageStats": {}}}]
        size: Any = next(iter(database[row["name"]].aggregate(stats)), {}) if sizes else {}
    except OperationFailure as error:
        if error.code == NOT_FOUND:
            return None
        raise
    return parse_part(row, indexes, size.get("storageStats", {}))


def read_record(client: driver.Client, source: str, target: str) -> Optional[Record]:
    """What the ledger says of this copy, read with majority."""
    ledger = client.get_database(LEDGER, read_concern=ReadConcern("majority"))
    head = ledger[COPIES].find_one({"target": target})
    if head is not None and head["source"] != source:
        raise HaError(f"{target} is a copy of {head['source']} by our ledger, not of {source}: name another target")
    return parse_record(head, list(ledger[PARTS].find({"target": target})))


def _privileges(client: driver.Client) -> Optional[list[Any]]:
    """None where the set asks nobody for a login."""
    told = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    return list(told["authenticatedUserPrivileges"]) if told["authenticatedUsers"] else None
