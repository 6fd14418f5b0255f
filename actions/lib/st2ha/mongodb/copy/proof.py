"""Whether a copy equals its source: by the server's own hashes, collection by collection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Optional

from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.facts import Part
from st2ha.mongodb.copy.gather import both_parts, in_parallel

PRIMES = (2147483647, 2147483629)
NO_SUCH_OPERATOR, SNAPSHOT_UNAVAILABLE = 168, 246


@dataclass(frozen=True)
class Proof:
    """`different`: a line for each collection that is not the same on both sides."""

    how: str
    collections: int
    different: tuple[str, ...]


@dataclass(frozen=True)
class Settled:
    """The cluster time at which the copy equals the source, and how many documents it took to get there."""

    at: Timestamp
    changed: int


def differences(
    client: driver.Client,
    source: str,
    target: str,
    how: str,
    settle: Callable[[], Settled],
    without: frozenset[str] = frozenset(),
) -> Proof:
    """`settle` brings the copy up to date.

    `how`: dbhash, snapshot, or auto: dbHash where the source is quiet, because it stops all writes while it computes.
    """
    settle()
    settled = settle()
    if how == "dbhash" or (how == "auto" and not settled.changed):
        return _by_dbhash(client, source, target, without)
    return _by_snapshot(client, source, target, settled.at, without)


def structure_differences(mine: Mapping[str, Part], theirs: Mapping[str, Part]) -> list[str]:
    """Names, kinds, options and indexes. Pure."""
    found = [f"{name} is missing" for name in sorted(set(mine) - set(theirs))]
    found += [f"{name} is too much" for name in sorted(set(theirs) - set(mine))]
    for name in sorted(set(mine) & set(theirs)):
        one, other = mine[name], theirs[name]
        if one.kind != other.kind or one.options != other.options:
            found.append(f"{name} has other options")
        if {key: dict(value) for key, value in one.indexes.items()} != {k: dict(v) for k, v in other.indexes.items()}:
            found.append(f"{name} has other indexes")
    return found


def _by_dbhash(client: driver.Client, source: str, target: str, without: frozenset[str]) -> Proof:
    hashes = in_parallel(lambda name: dict(client[name].command("dbHash")["collections"]), (source, target))
    names = sorted((set(hashes[0]) | set(hashes[1])) - without)
    names = [name for name in names if not name.startswith(("system.", "tmp."))]
    found = [f"{name}: other documents" for name in names if hashes[0].get(name) != hashes[1].get(name)]
    return Proof("dbHash", len(names), tuple(structure_differences(*both_parts(client, source, target)) + found))


def _by_snapshot(client: driver.Client, source: str, target: str, at: Timestamp, without: frozenset[str]) -> Proof:
    """Sums of the documents' hashes: the source's at the time that the copy has, the copy's now."""
    mine, theirs = both_parts(client, source, target)
    names = sorted(name for name, part in mine.items() if part.kind == "collection" and name not in without)
    sides = [(database, name, time) for name in names for database, time in ((source, at), (target, None))]
    prints = in_parallel(lambda side: fingerprint(client, *side), sides)
    found = [f"{name}: other documents" for name, one, other in zip(names, prints[::2], prints[1::2]) if one != other]
    return Proof(
        "the sums of hashes at one cluster time", len(names), tuple(structure_differences(mine, theirs) + found)
    )


def fingerprint(client: driver.Client, database: str, name: str, at: Optional[Timestamp]) -> dict[str, Any]:
    """Number, bytes and two sums of 31-bit residues of each document's 64-bit hash; all computed on the server.

    `$toHashedIndexKey` is what a hashed index stores. A server that has not got it is asked for numbers and bytes.
    """
    group: dict[str, Any] = {"_id": None, "n": {"$sum": 1}, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}
    hashed = {"$toHashedIndexKey": "$$ROOT"}
    sums = {f"h{prime}": {"$sum": {"$mod": [hashed, prime]}} for prime in PRIMES}
    concern: dict[str, Any] = {"level": "majority"}
    if at is not None:
        concern = {"level": "snapshot", "atClusterTime": at}
    try:
        return _aggregated(client, database, name, {**group, **sums}, concern)
    except OperationFailure as error:
        if error.code == SNAPSHOT_UNAVAILABLE and at is not None:  # a capped collection has no past
            return fingerprint(client, database, name, None)
        if error.code != NO_SUCH_OPERATOR:
            raise
        return _aggregated(client, database, name, group, concern)


def _aggregated(
    client: driver.Client, database: str, name: str, group: dict[str, Any], concern: dict[str, Any]
) -> dict[str, Any]:
    reply = client[database].command(
        "aggregate", name, pipeline=[{"$group": group}], cursor={}, readConcern=concern, allowDiskUse=True
    )
    return next(iter(reply["cursor"]["firstBatch"]), {})
