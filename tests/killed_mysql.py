"""Carry out a switchover or failover and die in it: `python -m tests.killed_mysql CONFIG VERB NUMBER`.

SIGKILL comes right after the NUMBERth statement that changes something; what was being done is printed before. Without
so many statements the plan ends, and `done` is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import yaml

from st2ha.config import select
from st2ha.mysql import decide, decide_failover
from st2ha.mysql.act import Acting
from st2ha.mysql.client import Session
from st2ha.mysql.gather import gather
from st2ha.plan import Plan, execute

READING = ("SELECT", "SHOW", "CHECKSUM")


def main(path: str, verb: str, number: int) -> None:
    with open(path) as file:
        settings = select(yaml.safe_load(file)).require("mysql")
    left, rows = [number], Session.rows

    def dying(self: Session, statement: str, values: tuple[Any, ...] = ()) -> Any:
        answer = rows(self, statement, values)
        if not statement.startswith(READING):
            left[0] -= 1
            if left[0] == 0:
                print(statement[:60], flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        return answer

    before = gather(settings)
    plan = (decide.switchover if verb == "switchover" else decide_failover.failover)(before, settings)
    assert isinstance(plan, Plan), plan
    Session.rows = dying  # type: ignore[method-assign]
    outcome = execute(plan, Acting(settings, before).verbs(), 60)
    print(outcome.status, outcome.reason, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
