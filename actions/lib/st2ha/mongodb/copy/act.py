"""The verbs of a copy's plan. Each looks again before it writes; repeated, it goes on from what the ledger tells."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional, TypeVar

from bson.timestamp import Timestamp
from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure, PyMongoError

from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.decide import HANDED_OVER
from st2ha.mongodb.copy.facts import LEDGER, Part, Record
from st2ha.mongodb.copy.gather import AT_ONCE, COPIES, PARTS, in_parallel, read_parts, read_record
from st2ha.mongodb.copy.proof import Settled, differences
from st2ha.mongodb.copy.stream import SNAPSHOT_ERRORS, Follower
from st2ha.mongodb.copy.work import Clients, Work
from st2ha.plan import Step, Verb

FOLLOW_S = 120.0
MARKS = "marks"
R = TypeVar("R")


@dataclass(frozen=True)
class Copied:
    """Of one collection. `late`: not at the copy's time, but while it was written to."""

    documents: int
    took_s: float
    late: bool


class Copying(Work):
    """The verbs for one pair of databases."""

    def __init__(
        self, clients: Clients, source: str, target: str, rate_bytes_s: float, deadline_s: float,
        without: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        super().__init__(clients, source, target, rate_bytes_s, without)
        self.end = time.monotonic() + deadline_s
        self.follower: Optional[Follower] = None
        self.lag_s: Optional[float] = None

    def verbs(self) -> Mapping[str, Verb]:
        verbs: dict[str, Verb] = {
            "begin": self.begin,
            "copy_small": self.copy_small,
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
        self._listen()
        return f"at cluster time {at.time}.{at.inc}"

    def copy_small(self, step: Step) -> str:
        """Several at once, each with its own entry in the ledger; throttled, one after the other."""
        began, record = time.monotonic(), self._record()
        self._listen()
        parts = [part for part in step.expect["parts"] if part.name not in record.parts]
        self.end_leftovers()
        found = in_parallel(lambda part: self._copy(part, record), parts, 1 if self.rate_bytes_s else AT_ONCE)
        late = sum(each.late for each in found)
        words = f", {late} of them read while they were written to: whole after the catch-up" if late else ""
        documents = sum(each.documents for each in found)
        return f"{documents} documents with all indexes in {time.monotonic() - began:.1f} s{words}"

    def copy_collection(self, step: Step) -> str:
        part, record = step.expect["part"], self._record()
        if step.target in record.parts:
            return "was copied already"
        self._listen()
        self.end_leftovers()
        copied = self._copy(part, record)
        later = ", read while it was written to: whole after the catch-up" if copied.late else ""
        return f"{copied.documents} documents in {copied.took_s:.1f} s{later}"

    def build_indexes(self, step: Step) -> str:
        self._listen()
        self.structure(step.target)
        return "all of the source's, in one build"

    def make_view(self, step: Step) -> str:
        self.structure(step.target)
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
        self.even_structure()
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

    def _listen(self) -> None:
        """From the copy's time on, while documents are copied and indexes built; ends with the first catch-up."""
        if self.follower is None:
            self.follower = self._opened()
            self.follower.listen()

    def _opened(self) -> Follower:
        head = self._ledger(COPIES).find_one({"target": self.target}) or {}
        where = self.source, self.target, head["at"], head.get("token")
        return Follower(self.client, *where, self.structure, self.without)

    def _follow(self, deadline_s: float) -> float:
        if self.follower is None:
            self.follower = self._opened()
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

    def _copy(self, part: Part, record: Record) -> Copied:
        """A collection as it was at the copy's time.

        If the server has forgotten that time, or keeps none for a capped collection, as a majority has it while it is
        read: what was written since the copy's time is applied afterwards in any case, and makes it whole.
        """
        at, began, late = Timestamp(*record.at), time.monotonic(), False
        try:
            documents = self.copy_at(part, {"level": "snapshot", "atClusterTime": at})
        except OperationFailure as error:
            if error.code not in SNAPSHOT_ERRORS:
                raise
            at, late = self.mark(), True
            documents = self.copy_at(part, {"level": "majority"})
        took_s = time.monotonic() - began
        row = {"target": self.target, "name": part.name, "at": at, "documents": documents, "took_s": took_s}
        self._ledger(PARTS).replace_one({"target": self.target, "name": part.name}, row, upsert=True)
        return Copied(documents, took_s, late)

    def _retried_verb(self, verb: Verb, step: Step) -> str:
        return self._retried(lambda: verb(step))

    def _retried(self, work: Callable[[], R]) -> R:
        """Again after an election, as long as one may take: the ledger and the server's time make it the same work."""
        end = time.monotonic() + driver.ELECTION_S
        while True:
            try:
                return work()
            except (AutoReconnect, NotPrimaryError) as error:
                last: PyMongoError = error
            except OperationFailure as error:
                if error.code not in driver.INTERRUPTED:
                    raise HaError(driver.words(error)) from None
                last = error
            except PyMongoError as error:
                raise HaError(driver.words(error)) from None
            if time.monotonic() > min(end, self.end):
                raise HaError(f"the set did not come back within {driver.ELECTION_S:g} s: {driver.words(last)}")
            time.sleep(0.2)
            with contextlib.suppress(PyMongoError):
                self.end_leftovers()

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
