"""Watch replica sets: the driver's heartbeats say that something changed, a direct gather says what.

Run as a child process by st2ha.observer. Each member has a monitor of its own (an awaitable hello: the server answers
at once when its role changes, and a closed connection is noticed at once); topology events would come up to a second
late. A heartbeat is a reason to look, never a fact.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

from st2ha.config import Host, Mongodb, select
from st2ha.errors import HaError
from st2ha.mongodb import client as driver
from st2ha.mongodb.assess import assess
from st2ha.mongodb.facts import Snapshot, is_writable
from st2ha.mongodb.gather import gather
from st2ha.observer import Tell, serve
from st2ha.rounds import Look, Rounds, told, weights

HEARTBEAT_MS = 5_000
CLAIM_TIMEOUT_S = 1.0

CONFIRM_S = dict.fromkeys(
    ("ReplicaLagging", "ReplicaStuck", "NotSyncing", "FlowControlEngaged", "MemberNotReady", "ClockSkew"), 4.0
)
"""What every election or restart shows for a moment: told only if it stays."""


def watch(config: Mapping[str, Any], deployment: str, tell: Tell) -> None:
    """Tell looks at the set of `deployment`, for ever. The configuration is read for each look: secrets rotate."""

    def settings() -> Mongodb:
        return select(config, deployment).require_mongodb()

    Watch(settings, tell).run()


class Watch(Rounds[Snapshot]):
    """One replica set being watched."""

    def __init__(self, settings: Callable[[], Mongodb], tell: Tell) -> None:
        super().__init__(tell)
        self._settings = settings
        self._claims: queue.Queue[Host] = queue.Queue()
        self._monitors: list[driver.Client] = []

    def run(self) -> None:
        """See Rounds.run."""
        threading.Thread(target=self._confirm_claims, daemon=True).start()
        super().run()

    def heard(self, host: Host, role: Optional[str]) -> None:
        """A member's role is another than before; None: its monitor has lost it. Called in the monitors' threads."""
        if role == "primary":
            self._claims.put(host)
        self.news.set()

    def look(self) -> Look:
        """See Rounds.look; it is settled once there is a primary."""
        settings = self._settings()
        self._listen(settings)
        snapshot = gather(settings)
        earlier = self.remember(snapshot)
        findings = assess(snapshot, settings.limits, snapshot.at, earlier, dict(settings.reviewed_rollbacks))
        primary = snapshot.primary
        seen = weights(findings), primary and primary.name
        return Look(told(snapshot, findings, CONFIRM_S, roles(snapshot)), seen, primary is not None)

    def _listen(self, settings: Mongodb) -> None:
        """Start the monitors; again at the next look if the driver refuses the settings."""
        if self._monitors:
            return
        for host in settings.hosts:
            self._monitors.append(
                driver.member_client(
                    settings, host, settings.timeout_s, login=False, heartbeatFrequencyMS=HEARTBEAT_MS,
                    serverMonitoringMode="stream", event_listeners=[Pulse(host, self.heard)],
                )
            )  # fmt: skip

    def _confirm_claims(self) -> None:
        """Ask a member that calls itself primary, alone: a look at all of them may be waiting for a hung one."""
        while True:
            host = self._claims.get()
            try:
                settings = self._settings()
                timeout_s = min(settings.timeout_s, CLAIM_TIMEOUT_S)
                snapshot = gather(replace(settings, hosts=(host,), timeout_s=timeout_s))
            except HaError:
                continue  # the look that follows tells why
            if snapshot.primary is not None:
                self._tell({"at": snapshot.at, "roles": roles(snapshot)})


def roles(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The primary as a row for st2ha.watch.update_role; no row without one."""
    if snapshot.primary is None:
        return []
    row = {"subject": f"mongodb/{snapshot.replica_set}", "role": "primary"}
    return [{**row, "name": snapshot.primary.name, "term": snapshot.primary.term}]


class Pulse(ServerHeartbeatListener):
    """Hears one member's monitor and passes on when its role changes."""

    def __init__(self, host: Host, heard: Callable[[Host, Optional[str]], None]) -> None:
        self._host, self._heard = host, heard
        self._role: Optional[str] = "unheard"

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """Nothing is known yet."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        hello = event.reply.document
        self._take("primary" if is_writable(hello) else "secondary" if hello.get("secondary") else "other")

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        self._take(None)

    def _take(self, role: Optional[str]) -> None:
        if role != self._role:
            self._role = role
            self._heard(self._host, role)


if __name__ == "__main__":
    serve(watch)
