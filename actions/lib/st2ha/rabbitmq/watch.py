"""Watch clusters: a pulse says that something changed, a full gather says what.

Run as a child process by st2ha.observer. RabbitMQ pushes nothing to an administrator, so each node is asked twice a
second for `whoami`, which even a node that waits for a hung peer answers at once (2 ms). A pulse is a reason to look,
never a fact; the full look reads queues, too, and comes every 15 s and soon after a change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from st2ha.config import Host, select
from st2ha.errors import HaError
from st2ha.observer import Tell, serve
from st2ha.probe import Attempt, Silent, ask_all, connect
from st2ha.rabbitmq.assess import assess
from st2ha.rabbitmq.client import Api, ApiError
from st2ha.rabbitmq.facts import Snapshot
from st2ha.rabbitmq.gather import gather
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.rounds import Look, Rounds, told, weights

PULSE_S = 0.5
PULSE_TIMEOUT_S = 1.0

CONFIRM_S = {
    **dict.fromkeys(("TopologyUnknown", "QueuesUnknown", "NodeInMaintenance", "QuorumCritical"), 4.0),
    **dict.fromkeys(("MirrorUnsynchronised", "MirrorSyncCritical", "ConsumersMissing", "LeadersUnbalanced"), 12.0),
    **dict.fromkeys(("BacklogGrowing", "QueueWithoutLeader", "QueueDown"), 4.0),
}
"""What every restart or move of leaders shows for a moment: told only if it stays."""


def watch(config: Mapping[str, Any], deployment: str, tell: Tell) -> None:
    """Tell looks at the cluster of `deployment`, for ever. The configuration is read for each look: secrets rotate."""

    def settings() -> Rabbitmq:
        layer: Rabbitmq = select(config, deployment).require("rabbitmq")
        return layer

    Watch(settings, tell).run()


class Watch(Rounds[Snapshot]):
    """One cluster being watched."""

    def __init__(self, settings: Callable[[], Rabbitmq], tell: Tell) -> None:
        super().__init__(tell)
        self._settings = settings
        self._known: dict[Host, str] = {}
        self._answers: object = None

    def look(self) -> Look:
        """See Rounds.look."""
        self._answers = self._pulse()
        settings = self._settings()
        snapshot = gather(settings, self._known)
        names = {host: snapshot.name_of(host) for host in snapshot.answers}
        self._known.update({host: name for host, name in names.items() if name != str(host)})
        findings = assess(snapshot, settings, snapshot.at, self.remember(snapshot))
        return Look(told(snapshot, findings, CONFIRM_S, []), weights(findings))

    def wait(self, pause_s: float) -> None:
        """Until the time is over, or a node answers otherwise than at the look before."""
        until = time.monotonic() + pause_s
        while (left_s := until - time.monotonic()) > 0:
            time.sleep(min(PULSE_S, left_s))
            if left_s > PULSE_S and self._pulse() != self._answers:
                return

    def _pulse(self) -> object:
        """How each node answers the smallest of questions."""
        try:
            settings = self._settings()
        except HaError as error:
            return str(error)
        quick = replace(settings, timeout_s=min(settings.timeout_s, PULSE_TIMEOUT_S))

        def ask(host: Host, attempt: Attempt) -> str:
            connect(host, attempt).close()
            api = Api(quick, host)
            attempt.afterwards(api.close)
            try:
                api.get("/api/whoami", attempt.left_s())
            except ApiError as error:
                return f"HTTP {error.status}"
            return "answers"

        answers = ask_all(quick.hosts, ask, quick.timeout_s)
        return {host: answer.kind if isinstance(answer, Silent) else answer for host, answer in answers.items()}


if __name__ == "__main__":
    serve(watch)
