"""Watch primaries and replicas: a pulse for each server says that something changed, a direct gather says what.

Run as a child process by st2ha.observer. MySQL pushes nothing, but a query that sleeps on the server comes as close:
its connection breaks in the moment in which the server dies, its answer is late when the server hangs, and its result
tells the role. A pulse is a reason to look, never a fact.
"""

from __future__ import annotations

import threading
import time
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
from st2ha.rounds import Look, Rounds, told, weights

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


class Watch(Rounds[Snapshot]):
    """One deployment's servers being watched."""

    def __init__(self, settings: Callable[[], Mysql], tell: Tell) -> None:
        super().__init__(tell)
        self._settings = settings
        self._pulses: dict[Host, Pulse] = {}

    def look(self) -> Look:
        """See Rounds.look; it is settled once there is a primary."""
        settings = self._settings()
        self._listen(settings)
        snapshot = gather(settings)
        findings = assess(snapshot, settings, snapshot.at, self.remember(snapshot))
        primary = snapshot.primary
        seen = weights(findings), primary and primary.name
        return Look(told(snapshot, findings, CONFIRM_S, roles(snapshot)), seen, primary is not None)

    def _listen(self, settings: Mysql) -> None:
        for host in settings.hosts:
            if host not in self._pulses:
                self._pulses[host] = Pulse(self._settings, host, self.news.set)


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
