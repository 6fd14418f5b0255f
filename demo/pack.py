"""The pack as a user drives it: `bin/st2ha` as a subprocess, and its sensor's events as they come."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

import yaml

from lab.cluster import ROOT, Cluster
from lab.errors import LabError, NotYet
from lab.process import MARKER
from lab.wait import wait_for

ST2HA = ROOT / "bin" / "st2ha"
MONGODB_SENSOR = "mongodb_sensor"


@dataclass(frozen=True)
class Event:
    """One dispatch of the sensor; `at` in epoch seconds."""

    at: float
    trigger: str
    payload: dict[str, Any]


class Pack:
    """`bin/st2ha` with the configuration of a lab cluster, and a state directory inside the cluster's.

    Everything it starts carries the cluster's marker: whatever way we end, it ends with the cluster.
    """

    def __init__(self, cluster: Cluster, state: str = "st2ha") -> None:
        self.state = cluster.directory / state
        self.config = cluster.directory / "ha.yaml"
        self.environment = {
            **os.environ,
            "ST2HA_CONFIG": str(self.config),
            "ST2HA_STATE_DIR": str(self.state),
            MARKER: str(cluster.directory),
        }

    def run(self, *words: str, deadline_s: float = 90, **options: Any) -> int:
        """Run one command to its end; its exit code. A group of its own: Ctrl-C reaches us, and we end it."""
        process = subprocess.Popen([str(ST2HA), *words], env=self.environment, start_new_session=True, **options)
        try:
            return process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise LabError(f"`bin/st2ha {' '.join(words)}` did not end within {deadline_s:g} s") from None
        finally:
            end(process)

    def quiet(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The same with `--json`: the exit code and the result."""
        done = subprocess.run(
            [str(ST2HA), *words, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)


class Sensor:
    """`bin/st2ha sensor NAME --json`, a context manager; entered, it watches already.

    `tell` is called with each event as it comes, in a thread.
    """

    def __init__(
        self, pack: Pack, name: str = MONGODB_SENSOR, tell: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._pack, self.name, self._tell = pack, name, tell
        self.events: list[Event] = []
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Sensor:
        log = self._pack.config.parent / f"{self.name}.log"
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(ST2HA), "sensor", self.name, "--json"], env=self._pack.environment, text=True,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        try:
            wait_for(lambda: self._has_looked(log), 20, "the sensor's first look", interval_s=0.1)
        except BaseException:
            end(self.process)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process is not None:
            end(self.process)

    def first(self, trigger: str, since: float, deadline_s: float, **payload: str) -> Event:
        """The first event of a trigger after `since` whose payload has these values. Raises WaitTimeout."""

        def found() -> Event | None:
            for event in list(self.events):
                if event.at >= since and event.trigger == trigger and payload.items() <= event.payload.items():
                    return event
            return None

        return wait_for(found, deadline_s, f"the sensor to dispatch {trigger}", interval_s=0.01)

    def _has_looked(self, log: Path) -> bool:
        """It has kept what it saw in the datastore: only changes from then on are dispatched."""
        if self.process is not None and self.process.poll() is not None:
            raise LabError(f"the sensor ended: {log.read_text()[-500:]}")
        try:
            with contextlib.closing(sqlite3.connect(self._pack.state / "datastore.sqlite3")) as base:
                own = "".join(word.capitalize() for word in self.name.split("_"))
                row = base.execute("SELECT value FROM value WHERE name LIKE ?", (f"ha.{own}:%",)).fetchone()
        except sqlite3.Error as error:
            raise NotYet(str(error)) from None
        return row is not None

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            row = json.loads(line)
            event = Event(row["at"], row["trigger"], row["payload"])
            self.events.append(event)
            self._tell(event)


def write_config(path: Path, clusters: list[Cluster]) -> None:
    """One deployment, `lab`, with a layer for each cluster; names files of secrets, holds none."""
    layers = {name: value for cluster in clusters for name, value in cluster.deployment().items()}
    path.write_text(yaml.safe_dump({"deployments": [layers], "default_deployment": "lab"}, sort_keys=False))


def end(process: subprocess.Popen[Any], grace_s: float = 5) -> None:
    """Ask a command to end, then make it. Can be repeated; a second Ctrl-C does not stop us from doing it."""
    if process.poll() is None:
        process.terminate()
        deadline = time.monotonic() + grace_s
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
