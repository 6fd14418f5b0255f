"""Watch what StackStorm runs: its own services and its sensor fleet, in one look.

Run as a child process by st2ha.observer for sensors/partition_sensor. Composes two layers' checks, as check.py does:
where the fleet cannot be checked, what was known of it stands, beside a finding that says why.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from st2ha.config import Deployment, select
from st2ha.errors import HaError
from st2ha.observer import Tell, serve
from st2ha.partition.operations import check
from st2ha.platform.watch import CONFIRM_S, Eye, Unsettled
from st2ha.report import Finding, Severity
from st2ha.rounds import Look, Rounds, told, weights

FLEET_EVERY_S = 30.0
"""Each look goes into every sensor node, several commands long."""
FLEET_CONFIRM_S = {
    **dict.fromkeys(("NodeSilent", "EventsLost", "SensorGivenUp", "NodeUnread", "SensorsUnread"), 12.0),
    "TimersOnNone": 20.0,
    "TimersOnManyNodes": 45.0,
}
"""What a container or a timer engine that is started again shows for a moment: told only if it stays."""


class At(NamedTuple):
    """When a look was; all that st2ha.rounds wants to know of a snapshot."""

    at: float


def watch(config: Mapping[str, Any], deployment: str, tell: Tell) -> None:
    """Tell looks at `deployment`, for ever. The configuration is read for each look: secrets rotate."""
    Watch(lambda: select(config, deployment), tell).run()


class Watch(Rounds[At]):
    """One deployment being watched."""

    def __init__(self, find: Callable[[], Deployment], tell: Tell) -> None:
        super().__init__(tell)
        self._find = find
        self._eye = Eye(find)
        self._fleet: tuple[Finding, ...] = ()
        self._unsure: tuple[Finding, ...] = ()
        self._unsettled = Unsettled()
        self._next_at = 0.0

    def look(self) -> Look:
        """See Rounds.look."""
        at, findings = self._eye.look()
        findings = (*findings, *self._look_at_fleet())
        return Look(told(At(at), findings, {**FLEET_CONFIRM_S, **CONFIRM_S}, []), weights(findings))

    def _look_at_fleet(self) -> tuple[Finding, ...]:
        """The findings of partition_check, if the deployment has a fleet: new ones, or those of the last look."""
        deployment = self._find()
        if deployment.sensors is None:
            return ()
        if time.monotonic() >= self._next_at:
            self._check_fleet(deployment)
        return (*self._fleet, *self._unsure)

    def _check_fleet(self, deployment: Deployment) -> None:
        try:
            self._fleet, self._unsure = check(deployment).findings, ()
        except HaError as error:
            remedy = "correct it, then run partition_check"
            self._unsure = (Finding("LayerUnchecked", Severity.UNKNOWN, "sensors", str(error), remedy),)
        now = time.monotonic()
        unsettled = self._unsettled.note((weights(self._fleet), weights(self._unsure)), now)
        self._next_at = now if unsettled else now + FLEET_EVERY_S


if __name__ == "__main__":
    serve(watch)
