"""What was written to a database since its copy: read from its change stream, applied to the copy.

The stream tells only *which* documents changed. Each round reads those documents as they were at one cluster time, the
one of the round's last event, and makes the copy the same: so after each round the copy is the source at that time, a
round that is repeated does no harm, and one that is killed leaves nothing that the next would not mend.

While the copy is made a thread listens: `$out` writes all it copies to the oplog, which may not hold that much.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import bson
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import DeleteOne, ReplaceOne
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from st2ha.errors import StepFailed
from st2ha.mongodb import client as driver

MOST_EVENTS, MOST_HEARD = 2000, 100_000
LISTEN_S, LISTEN_PAUSE_S = 0.1, 0.4
AT_ONCE = 500
AWAIT_MS = 50
DUPLICATE = 11000
SNAPSHOT_ERRORS = (239, 246)  # SnapshotTooOld, SnapshotUnavailable (capped, or its catalogue changed since)
WANTED = {"operationType": 1, "documentKey": 1, "ns": 1, "clusterTime": 1, "to": 1}
DOCUMENT_CHANGES = ("insert", "update", "replace", "delete")
HISTORY_LOST = (286, 280, 136)

Ids = dict[bytes, Any]
"""Changed documents' _id, by its BSON."""


class Follower:
    """One database's changes. `structure(name)` is called for a collection that the copy has not got yet."""

    def __init__(
        self,
        client: driver.Client,
        source: str,
        target: str,
        start: Timestamp,
        token: Any,
        structure: Callable[[str], None],
        without: frozenset[str] = frozenset(),
    ) -> None:
        self.client, self.source, self.target = client, source, target
        self.applied, self.without = 0, without
        self.unequal: list[str] = []
        self.at = start
        self.known = set(client[target].list_collection_names())
        self._structure = structure
        self._left: dict[str, Ids] = {}  # heard while listening, or another document still holds its unique value
        self._unread: Any = None
        self._broken: Optional[PyMongoError] = None
        self._listener: Optional[threading.Thread] = None
        self._ending = threading.Event()
        where = {"resume_after": token} if token else {"start_at_operation_time": start}
        pipeline: list[dict[str, Any]] = [{"$project": WANTED}]
        try:
            self._stream = client[source].watch(pipeline, batch_size=MOST_EVENTS, max_await_time_ms=AWAIT_MS, **where)
        except OperationFailure as error:
            raise self._lost(error) from None

    def close(self) -> None:
        with contextlib.suppress(PyMongoError):
            self._hear_out()
        self._stream.close()

    def listen(self) -> None:
        """Note what changes, in a thread, until the next round; MOST_HEARD documents at most, whose _ids are 25 MB."""
        self._ending.clear()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """In bursts: a stream that is asked all the time is answered event by event."""
        try:
            while not self._ending.is_set() and self._unread is None:
                if self._hear() < MOST_EVENTS:
                    self._ending.wait(LISTEN_PAUSE_S)
        except PyMongoError as error:
            self._broken = error

    def _hear(self) -> int:
        """Note what has come; the number of events."""
        heard, end = 0, time.monotonic() + LISTEN_S
        while time.monotonic() < end and sum(map(len, self._left.values())) < MOST_HEARD:
            event = self._stream.try_next()
            if event is not None and event["operationType"] not in DOCUMENT_CHANGES:
                self._unread = event
            if event is None or self._unread is not None:
                break
            self._note(event, self._left)
            heard += 1
        return heard

    def _hear_out(self) -> None:
        """End the listening; what was heard is applied by the next round."""
        if self._listener is None:
            return
        self._ending.set()
        self._listener.join()
        self._listener = None
        if self._broken is not None:
            raise self._broken
        self.known = set(self.client[self.target].list_collection_names())

    def _next(self) -> Any:
        """The next event, None if there is none for now."""
        event, self._unread = self._unread, None
        return self._stream.try_next() if event is None else event

    @property
    def token(self) -> Any:
        """Where to go on from; valid after a round."""
        return self._stream.resume_token

    def round(self, mark: Timestamp) -> bool:
        """Apply what is there to read up to `mark`; whether all that was written until then is applied.

        `mark` must be a time that a majority has: then an empty answer means that nothing is left before it.
        """
        changed: dict[str, Ids] = {}
        complete = False
        for _ in range(MOST_EVENTS):
            try:
                self._hear_out()
                event = self._next()
            except OperationFailure as error:
                raise self._lost(error) from None
            complete = event is None or event["clusterTime"] > mark
            if event is not None:
                self._note(event, changed)
            if complete:
                self.at = max(self.at, mark)
                break
        for name, ids in self._left.items():
            changed.setdefault(name, {}).update(ids)
        self._left = {}
        for name, ids in changed.items():
            self._apply(name, ids)
        return complete and not self._left

    def until(self, mark: Timestamp, deadline_s: float) -> float:
        """Rounds until all that was written up to `mark` is applied; the seconds it took. StepFailed if late."""
        began = time.monotonic()
        while not self.round(mark):
            if time.monotonic() - began > deadline_s:
                left = sum(map(len, self._left.values()))
                raise StepFailed(f"not caught up after {deadline_s:g} s ({left} documents could not be written)")
        return time.monotonic() - began

    def _note(self, event: Any, changed: dict[str, Ids]) -> None:
        self.at = max(self.at, event["clusterTime"])
        if self._is_structure(event, changed):
            return
        if event["ns"]["coll"] in self.without:
            return
        key = event["documentKey"]["_id"]
        changed.setdefault(event["ns"]["coll"], {})[bson.encode({"": key})] = key

    def _is_structure(self, event: Any, changed: dict[str, Ids]) -> bool:
        kind = event["operationType"]
        if kind in DOCUMENT_CHANGES:
            return False
        if kind == "drop":
            name = event["ns"]["coll"]
            self.client[self.target].drop_collection(name)
            self.known.discard(name)
            changed.pop(name, None)
            self._left.pop(name, None)
            return True
        if kind in ("rename", "dropDatabase", "invalidate"):
            raise StepFailed(
                f"{self.source} had a {kind} meanwhile, which a copy cannot follow: delete the copy, copy again"
            )
        return True

    def _apply(self, name: str, ids: Ids) -> None:
        if name not in self.known:
            self._structure(name)
            self.known.add(name)
        everything = list(ids.items())
        for first in range(0, len(everything), AT_ONCE):
            some = dict(everything[first : first + AT_ONCE])
            documents = self.documents(self.source, name, some, self.at)
            self._write(name, some, documents)
            self._compare(name, some, documents)
        self.applied += len(ids)

    def _compare(self, name: str, ids: Ids, documents: dict[bytes, RawBSONDocument]) -> None:
        """Byte for byte; what could not be written yet is compared when it is."""
        left = self._left.get(name, {})
        copied = self.documents(self.target, name, ids, None)
        for key in ids:
            mine, other = documents.get(key), copied.get(key)
            if key not in left and (mine and mine.raw) != (other and other.raw):
                self.unequal.append(f"{name} {ids[key]}")

    def _write(self, name: str, ids: Ids, documents: dict[bytes, RawBSONDocument]) -> None:
        collection = self.client[self.target].get_collection(name, write_concern=driver.majority())
        gone: list[Any] = [DeleteOne({"_id": ids[key]}) for key in ids if key not in documents]
        there: list[Any] = [ReplaceOne({"_id": ids[key]}, document, upsert=True) for key, document in documents.items()]
        if gone:
            collection.bulk_write(gone, ordered=False)
        if not there:
            return
        try:
            collection.bulk_write(there, ordered=False, bypass_document_validation=True)
        except BulkWriteError as error:
            self._write_again(collection, name, error, list(documents.items()), ids)

    def _write_again(self, collection: Any, name: str, error: BulkWriteError, documents: list[Any], ids: Ids) -> None:
        """Two documents that exchanged a unique value stand in each other's way: remove them, then insert them."""
        failed = {each["index"] for each in error.details["writeErrors"] if each["code"] == DUPLICATE}
        if len(failed) < len(error.details["writeErrors"]) or error.details.get("writeConcernErrors"):
            raise error
        again = [documents[index] for index in sorted(failed)]
        collection.bulk_write([DeleteOne({"_id": ids[key]}) for key, _ in again], ordered=False)
        try:
            collection.insert_many([document for _, document in again], ordered=False, bypass_document_validation=True)
        except BulkWriteError as late:
            stuck = [again[each["index"]][0] for each in late.details["writeErrors"]]
            self._left.setdefault(name, {}).update({key: ids[key] for key in stuck})

    def documents(self, database: str, name: str, ids: Ids, at: Optional[Timestamp]) -> dict[bytes, RawBSONDocument]:
        """The documents that are there, as they were at a cluster time; without one as a majority has them now."""
        concern: dict[str, Any] = {"level": "majority"}
        if at is not None:
            concern = {"level": "snapshot", "atClusterTime": at}
        wanted = {"_id": {"$in": list(ids.values())}}
        try:
            cursor = found(self.client, database, name, wanted, concern, AT_ONCE)
            return {bson.encode({"": document["_id"]}): document for document in cursor}
        except OperationFailure as error:
            if at is None or error.code not in SNAPSHOT_ERRORS:
                raise
            return self.documents(database, name, ids, None)

    def _lost(self, error: OperationFailure) -> Exception:
        if error.code in HISTORY_LOST:
            return StepFailed(
                "the oplog no longer holds the time of the copy: delete the copy, enlarge the oplog, copy again"
            )
        return error


def found(
    client: driver.Client, database: str, name: str, wanted: dict[str, Any], concern: dict[str, Any], batch: int
) -> Iterator[RawBSONDocument]:
    """Documents as the bytes they are: nothing is lost that Python has no word for."""
    raw: Any = client.get_database(database, codec_options=DEFAULT_RAW_BSON_OPTIONS)
    cursor: Iterator[RawBSONDocument] = raw.cursor_command(
        "find", name, filter=wanted, batchSize=batch, readConcern=concern, codec_options=DEFAULT_RAW_BSON_OPTIONS
    )
    return cursor
