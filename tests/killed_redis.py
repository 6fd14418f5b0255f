"""Carry out a switchover and die in it: `python -m tests.killed_redis CONFIG MEMBER VERB`; SIGKILL comes after VERB."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import yaml

from st2ha.config import select
from st2ha.plan import Journal
from st2ha.redis import operations


def main(path: str, member: str, verb: str) -> None:
    write = Journal.write

    def dying(self: Journal, **entry: Any) -> None:
        write(self, **entry)
        if (entry.get("verb"), entry.get("state")) == (verb, "done"):
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.write = dying  # type: ignore[method-assign]
    with open(path) as file:
        result = operations.switchover(select(yaml.safe_load(file)), member)
    print(result["summary"], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
