"""A sensor as a process, as a test sees it: what it tells, what it saves, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.wait import wait_for

PACK = Path(__file__).resolve().parents[1]
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"
LIBRARY = PACK / "actions" / "lib"
STACKSTORMS = PACK / ".venv-st2" / "bin" / "python"
NEWEST = PACK / ".pymongo-newest"
"""A directory to put before the libraries of the pack's own Python."""
WORLDS = {
    "newest": (f"{NEWEST}:{LIBRARY}", sys.executable),
    "stackstorm": (str(LIBRARY), str(STACKSTORMS), "--eventlet"),
}


class Sensor:
    """Runs of the sensor, one after the other, with one datastore; `events` are those of all runs."""

    def __init__(self, service: str, world: str, config: Path, state: Path) -> None:
        self._path, self._python, *self._options = WORLDS[world]
        self._service, self._config, self._state = service, config, state
        self.events: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    def start(self, deadline_s: float = 20) -> None:
        env = {**os.environ, "PYTHONPATH": self._path, "ST2HA_STATE_DIR": str(self._state)}
        command = [self._python, "-c", MAIN, str(PACK), "sensor", f"{self._service}_sensor", "--json"]
        command += ["--config", str(self._config), *self._options]
        self._process = process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

        def read() -> None:
            assert process.stdout is not None
            self.events.extend(json.loads(line) for line in process.stdout)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self._readers.append(reader)
        wait_for(self.saved, deadline_s, "the sensor's first look to be saved")

    def end(self, signum: int = signal.SIGTERM) -> None:
        """End it and wait until its observer is gone, too."""
        assert self._process is not None
        family = _descendants(self._process.pid)
        for pid in family[1:2] if signum == signal.SIGKILL else []:
            os.kill(pid, signum)  # the sensor's own process; st2ha, which started it, sees to it
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        finally:
            for pid in filter(_runs, family[:2]):  # leave nothing behind; an observer goes by itself
                os.kill(pid, signal.SIGKILL)
        self._process = None
        wait_for(lambda: not any(map(_runs, family)), 10, "the observer to go with its sensor")

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def saved(self) -> dict[str, Any] | None:
        """The state in the datastore."""
        key = f"ha.{self._service.capitalize()}Sensor:watch.lab"
        command = [sys.executable, "-c", MAIN, str(PACK), "key", "get", key]
        env = {**os.environ, "PYTHONPATH": str(LIBRARY), "ST2HA_STATE_DIR": str(self._state)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)
        state: dict[str, Any] | None = json.loads(done.stdout) if done.stdout.startswith("{") else None
        return state

    def primary(self) -> str:
        """The one in the saved state."""
        roles = (self.saved() or {}).get("roles", {})
        return next((str(role["name"]) for role in roles.values()), "")

    def told(self, *codes: str) -> list[tuple[str, str]]:
        """(change, code) of all findings told so far; of these codes alone if some are given."""
        payloads = self._payloads("ha.finding_changed")
        pairs = [(payload["change"], payload["code"]) for payload in payloads]
        return [pair for pair in pairs if not codes or pair[1] in codes]

    def moves(self) -> list[tuple[str, str]]:
        """(former, current) of all changes of the primary told so far."""
        return [(payload["former"], payload["current"]) for payload in self._payloads("ha.role_changed")]

    def _payloads(self, trigger: str) -> list[dict[str, Any]]:
        """Each change once: one that was told and not yet saved when its sensor ended is told again, with its id."""
        found: dict[str, dict[str, Any]] = {}
        for event in list(self.events):
            if event["trigger"] == trigger:
                payload = event["payload"]
                first = found.setdefault(payload["id"], payload)
                assert all(first.get(name) == payload.get(name) for name in ("change", "code", "subject", "current"))
        return list(found.values())


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        found += [int(child) for child in text.split()]
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def sensor_of(service: str, world: str, config: Path, state: Path) -> Iterator[Sensor]:
    """The sensor of a service in one of the WORLDS, not started yet; it is ended afterwards."""
    needed = {"newest": NEWEST, "stackstorm": STACKSTORMS}[world]
    if not needed.exists():
        pytest.skip(f"no {needed}: run make setup")
    one = Sensor(service, world, config, state)
    yield one
    if one.alive():
        one.end()
