"""Stands in for systemctl on a lab node: `python -m lab.stackstorm_services DIRECTORY start|stop|is-active NAME...`.

DIRECTORY holds a directory for each node; $ST2HA_NODE names this one. A service has 15 s to end by itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from lab.process import MARKER

ROOT = Path(__file__).resolve().parents[1]
STOP_S = 15.0


def running(directory: Path, name: str) -> int | None:
    """The process of a service, None if it does not run."""
    try:
        pid = int((directory / f"{name}.pid").read_text())
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if state != "Z" and name.encode() in words else None


def start(directory: Path, *names: str) -> None:
    """Start those that do not run."""
    for name in [each for each in names if running(directory, each) is None]:
        with open(directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lab.stackstorm_standin", name, str(directory)], cwd=ROOT,
                env={**os.environ, MARKER: str(directory.parent)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        (directory / f"{name}.pid").write_text(str(process.pid))


def stop(directory: Path, *names: str) -> None:
    """End them, all at once as systemctl does; by force after STOP_S."""
    end = time.monotonic() + STOP_S
    _signal(directory, names, signal.SIGTERM)
    while left := [name for name in names if running(directory, name) is not None]:
        if time.monotonic() > end:
            _signal(directory, left, signal.SIGKILL)
        time.sleep(0.01)


def _signal(directory: Path, names: Iterable[str], number: signal.Signals) -> None:
    for pid in (running(directory, name) for name in names):
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0], os.environ["ST2HA_NODE"])
    if arguments[1] == "is-active":
        states = ["inactive" if running(directory, name) is None else "active" for name in arguments[2:]]
        print("\n".join(states))
        return 0 if "active" in states else 3
    {"start": start, "stop": stop}[arguments[1]](directory, *arguments[2:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
