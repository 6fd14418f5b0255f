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
from pathlib import Path

from lab.cluster import ROOT
from lab.process import MARKER

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


def start(directory: Path, name: str) -> None:
    """Start unless it runs."""
    if running(directory, name) is None:
        with open(directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "lab.stackstorm_standin", name, str(directory)], cwd=ROOT,
                env={**os.environ, MARKER: str(directory.parent)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        (directory / f"{name}.pid").write_text(str(process.pid))


def stop(directory: Path, name: str) -> None:
    """End it, by force after STOP_S."""
    pid, end = running(directory, name), time.monotonic() + STOP_S
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while running(directory, name) is not None:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0], os.environ["ST2HA_NODE"])
    if arguments[1] == "is-active":
        states = ["inactive" if running(directory, name) is None else "active" for name in arguments[2:]]
        print("\n".join(states))
        return 0 if "active" in states else 3
    for name in arguments[2:]:
        {"start": start, "stop": stop}[arguments[1]](directory, name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
