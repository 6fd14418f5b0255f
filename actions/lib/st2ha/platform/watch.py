"""Watch StackStorm's own services: all of stackstorm_check in each round, what costs StackStorm much in few of them.

The registry itself notices a death only after half a minute, so that there is nothing to be had by asking faster.
"""

from __future__ import annotations

import time
from typing import Callable, Optional

from st2ha.config import Deployment
from st2ha.platform import operations
from st2ha.platform.assess import assess
from st2ha.platform.facts import Snapshot, Unread
from st2ha.platform.gather import SELDOM, gather
from st2ha.platform.settings import Stackstorm
from st2ha.report import Finding
from st2ha.rounds import weights

WHOLE_EVERY_S = 120.0
CONFIRM_S = {
    **dict.fromkeys(("EndpointDown", "ApiDown", "TriggersUnprocessed"), 4.0),
    **dict.fromkeys(("ApiIncomplete", "NodeUnreadable", "ExecutionsOrphaned", "SensorNotRunning"), 12.0),
    **dict.fromkeys(("ServiceDown", "ServiceGone", "NodeGone"), 20.0),
    "SingletonTwice": 45.0,
}
"""What every restart of a service shows for a moment: told only if it stays."""


class Unsettled:
    """Whether what is seen has changed lately: then all is read anew, so that what is told was really seen twice."""

    def __init__(self) -> None:
        self._seen: object = None
        self._until = 0.0

    def note(self, seen: object, now: float) -> bool:
        """`now` is monotonic."""
        if seen != self._seen:
            self._seen, self._until = seen, now + max(CONFIRM_S.values()) + 5.0
        return now < self._until


class Eye:
    """One deployment's services, looked at again and again."""

    def __init__(self, find: Callable[[], Deployment]) -> None:
        self._find = find
        self._whole: Optional[Snapshot] = None
        self._unsettled = Unsettled()

    def look(self) -> tuple[float, tuple[Finding, ...]]:
        """When, and what was found. HaError where the configuration is wrong."""
        deployment = self._find()
        settings: Stackstorm = deployment.require("stackstorm")
        snapshot = gather(settings, operations.elsewhere(deployment), self._whole)
        findings = assess(operations.scene_of(deployment, settings, snapshot))
        if self._unsettled.note(weights(findings), time.monotonic()):
            self._whole = None
        elif self._whole is None:
            unread = any(isinstance(getattr(snapshot, part), Unread) for part in SELDOM.values())
            self._whole = None if unread else snapshot
        elif snapshot.at - self._whole.at >= WHOLE_EVERY_S:
            self._whole = None
        return snapshot.at, findings
