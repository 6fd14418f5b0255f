"""`python -m demo`, as `make demo` runs it: to its end, and interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lab.cluster import ROOT
from lab.network import Network
from lab.process import MARKER

DEADLINE_S = 150


class Run:
    """The demo in a process of its own, its output read as it comes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'actions' / 'lib'}", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )  # fmt: skip
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line

    def await_text(self, pattern: str) -> str:
        """The first match of `pattern`'s group, once it is printed."""
        deadline = time.monotonic() + DEADLINE_S
        while not (match := re.search(pattern, self.text)):
            assert time.monotonic() < deadline and self.process.poll() is None, self.text
            time.sleep(0.05)
        return match[1]

    def end(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self._reader.join(10)
        return code

    def left_behind(self) -> list[str]:
        """Processes, directory and nft table of the demo's cluster that are still there."""
        directory = self.await_directory()
        port = re.search(r"replica set rs0 of 127\.0\.0\.1:(\d+)", self.text)
        assert port is not None
        found = [name for name in (str(directory),) if directory.exists()]
        found += [f"process {pid}" for pid in _marked(directory)]
        if Network.limitation() is None:
            tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10, check=True)
            found += [line for line in tables.stdout.splitlines() if line.endswith(f"st2ha_lab_{port[1]}")]
        return found

    def await_directory(self) -> Path:
        match = re.search(r"ST2HA_CONFIG=(\S+)/ha\.yaml", self.text)
        return Path(match[1] if match else self.await_text(r"ST2HA_CONFIG=(\S+)/ha\.yaml"))


def _marked(directory: Path) -> list[int]:
    """All processes that carry the cluster's marker, and its guardian."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{MARKER}={directory}".encode() in environment or str(directory).encode() in words:
            found.append(int(path.name))
    return found


@pytest.fixture
def demo() -> Run:
    return Run()


def test_it_shows_a_crash_and_a_planned_switch_without_a_lost_write(demo: Run) -> None:
    assert demo.end() == 0, demo.text
    for line in ("$ bin/st2ha check", "$ bin/st2ha sensor mongodb_sensor", "$ bin/st2ha mongodb_switchover member="):
        assert line in demo.text
    assert "CRITICAL NoPrimary" in demo.text
    assert "ha.role_changed" in demo.text
    crash, planned = _row(demo.text, r"acknowledged writes lost")
    assert (crash, planned) == ("0", "0")
    finding, _ = _row(demo.text, r"detection: finding_changed after the event")
    assert float(finding.split()[0]) < 15
    outages = [float(cell.split()[0]) for cell in _row(demo.text, r"write outage \(retrying client, w: majority\)")]
    assert 0 < outages[1] < outages[0]
    assert all(int(cell) > 20 for cell in _row(demo.text, r"acknowledged writes"))
    assert demo.left_behind() == []


def _row(text: str, name: str) -> tuple[str, str]:
    """The two values of a row of the closing table."""
    match = re.search(rf"│ {name} +│ +([^│]+?) +│ +([^│]+?) +│", text)
    assert match is not None, text
    return match[1], match[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_leaves_nothing(demo: Run, number: signal.Signals) -> None:
    demo.await_text(r"\$ kill -9 (\d+)")
    assert _marked(demo.await_directory()), "nothing runs: the test would prove nothing"
    demo.process.send_signal(number)
    assert demo.end() == 130, demo.text
    assert "interrupted" in demo.text
    assert "Traceback" not in demo.text
    assert demo.left_behind() == []
