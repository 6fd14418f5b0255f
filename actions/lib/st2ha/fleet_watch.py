"""Watch what StackStorm runs: its own services, executions, events and rules.

Run as a child process by st2ha.observer for sensors/partition_sensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from st2ha.config import Deployment, select
from st2ha.observer import Tell, serve
from st2ha.platform.watch import CONFIRM_S, Eye
from st2ha.rounds import Look, Rounds, told, weights


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
        self._eye = Eye(find)

    def look(self) -> Look:
        """See Rounds.look."""
        at, findings = self._eye.look()
        return Look(told(At(at), findings, CONFIRM_S, []), weights(findings))


if __name__ == "__main__":
    serve(watch)
