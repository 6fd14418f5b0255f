"""Watch StackStorm's own services: all of stackstorm_check in each round, what costs StackStorm much in few of them.

The registry itself notices a death only after half a minute, so that there is nothing to be had by asking faster.
"""

from __future__ import annotations

from typing import Callable, Optional

from st2ha.config import Deployment
from st2ha.platform import operations
from st2ha.platform.assess import assess
from st2ha.platform.facts import Snapshot, Unread
from st2ha.platform.gather import SELDOM, gather
from st2ha.platform.settings import Stackstorm
from st2ha.report import Finding

WHOLE_EVERY_S = 300.0
CONFIRM_S = {
    **dict.fromkeys(("EndpointDown", "ApiDown", "TriggersUnprocessed"), 4.0),
    **dict.fromkeys(("ApiIncomplete", "NodeUnreadable", "ExecutionsOrphaned", "SensorNotRunning"), 12.0),
    **dict.fromkeys(("ServiceDown", "ServiceGone", "NodeGone"), 20.0),
    "SingletonTwice": 45.0,
}
"""What every restart of a service shows for a moment: told only if it stays."""


class Eye:
    """One deployment's services, looked at again and again."""

    def __init__(self, find: Callable[[], Deployment]) -> None:
        self._find = find
        self._whole: Optional[Snapshot] = None

    def look(self) -> tuple[float, tuple[Finding, ...]]:
        """When, and what was found. HaError where the configuration is wrong."""
        deployment = self._find()
        settings: Stackstorm = deployment.require("stackstorm")
        snapshot = gather(settings, operations.elsewhere(deployment), self._whole)
        if self._whole is None:
            unread = any(isinstance(getattr(snapshot, part), Unread) for part in SELDOM.values())
            self._whole = None if unread else snapshot
        elif snapshot.at - self._whole.at >= WHOLE_EVERY_S:
            self._whole = None
        return snapshot.at, assess(operations.scene_of(deployment, settings, snapshot))
