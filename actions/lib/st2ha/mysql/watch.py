"""Watch primaries and replicas: a pulse for each server says that something changed, a direct gather says what.

Run as a child process by st2ha.observer. MySQL pushes nothing, but a query that sleeps on the server comes as close:
its connection breaks in the moment in which the server dies, its answer is late when the server hangs, and its result
tells the role. A pulse is a reason to look, never a fact.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Callable

from st2ha.config import Host, select
from st2ha.errors import HaError
from st2ha.mysql import client as driver
from st2ha.mysql.assess import assess
from st2ha.mysql.facts import Snapshot
from st2ha.mysql.gather import gather
from st2ha.mysql.settings import Mysql
from st2ha.observer import Tell, serve
from st2ha.tempo import Tempo

BEAT_S = 0.5
LATE_S = 1.0
"""A beat that is so much late is told as a change: the server hangs, or the network does."""
RETRY_S = 0.5
CONFIRM_S = dict.fromkeys(
    ("ReplicaLagging", "ReplicaStopped", "SemiSyncDegraded", "NotReplicating", "WrongSource", "ReplicaWritable"), 4.0
)
"""What every switchover or restart shows for a moment: told only if it stays."""


def watch(config: Mapping[str, Any], deployment: str, tell: Tell) -> None:
    """Tell looks at the servers of `deployment`, for ever. The configuration is read for each look: secrets rotate."""

    def settings() -> Mysql:
        found: Mysql = select(config, deployment).require("mysql")
        return found

    Watch(settings, tell).run()


class Watch:
    """One deployment's servers being watched."""

    def __init__(self, settings: Callable[[], Mysql], tell: Tell) -> None:
        self._settings, self._tell = settings, tell
        self._news = threading.Event()
        self._pulses: dict[Host, Pulse] = {}
        self._past: deque[Snapshot] = deque(maxlen=8)
        self._tempo = Tempo()

    def run(self) -> None:
        """Look, tell, wait; never returns."""
        while True:
            self._news.clear()
            look, seen, has_primary = self._look()
            self._tell(look)
            self._news.wait(self._tempo.pause(seen, has_primary, time.monotonic()))

    def _look(self) -> tuple[dict[str, Any], object, bool]:
        """One look, what of it counts as a change, and whether there is a primary."""
        try:
            settings = self._settings()
            self._listen(settings)
            snapshot = gather(settings)
        except HaError as error:
            return {"at": time.time(), "blind": str(error)}, str(error), True
        earlier = next((past for past in reversed(self._past) if snapshot.at - past.at >= 1), None)
        self._past.append(snapshot)
        findings = assess(snapshot, settings, snapshot.at, earlier)
        look = {
            "at": snapshot.at,
            "findings": [finding.as_dict() for finding in findings],
            "confirm_s": CONFIRM_S,
            "roles": roles(snapshot),
        }
        seen = ({(finding.key, finding.severity) for finding in findings}, snapshot.primary and snapshot.primary.name)
        return look, seen, snapshot.primary is not None

    def _listen(self, settings: Mysql) -> None:
        for host in settings.hosts:
            if host not in self._pulses:
                self._pulses[host] = Pulse(self._settings, host, self._news.set)


def roles(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The primary as a row for st2ha.watch.update_role, none without one or with two. Nobody counts elections."""
    if snapshot.primary is None:
        return []
    row = {"subject": f"mysql/{snapshot.cluster}", "role": "primary"}
    return [{**row, "name": snapshot.primary.name, "term": None}]


class Pulse:
    """One server's connection that is always in a short sleep; `heard` is called when its state changes."""

    def __init__(self, settings: Callable[[], Mysql], host: Host, heard: Callable[[], None]) -> None:
        self._settings, self._host, self._heard = settings, host, heard
        self._state: object = "unheard"
        threading.Thread(target=self._run, daemon=True, name=f"pulse {host}").start()

    def _run(self) -> None:
        while True:
            try:
                with driver.session(self._settings(), self._host, BEAT_S + LATE_S) as session:
                    while True:
                        row = session.rows(f"SELECT @@GLOBAL.read_only AS closed, SLEEP({BEAT_S}) AS slept")[0]
                        self._take(int(row["closed"]))
            except HaError:
                self._take("lost")
            time.sleep(RETRY_S)

    def _take(self, state: object) -> None:
        if state != self._state:
            self._state = state
            self._heard()


if __name__ == "__main__":
    serve(watch)
