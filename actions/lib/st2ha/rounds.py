"""The rounds of a watcher: look, tell, wait; soon again after a change, then ever longer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Generic, NamedTuple, Optional, Protocol, TypeVar

from st2ha.errors import HaError
from st2ha.observer import Tell
from st2ha.report import Finding
from st2ha.tempo import Tempo

REMEMBERED = 8
STANDSTILL_S = 1.0
"""A look so much older tells standstill from lag."""


class Dated(Protocol):
    """A snapshot; `at` in epoch seconds."""

    @property
    def at(self) -> float: ...


S = TypeVar("S", bound=Dated)


class Look(NamedTuple):
    """What is told to the sensor, what of it counts as a change, and whether the service is as calm as it gets."""

    told: dict[str, Any]
    seen: object
    settled: bool = True


class Rounds(Generic[S]):
    """One deployment's service being watched. A service adds `look`, and sets `news` when it should look at once."""

    def __init__(self, tell: Tell) -> None:
        self.news = threading.Event()
        self._tell = tell
        self._past: deque[S] = deque(maxlen=REMEMBERED)
        self._tempo = Tempo()

    def look(self) -> Look:
        """One look; HaError where we are blind."""
        raise NotImplementedError

    def run(self) -> None:
        """Never returns."""
        while True:
            self.news.clear()
            try:
                look = self.look()
            except HaError as error:
                look = Look({"at": time.time(), "blind": str(error)}, str(error))
            self._tell(look.told)
            self.wait(self._tempo.pause(look.seen, look.settled, time.monotonic()))

    def wait(self, pause_s: float) -> None:
        """Until the time is over, or there is news."""
        self.news.wait(pause_s)

    def remember(self, snapshot: S) -> Optional[S]:
        """The last snapshot that is old enough to compare this one with."""
        earlier = next((past for past in reversed(self._past) if snapshot.at - past.at >= STANDSTILL_S), None)
        self._past.append(snapshot)
        return earlier


def told(
    snapshot: Dated, findings: Iterable[Finding], confirm_s: Mapping[str, float], roles: list[dict[str, Any]]
) -> dict[str, Any]:
    """A look as st2ha.watcher takes it."""
    rows = [finding.as_dict() for finding in findings]
    return {"at": snapshot.at, "findings": rows, "confirm_s": confirm_s, "roles": roles}


def weights(findings: Iterable[Finding]) -> set[object]:
    """What of the findings counts as a change: which there are, and how severe."""
    return {(finding.key, finding.severity) for finding in findings}
