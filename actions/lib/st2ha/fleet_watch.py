"""Watch what StackStorm runs: its own services and its sensor fleet, in one look.

Run as a child process by st2ha.observer for sensors/partition_sensor. Composes two layers' checks, as check.py does:
where the fleet cannot be checked, what was known of it stands, beside a finding that says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from st2ha.config import Deployment, select
from st2ha.errors import HaError
from st2ha.observer import Tell, serve
from st2ha.platform.watch import CONFIRM_S, Eye
from st2ha.report import Finding, Severity
from st2ha.rounds import Look, Rounds, told, weights

FLEET_CONFIRM_S = dict.fromkeys(
    ("NodeSilent", "EventsLost", "SensorGivenUp", "TimersOnNone", "SensorUnowned", "FleetUnread", "NodeUnread"), 12.0
)
"""What a container that is started again shows for a moment: told only if it stays."""


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

    def look(self) -> Look:
        """See Rounds.look."""
        at, findings = self._eye.look()
        findings = (*findings, *self._look_at_fleet())
        return Look(told(At(at), findings, {**FLEET_CONFIRM_S, **CONFIRM_S}, []), weights(findings))

    def _look_at_fleet(self) -> tuple[Finding, ...]:
        """The findings of partition_check, if the deployment has a fleet."""
        from st2ha.partition.operations import check

        deployment = self._find()
        if deployment.sensors is None:
            self._fleet = ()
            return ()
        try:
            self._fleet = check(deployment).findings
        except HaError as error:
            remedy = "correct it, then run partition_check"
            return (*self._fleet, Finding("LayerUnchecked", Severity.UNKNOWN, "sensors", str(error), remedy))
        return self._fleet


if __name__ == "__main__":
    serve(watch)
