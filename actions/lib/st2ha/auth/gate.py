"""One try of a password first: servers that are asked at once must not each count a wrong one towards lockout."""

from __future__ import annotations

import threading


class Gate:
    """Lets one service bind be tried before the others: a wrong password must not count once for each server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self.refused = False

    def enter(self, wait_s: float) -> bool:
        """Whether the caller may bind. The first one may; the others wait for its answer, but not for ever."""
        if self._lock.acquire(blocking=False):
            return True
        self._answered.wait(wait_s)
        return not self.refused

    def answered(self, refused: bool) -> None:
        """The bind's answer, or that there is none."""
        self.refused = self.refused or refused
        self._answered.set()
