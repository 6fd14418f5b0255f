"""A canary that writes to a replica set all the time and knows afterwards what an event cost its clients.

with Writer(rs.client()) as writer:
    ...                                   # something happens to the set
print(writer.largest_gap(), writer.lost())
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from lab.errors import LabError
from lab.wait import wait_for

DATABASE = "st2ha_canary"
MAJORITY = WriteConcern(w="majority", wtimeout=20_000)


@dataclass(frozen=True)
class Failure:
    """An error that the writing application saw; the write may or may not be there."""

    at: float
    number: int
    words: str


class Writer:
    """Writes documents 0, 1, 2, ... one after the other with majority concern, from a thread of its own.

    ``client`` decides whether the driver retries. A failed write is not written again by us: the next number follows.
    All times are epoch seconds.
    """

    def __init__(self, client: MongoClient[dict[str, Any]], name: str = "writes", pause_s: float = 0.01) -> None:
        self.client = client
        self.pause_s = pause_s
        self.failures: list[Failure] = []
        self._acknowledged: list[tuple[float, int]] = []
        self._collection = client[DATABASE].get_collection(
            name, write_concern=MAJORITY, read_concern=ReadConcern("majority")
        )
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"writer {name}", daemon=True)

    def __enter__(self) -> Writer:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> Writer:
        """Empty the collection, begin, and return after the first acknowledgement. Raises WaitTimeout."""
        self._collection.delete_many({})
        self._thread.start()
        wait_for(lambda: self.count, 20, "the first acknowledged write")
        return self

    def stop(self, deadline_s: float = 30) -> None:
        """End after the write under way. Can be repeated. Raises LabError if that write does not end."""
        self._ending.set()
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            raise LabError(f"a write did not end within {deadline_s:g} s: give the client a socketTimeoutMS")

    @property
    def count(self) -> int:
        """How many writes were acknowledged so far."""
        return len(self._acknowledged)

    def largest_gap(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest time in seconds without an acknowledgement that overlaps ``since`` to ``until``.

        While the writer runs, the gap since the last acknowledgement counts as well.
        """
        times = [at for at, _ in list(self._acknowledged)]
        if self._thread.is_alive():
            times.append(time.time())
        gaps = [after - before for before, after in zip(times, times[1:]) if after >= since and before <= until]
        return max(gaps, default=0.0)

    def failures_since(self, since: float) -> list[Failure]:
        """What the application saw go wrong from ``since`` on."""
        return [failure for failure in list(self.failures) if failure.at >= since]

    def acknowledged(self, since: float = 0.0, until: float = float("inf")) -> list[int]:
        """The numbers that were acknowledged from ``since`` until before ``until``."""
        return [number for at, number in list(self._acknowledged) if since <= at < until]

    def lost(self, since: float = 0.0, until: float = float("inf")) -> list[int]:
        """Those of ``acknowledged`` that are not there, by a majority read. Stop the writer first."""
        there = {row["_id"] for row in self._collection.find({}, {"_id": 1})}
        return [number for number in self.acknowledged(since, until) if number not in there]

    def _write(self) -> None:
        number = 0
        while not self._ending.is_set():
            try:
                self._collection.insert_one({"_id": number})
                self._acknowledged.append((time.time(), number))
            except PyMongoError as error:
                self.failures.append(Failure(time.time(), number, str(error)[:200]))
            number += 1
            self._ending.wait(self.pause_s)
