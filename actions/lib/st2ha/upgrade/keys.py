"""After a rollback: datastore keys that changed on the new side, back in the old side's database.

A sensor keeps its position in the datastore. Without the new side's position the old side's sensor would begin again
where it had stopped, and events would be handled by both sides. Both databases' change streams tell which keys changed
since; one that the old side has changed itself stays as it is there, and is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from bson.timestamp import Timestamp
from pymongo.errors import DuplicateKeyError

from st2ha.mongodb import client as driver

KEYS = "key_value_pair_d_b"
AWAIT_MS = 50
Ids = dict[bytes, Any]


@dataclass(frozen=True)
class Returned:
    """How many keys were brought back; `left`: names of those that the old side had changed as well."""

    number: int
    left: tuple[str, ...]


def bring_back(
    client: driver.Client, new: str, old: str, since: tuple[Timestamp, Timestamp], mark: Timestamp
) -> Returned:
    """`since`: from when on changes of the new side count, and those of the old one. Repeated, it does what is left.

    `mark`: a time that a majority has, until which changes count. OperationFailure where the oplog is too short.
    """
    mine, theirs = changed_since(client, new, since[0], mark), changed_since(client, old, since[1], mark)
    wanted = _documents(client, new, mine)
    there = _documents(client, old, mine)
    todo = [key for key in mine if wanted.get(key) != there.get(key)]
    left = [key for key in todo if key in theirs]
    target = client.get_database(old, codec_options=DEFAULT_RAW_BSON_OPTIONS, write_concern=driver.majority())[KEYS]
    number = 0
    for key in sorted((each for each in todo if each not in theirs), key=lambda each: each in wanted):
        if key not in wanted:  # deletions come first: a key may have been made anew
            target.delete_one({"_id": mine[key]})
        else:
            try:
                target.replace_one({"_id": mine[key]}, bson.raw_bson.RawBSONDocument(wanted[key]), upsert=True)
            except DuplicateKeyError:
                left.append(key)
                continue
        number += 1
    return Returned(number, tuple(_name(wanted.get(key) or there.get(key) or b"", mine[key]) for key in left))


def changed_since(client: driver.Client, database: str, at: Timestamp, mark: Timestamp) -> Ids:
    """The _id of each key that changed from `at` to `mark`."""
    found: Ids = {}
    fields = {"operationType": 1, "documentKey": 1, "clusterTime": 1}
    pipeline: list[dict[str, Any]] = [{"$project": fields}]
    with client[database][KEYS].watch(pipeline, start_at_operation_time=at, max_await_time_ms=AWAIT_MS) as stream:
        while True:
            event = stream.try_next()
            if event is None or event["clusterTime"] > mark:
                return found
            key = event.get("documentKey", {}).get("_id")
            if key is not None:
                found[bson.encode({"": key})] = key


def _documents(client: driver.Client, database: str, ids: Ids) -> dict[bytes, bytes]:
    raw: Any = client.get_database(database, codec_options=DEFAULT_RAW_BSON_OPTIONS)
    cursor = raw[KEYS].find({"_id": {"$in": list(ids.values())}})
    return {bson.encode({"": document["_id"]}): document.raw for document in cursor}


def _name(document: bytes, number: Any) -> str:
    return str(bson.decode(document).get("name", number)) if document else str(number)
