"""Carry out partition_apply and die in it: `python -m tests.killed_partition CONFIG NUMBER NAME=VALUE...`.

SIGKILL comes right after the NUMBERth step was done; without so many steps the plan ends, and its summary is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import yaml

from st2ha.config import select
from st2ha.partition.changes import apply
from st2ha.plan import Journal


def main(path: str, number: int, words: list[str]) -> None:
    with open(path) as file:
        deployment = select(yaml.safe_load(file), "lab")
    left = [number]

    def dying(self: Journal, **entry: Any) -> None:
        if entry.get("state") == "done":
            left[0] -= 1
            if left[0] == 0:
                print(entry["verb"], entry["target"], flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    Journal.write = dying  # type: ignore[method-assign]
    given: dict[str, Any] = dict(word.split("=", 1) for word in words)
    print(apply(deployment, **given)["summary"], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
