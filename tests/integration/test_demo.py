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

DEADLINE_S = 290
ROW = r"│ (\w+: [\w, ]+?) +│ +(\S+)(?: s)? │ +(\S+)(?: s)? │ +(\S+) s │ +\d+ │ +(\d+) │ +(\d+) │"
"""Of the closing table: title, finding_changed, role_changed, outage, acknowledged, lost."""


class Run:
    """The demo in a process of its own, its output read as it comes."""

    def __init__(self, *services: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo", *services],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
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
        """Processes, directories and nft tables of the demo's clusters that are still there."""
        found = []
        for directory in self.directories():
            found += [str(directory)] if directory.exists() else []
            found += [f"process {pid}" for pid in _marked(directory)]
        if Network.limitation() is None:
            tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10, check=True)
            ports = re.findall(r" of 127\.0\.0\.1:(\d+)", self.text)
            found += [line for line in tables.stdout.splitlines() if line.split("_")[-1] in ports]
        return found

    def directories(self) -> list[Path]:
        """Of its clusters."""
        self.await_text(r"(export ST2HA_CONFIG)")
        return [Path(name) for name in re.findall(r" s, in (\S+)", self.text)]


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


@pytest.mark.timeout(300)
def test_it_breaks_and_moves_each_service_without_a_lost_write() -> None:
    demo = Run()
    assert demo.end() == 0, demo.text
    for service, verb in (("mongodb", "switchover"), ("mysql", "failover"), ("rabbitmq", "drain_node")):
        assert f"$ bin/st2ha sensor {service}_sensor" in demo.text
        assert f"$ bin/st2ha {service}_{verb} " in demo.text
    for words in ("CRITICAL NoPrimary mongodb", "CRITICAL NoPrimary mysql", "WARNING NodeDown", "ha.role_changed"):
        assert words in demo.text
    rows = re.findall(ROW, demo.text)
    assert len(rows) == 6, demo.text
    assert [lost for *_, lost in rows] == ["0"] * 6
    assert all(int(acknowledged) > 20 for *_, acknowledged, _ in rows)
    assert all(float(outage) > 0 for _, _, _, outage, *_ in rows)
    assert len(demo.directories()) == 3
    assert demo.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_leaves_nothing(number: signal.Signals) -> None:
    demo = Run("mongodb")
    demo.await_text(r"\$ kill -9 (\d+)")
    assert all(_marked(directory) for directory in demo.directories()), "nothing runs: the test would prove nothing"
    demo.process.send_signal(number)
    assert demo.end() == 130, demo.text
    assert "interrupted" in demo.text
    assert "Traceback" not in demo.text
    assert demo.left_behind() == []


def test_a_service_that_is_none_is_named() -> None:
    demo = Run("redis")
    assert demo.end() == 2
    assert "there is no service 'redis': use some of mongodb, mysql, rabbitmq" in demo.text
