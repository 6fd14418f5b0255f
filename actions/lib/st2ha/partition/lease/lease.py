"""A lease as a sensor has it: a thread that asks for it and renews it, and a question that is answered by the clock."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from logging import Logger
from typing import Any, Optional

from st2ha.errors import HaError
from st2ha.observer import Gone, Observer
from st2ha.partition.lease.rule import FREE, Look, Move, Record, View, failed, looked, next_move, refused, wrote
from st2ha.partition.lease.settings import LeaseSettings

CLERK = "st2ha.partition.lease.clerk"
AGAIN_S = 1.0


class LeaseLost(HaError):
    """Another one may work now: whatever was to be done must not be done by us."""


def clock() -> float:
    """Seconds that also pass while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """One lease, called `name` on all nodes. It is asked for from `start` on, until `end`.

    Whether it is held is decided by this process' own clock, so a process that was stopped, or is cut off, knows it in
    the moment in which it asks. What was begun right after the question may still end later: see docs/leases.md.
    """

    def __init__(self, settings: LeaseSettings, config: Mapping[str, Any], name: str, log: Logger) -> None:
        self._settings, self._config, self._name, self._log = settings, config, name, log
        me = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._view = View(me, settings.terms)
        self._news, self._over = threading.Event(), threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._said = ""

    def start(self) -> None:
        """Begin to ask for it; does nothing if that was done."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, daemon=True, name=f"lease {self._name}")
            self._thread.start()

    @property
    def token(self) -> Optional[int]:
        """The fencing token if the lease is held at this moment, None if not. It rises with each holder."""
        view = self._view
        return view.token if not self._over.is_set() and clock() < view.until else None

    @property
    def last_token(self) -> Optional[int]:
        """The token of a lease that may be over, as long as nobody else is known to have taken it."""
        return None if self._over.is_set() else self._view.token

    def check(self) -> int:
        """The token; LeaseLost if the lease is not held at this moment. To be asked right before each effect."""
        token = self.token
        if token is None:
            raise LeaseLost(f"the lease {self._name} is not held any more")
        return token

    def wait(self, seconds: Optional[float] = None) -> bool:
        """Until it is held, or the seconds are over; whether it is held."""
        self.start()
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.token is None:
            self._news.clear()
            left_s = 1.0 if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                return False
            if self.token is None:
                self._news.wait(min(left_s, 1.0))
        return True

    def end(self) -> None:
        """Stop holding it, then give it back. What is under way must have ended."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _live(self) -> None:
        while not self._over.is_set():
            try:
                self._with_a_clerk()
            except (Gone, OSError) as error:
                self._view = failed(self._view, clock())
                self._say(str(error))
            self._over.wait(AGAIN_S)

    def _with_a_clerk(self) -> None:
        clerk = Observer(CLERK, {"config": self._config, "name": self._name})
        try:
            while True:
                move = next_move(self._view, clock(), int(time.time() * 1000))
                if self._over.wait(max(0.0, move.at - clock())):
                    break
                self._make(move, clerk)
        except BaseException:
            clerk.kill()  # before it notices, and gives back what is still held here
            raise
        clerk.close()

    def _make(self, move: Move, clerk: Observer) -> None:
        before, sent_at = self._view, clock()
        clerk.send(_order(move))
        answer = clerk.read(4 * self._settings.timeout_s + 2)
        if answer is None:
            raise Gone(f"no answer from the process that asks {self._settings.backend} (pid {clerk.pid})")
        at = clock()
        if "error" in answer:
            self._view = failed(before, at)
            self._say(f"{self._settings.backend} gives no answer: {answer['error']}")
        elif isinstance(move, Look):
            row = answer["record"]
            self._view = looked(before, None if row is None else Record(*row), answer["place"], at)
        else:
            self._view = wrote(before, move, sent_at, at) if answer["done"] else refused(before, at)
        self._tell(before)

    def _tell(self, before: View) -> None:
        view = self._view
        if view.token is not None and view.token != before.token:
            self._say(f"we hold the lease, token {view.token}")
        elif view.token is None and (before.token is not None or not before.place):
            holder = view.record.holder if view.record else FREE
            self._say(
                f"{holder} holds the lease, we wait" if holder != FREE else "nobody holds the lease, we ask for it"
            )
        if self.token is not None:
            self._news.set()

    def _say(self, sentence: str) -> None:
        if sentence != self._said:
            self._log.warning("lease %s: %s", self._name, sentence)
        self._said = sentence


def _order(move: Move) -> dict[str, Any]:
    if isinstance(move, Look):
        return {"do": "look"}
    old, new = ([r.holder, r.token, r.beat] if r else None for r in (move.old, move.new))
    return {"do": "write", "old": old, "new": new, "place": move.place}
