"""A canary that writes to a cluster all the time and knows afterwards what an event cost its clients.

with Writer(rs.client()) as writer:       # or MysqlWriter, or Publisher
    ...                                   # something happens to the cluster
print(writer.largest_gap(), writer.lost())
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from lab.errors import LabError
from lab.wait import wait_for

L = TypeVar("L", bound="Load")


@dataclass(frozen=True)
class Failure:
    """An error that the writing application saw; the write may or may not be there."""

    at: float
    number: int
    words: str


class Load(ABC):
    """Writes 0, 1, 2, ... one after the other, from a thread of its own.

    A failed write is not written again by us: the next number follows. All times are epoch seconds.
    """

    errors: tuple[type[Exception], ...] = ()
    """What a client of this service sees when a write fails; anything else ends the thread."""

    def __init__(self, name: str, pause_s: float) -> None:
        self.pause_s = pause_s
        self.failures: list[Failure] = []
        self._acknowledged: list[tuple[float, int]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write, name=f"load {name}", daemon=True)

    @abstractmethod
    def write(self, number: int) -> None:
        """Write one and return when it is acknowledged; raises one of ``errors``."""

    @abstractmethod
    def present(self) -> set[int]:
        """The numbers that are there now. Stop the load first."""

    def __enter__(self: L) -> L:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self: L) -> L:
        """Begin, and return after the first acknowledgement. Raises WaitTimeout."""
        self._thread.start()
        wait_for(lambda: self.count, 20, "the first acknowledged write")
        return self

    def stop(self, deadline_s: float = 30) -> None:
        """End after the write under way. Can be repeated. Raises LabError if that write does not end."""
        self._ending.set()
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            raise LabError(f"a write did not end within {deadline_s:g} s: give the client a time-out")

    @property
    def count(self) -> int:
        """How many writes were acknowledged so far."""
        return len(self._acknowledged)

    def largest_gap(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest time in seconds without an acknowledgement that overlaps ``since`` to ``until``.

        While the load runs, the gap since the last acknowledgement counts as well.
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
        """Those of ``acknowledged`` that are not there. Stop the load first."""
        there = self.present()
        return [number for number in self.acknowledged(since, until) if number not in there]

    def _write(self) -> None:
        number = 0
        while not self._ending.is_set():
            try:
                self.write(number)
                self._acknowledged.append((time.time(), number))
            except self.errors as error:
                self.failures.append(Failure(time.time(), number, str(error)[:200]))
            number += 1
            self._ending.wait(self.pause_s)
