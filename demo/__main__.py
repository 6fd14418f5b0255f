"""`python -m demo`: start a replica set, crash its primary, switch back by plan, and show what it cost."""

from __future__ import annotations

from lab import venv  # noqa: F401

# isort: split

import signal
import sys
import time
from types import FrameType

from rich.console import Console

from demo.story import StepFailed, Story, check_result, table
from lab.errors import LabError
from lab.install import install_mongodb
from lab.mongodb import MongoCluster

ELECTION_MS, HEARTBEAT_MS = 2500, 500
"""Inside the 3 s after which StackStorm gives up; MongoDB's own defaults are 10 s and 2 s."""


def main() -> int:
    """0; 1 with one sentence if a write was lost or a step failed; 130 if interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    try:
        _demo(console)
    except (LabError, StepFailed) as error:
        console.print(f"demo failed: {error}", style="bold red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; all that it started is gone", file=sys.stderr)
        return 130
    console.print(f"{time.monotonic() - began:.0f} s; all that was started is gone", style="dim")
    return 0


def _demo(console: Console) -> None:
    install_mongodb()
    console.print("three mongod with authentication are being started ...", style="dim")
    began = time.monotonic()
    with MongoCluster(members=3, election_timeout_ms=ELECTION_MS, heartbeat_ms=HEARTBEAT_MS) as rs:
        hosts = ", ".join(rs.hosts)
        console.print(f"replica set rs0 of {hosts} is up after {time.monotonic() - began:.1f} s", highlight=False)
        acts = Story(rs, console).run()
    console.print()
    console.print(table(acts))
    check_result(acts)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, once: a second signal must not stop the cleaning up."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
