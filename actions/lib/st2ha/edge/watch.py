"""Watch the edge: a pulse says that something changed, a full check says what.

Run as a child process by st2ha.observer. Each address is asked twice a second on its marker's port, which nginx answers
by itself: what runs there, and for the VIP also which balancer has it. A pulse is a reason to look, never a fact; the
full look goes inside the balancers and comes every 15 s and soon after a change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from st2ha.config import Deployment, Host, select
from st2ha.edge.operations import check
from st2ha.edge.settings import Edge
from st2ha.edge.web import Question, ask
from st2ha.errors import HaError
from st2ha.observer import Tell, serve
from st2ha.probe import Attempt, Silent, ask_all, connect
from st2ha.report import Report
from st2ha.rounds import Look, Rounds, weights

PULSE_S = 0.5
PULSE_TIMEOUT_S = 1.0
CONFIRM_S = dict.fromkeys(
    ("ConfigNotRunning", "GroupsDiffer", "BalancersDiffer", "PathBroken", "BalancerUnread", "UpstreamMemberDown"), 4.0
)
"""What a switch, a reload or a restart shows for a moment: told only if it stays."""


def watch(config: Mapping[str, Any], deployment: str, tell: Tell) -> None:
    """Tell looks at the edge of `deployment`, for ever. The configuration is read for each look."""
    Watch(lambda: select(config, deployment), tell).run()


class Watch(Rounds[Any]):
    """One edge being watched."""

    def __init__(self, deployment: Callable[[], Deployment], tell: Tell) -> None:
        super().__init__(tell)
        self._deployment = deployment
        self._answers: object = None

    def look(self) -> Look:
        """See Rounds.look."""
        at, self._answers = time.time(), self._pulse()
        report = check(self._deployment())
        rows = [finding.as_dict() for finding in report.findings]
        found = roles(report)
        told = {"at": at, "findings": rows, "confirm_s": CONFIRM_S, "roles": found}
        return Look(told, (weights(report.findings), str(found)))

    def wait(self, pause_s: float) -> None:
        """Until the time is over, or an address answers otherwise than at the look before."""
        until = time.monotonic() + pause_s
        while (left_s := until - time.monotonic()) > 0:
            time.sleep(min(PULSE_S, left_s))
            if left_s > PULSE_S and self._pulse() != self._answers:
                return

    def _pulse(self) -> object:
        """How each address answers the smallest of questions."""
        try:
            edge: Edge = self._deployment().require("edge")
        except HaError as error:
            return str(error)
        port = edge.nginx.marker_port if edge.nginx is not None else edge.port
        questions = [Question((name,), address, port, "/__generation") for name, address in edge.addresses.items()]
        open_s = min(edge.timeout_s, PULSE_TIMEOUT_S)

        def heard(question: Question, attempt: Attempt) -> object:
            connect(Host(question.address, edge.port), attempt).close()
            return ask(question, attempt).body if edge.nginx is not None else "accepts"

        answers = ask_all(questions, heard, open_s)
        return {each.about: answer.kind if isinstance(answer, Silent) else answer for each, answer in answers.items()}


def roles(report: Report) -> list[dict[str, Any]]:
    """Who has the VIP, as a row for st2ha.watch.update_role; none while nobody or two of them have it."""
    holders = report.facts.get("holders") or []
    if len(holders) != 1:
        return []
    return [{"subject": "edge/vip", "role": "holder", "name": holders[0], "term": None}]


if __name__ == "__main__":
    serve(watch)
