"""The verbs of a copy's plan. Each looks again before it writes; repeated, it goes on from what the ledger tells."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional, TypeVar

from bson.timestamp import Timestamp
from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure, PyMongoError

from st2ha.change import wait_until
from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.decide import HANDED_OVER
from st2ha.mongodb.copy.facts import LEDGER, Part, Record
from st2ha.mongodb.copy.gather import COPIES, PARTS, read_parts, read_record
from st2ha.mongodb.copy.proof import Settled, differences
from st2ha.mongodb.copy.stream import SNAPSHOT_ERRORS, Follower, found
from st2ha.plan import Journal, Step, Verb

ELECTION_S = 40.0
FOLLOW_S = 120.0
BATCH = 1000
MARKS = "marks"
INTERRUPTED = (11600, 11602, 189, 91, 10107, 13435)
"""Server codes of an operation that an election or a shutdown ended: to be begun again on the new primary."""
R = TypeVar("R")


@dataclass(frozen=True)
class Clients:
    """Both of the set. `patient` waits for a whole collection's copy, `quick` for no more than a moment."""

    quick: driver.Client
    patient: driver.Client


class Copying:
    """The verbs for one pair of databases. `rate_bytes_s` 0: as fast as the server copies by itself.

    `without`: collections that get their options and indexes, but no documents.
    """

    def __init__(
        self, clients: Clients, source: str, target: str, rate_bytes_s: float, deadline_s: float,
        without: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.client, self.patient = clients.quick, clients.patient
        self.source, self.target = source, target
        self.rate_bytes_s, self.without = rate_bytes_s, without
        self.end = time.monotonic() + deadline_s
        self.follower: Optional[Follower] = None
        self.lag_s: Optional[float] = None
        self.tag = f"st2ha copy to {target}"

    def verbs(self) -> Mapping[str, Verb]:
        verbs: dict[str, Verb] = {
            "begin": self.begin,
            "copy_collection": self.copy_collection,
            "build_indexes": self.build_indexes,
            "make_view": self.make_view,
            "catch_up": self.catch_up,
            "verify": self.verify,
        }
        return {name: partial(self._retried_verb, verb) for name, verb in verbs.items()}

    # -- verbs

    def begin(self, step: Step) -> str:
        """The ledger's entry comes first: whatever happens from now on, the target is known to be ours."""
        if any(not part.empty for part in read_parts(self.client, self.target).values()):
            raise WorldChanged(f"{self.target} has got data meanwhile that is not ours")
        at = self.mark()
        head = {"source": self.source, "target": self.target, "state": "copying", "at": at, "began_at": _now()}
        self._ledger(COPIES).update_one({"target": self.target}, {"$setOnInsert": head}, upsert=True)
        Follower(self.client, self.source, self.target, at, None, self._structure).close()  # the oplog has that time
        return f"at cluster time {at.time}.{at.inc}"

    def copy_collection(self, step: Step) -> str:
        part, record = step.expect["part"], self._record()
        if step.target in record.parts:
            return "was copied already"
        self._end_leftovers()
        return self._copy(part, record)

    def build_indexes(self, step: Step) -> str:
        self._structure(step.target)
        return "all of the source's, in one build"

    def make_view(self, step: Step) -> str:
        self._structure(step.target)
        return "made"

    def catch_up(self, step: Step) -> str:
        """Follow the source until nothing is left; then measure how far behind a running copy is."""
        first_s = self.follow(min(FOLLOW_S, self._left_s()))
        self.lag_s = self.follow(min(FOLLOW_S, self._left_s()))
        applied = self.follower.applied if self.follower else 0
        return f"{applied} changed documents after {first_s:.2f} s, now {self.lag_s:.2f} s behind"

    def verify(self, step: Step) -> str:
        """Equal by dbHash where nothing writes to the source, else by the documents' hashes at one cluster time."""
        how = str(step.expect.get("how", "auto"))
        self.follow(min(FOLLOW_S, self._left_s()))
        self._even_structure()
        assert self.follower is not None
        proof = differences(self.patient, self.source, self.target, how, self._settle, self.without)
        if proof.different:
            raise StepFailed(
                f"{self.target} differs from {self.source} by {proof.how}: {'; '.join(proof.different[:5])}"
            )
        self._ledger(COPIES).update_one({"target": self.target}, {"$set": {"state": "verified", "verified_at": _now()}})
        return f"{proof.collections} collections are equal by {proof.how}"

    # -- also for the upgrade

    def follow(self, deadline_s: float) -> float:
        """Apply all that was written to the source before this call; the seconds it took. Survives an election."""
        return self._retried(lambda: self._follow(deadline_s))

    def mark(self) -> Timestamp:
        """A cluster time that a majority has, and before which lies all that was acknowledged until now."""
        command = {
            "update": MARKS,
            "updates": [{"q": {"_id": self.target}, "u": {"$set": {"at": _now()}}, "upsert": True}],
        }
        reply = self.client[LEDGER].command(command, writeConcern={"w": "majority", "wtimeout": 10_000})
        if "writeConcernError" in reply or "writeErrors" in reply:
            raise StepFailed("a majority of the set does not acknowledge a write within 10 s")
        at: Timestamp = reply["operationTime"]
        return at

    def hand_over(self) -> None:
        """From now on the target is the new side's: nothing of ours may write to it again."""
        self.close()
        self._ledger(COPIES).update_one(
            {"target": self.target}, {"$set": {"state": HANDED_OVER, "handed_over_at": _now()}}
        )

    def forget(self) -> None:
        """After the target was dropped: the next copy begins anew."""
        self._ledger(PARTS).delete_many({"target": self.target})
        self._ledger(COPIES).delete_one({"target": self.target})

    def close(self) -> None:
        if self.follower is not None:
            with contextlib.suppress(PyMongoError):
                self.follower.close()
        self.follower = None

    # -- inside

    def _follow(self, deadline_s: float) -> float:
        if self.follower is None:
            head = self._ledger(COPIES).find_one({"target": self.target}) or {}
            self.follower = Follower(
                self.client, self.source, self.target, head["at"], head.get("token"), self._structure, self.without
            )
        try:
            took_s = self.follower.until(self.mark(), deadline_s)
        except PyMongoError:
            self.close()
            raise
        if self.follower.token:
            self._ledger(COPIES).update_one({"target": self.target}, {"$set": {"token": self.follower.token}})
        return took_s

    def _settle(self) -> Settled:
        assert self.follower is not None
        before = self.follower.applied
        self.follow(min(FOLLOW_S, self._left_s()))
        assert self.follower is not None
        return Settled(self.follower.at, self.follower.applied - before)

    def _copy(self, part: Part, record: Record) -> str:
        """A collection as it was at the copy's time.

        If the server has forgotten that time, or keeps none for a capped collection, as a majority has it while it is
        read: what was written since the copy's time is applied afterwards in any case, and makes it whole.
        """
        at, began, later = Timestamp(*record.at), time.monotonic(), ""
        try:
            documents = self._copy_at(part, {"level": "snapshot", "atClusterTime": at})
        except OperationFailure as error:
            if error.code not in SNAPSHOT_ERRORS:
                raise
            at, later = self.mark(), ", read while it was written to: whole after the catch-up"
            documents = self._copy_at(part, {"level": "majority"})
        took_s = time.monotonic() - began
        row = {"target": self.target, "name": part.name, "at": at, "documents": documents, "took_s": took_s}
        self._ledger(PARTS).replace_one({"target": self.target, "name": part.name}, row, upsert=True)
        return f"{documents} documents in {took_s:.1f} s{later}"

    def _copy_at(self, part: Part, concern: dict[str, Any]) -> int:
        self.client[self.target].drop_collection(part.name)
        self._create(part)
        if part.name in self.without or (part.empty and not self._count(part, concern)):
            return 0
        if part.capped or self.rate_bytes_s:
            return self._through_here(part, concern)
        return self._on_server(part, concern)

    def _on_server(self, part: Part, concern: dict[str, Any]) -> int:
        """`$out` keeps the options of the empty collection that it replaces; the indexes come afterwards (faster)."""
        out = {"$out": {"db": self.target, "coll": part.name}}
        self.patient[self.source].command(
            "aggregate", part.name, pipeline=[{"$match": {}}, out], cursor={}, readConcern=concern, comment=self.tag,
            writeConcern={"w": "majority", "wtimeout": 0}, bypassDocumentValidation=True,
        )  # fmt: skip
        return self.client[self.target][part.name].estimated_document_count()

    def _count(self, part: Part, concern: dict[str, Any]) -> int:
        reply = self.patient[self.source].command(
            "aggregate", part.name, pipeline=[{"$count": "n"}], cursor={}, readConcern=concern
        )
        return sum(row["n"] for row in reply["cursor"]["firstBatch"])

    def _through_here(self, part: Part, concern: dict[str, Any]) -> int:
        """In batches, as fast as allowed: for a throttled copy, and into a capped collection, which `$out` refuses."""
        cursor = found(self.client, self.source, part.name, {}, concern, BATCH)
        collection = self.client[self.target].get_collection(part.name, write_concern=driver.majority())
        began, sent, documents = time.monotonic(), 0, 0
        while batch := list(itertools.islice(cursor, BATCH)):
            collection.insert_many(batch, ordered=True, bypass_document_validation=True)
            documents += len(batch)
            sent += sum(len(document.raw) for document in batch)
            if self.rate_bytes_s:
                Journal.from_environment().write(event="progress", target=part.name, bytes=sent, of=part.data_bytes)
                time.sleep(max(0.0, sent / self.rate_bytes_s - (time.monotonic() - began)))
        return documents

    def _create(self, part: Part) -> None:
        options = {key: value for key, value in part.options.items() if key != "uuid"}
        self.client[self.target].command("create", part.name, **options)

    def _structure(self, name: str) -> None:
        """A collection's options and indexes, or a view, as the source has them now."""
        part = read_parts(self.client, self.source, name, sizes=False).get(name)
        if part is not None:  # not dropped since
            self._make_like(part, read_parts(self.client, self.target, name, sizes=False).get(name))

    def _make_like(self, part: Part, existing: Optional[Part]) -> None:
        if existing is None:
            self._create(part)
        missing = [spec for key, spec in part.indexes.items() if existing is None or key not in existing.indexes]
        if missing:
            self.patient[self.target].command(
                "createIndexes",
                part.name,
                indexes=missing,
                writeConcern={"w": "majority", "wtimeout": 0},
                comment=self.tag,
            )

    def _even_structure(self) -> None:
        """Collections and indexes that came to the source since its copy; an index that went there goes here."""
        ours = read_parts(self.client, self.target, sizes=False)
        for name, part in read_parts(self.client, self.source, sizes=False).items():
            self._make_like(part, ours.get(name))
            for index in set(ours[name].indexes if name in ours else ()) - set(part.indexes):
                self.client[self.target][name].drop_index(index)

    def _end_leftovers(self) -> None:
        """Operations of a killed copy may still run on the server, and `$out` would replace what we make now."""
        mine: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": False, "localOps": True}},
            {"$match": {"command.comment": self.tag}},
        ]

        def running() -> Optional[str]:
            found = [each["opid"] for each in self.client.admin.aggregate(mine)]
            for number in found:
                self.client.admin.command("killOp", op=number)
            return f"{len(found)} of them run" if found else None

        wait_until(running, ELECTION_S, "operations of an earlier copy to end", pause_s=0.1)

    def _retried_verb(self, verb: Verb, step: Step) -> str:
        return self._retried(lambda: verb(step))

    def _retried(self, work: Callable[[], R]) -> R:
        """Again after an election, as long as one may take: the ledger and the server's time make it the same work."""
        end = time.monotonic() + ELECTION_S
        while True:
            try:
                return work()
            except (AutoReconnect, NotPrimaryError) as error:
                last: PyMongoError = error
            except OperationFailure as error:
                if error.code not in INTERRUPTED:
                    raise HaError(driver.words(error)) from None
                last = error
            except PyMongoError as error:
                raise HaError(driver.words(error)) from None
            if time.monotonic() > min(end, self.end):
                raise HaError(f"the set did not come back within {ELECTION_S:g} s: {driver.words(last)}")
            time.sleep(0.2)
            with contextlib.suppress(PyMongoError):
                self._end_leftovers()

    def _record(self) -> Record:
        record = read_record(self.client, self.source, self.target)
        if record is None:
            raise WorldChanged(f"the ledger has no entry of this copy any more: somebody deleted it from {LEDGER}")
        if record.state == HANDED_OVER:
            raise WorldChanged(f"{self.target} was handed over to the new side meanwhile")
        return record

    def _ledger(self, name: str) -> Any:
        return self.client[LEDGER].get_collection(name, write_concern=driver.majority())

    def _left_s(self) -> float:
        return max(1.0, self.end - time.monotonic())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
