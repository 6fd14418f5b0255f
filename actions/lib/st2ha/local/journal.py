"""The journal of writing actions: one JSON object a line, appended by the runner and by the plans themselves.

Lines: {"run", "at", "event": "run" | "plan" | "step" | "outcome" | "end", ...}. A line is written with one write(), so
that several processes may append; a line that a crash cut short is skipped when it is read.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

TAIL_BYTES = 16 * 1024 * 1024


def new_run_id() -> str:
    """Sorts by time, and no two are the same."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + os.urandom(3).hex()


def now() -> str:
    """The time as the journal writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def append(path: Path, run: str, event: str, **fields: Any) -> None:
    """Add one line."""
    line = json.dumps({"run": run, "at": now(), "event": event, **fields}, default=str) + "\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


@dataclass
class Run:
    """All lines of one run."""

    id: str
    started: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    steps: dict[int, dict[str, Any]] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)
    end: dict[str, Any] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        if line["event"] == "run":
            self.started = line
        elif line["event"] == "plan":
            self.plan = line
        elif line["event"] == "step":
            number = line.get("number")
            if isinstance(number, int):
                self.steps[number] = {**self.steps.get(number, {}), **line}
        elif line["event"] == "outcome":
            self.outcome = line
        elif line["event"] == "end":
            self.end = line

    def as_dict(self) -> dict[str, Any]:
        """The run as `st2ha history --json` shows it."""
        return {
            "run": self.id,
            "at": self.started.get("at") or self.plan.get("at") or "",
            "action": self.started.get("action") or self.plan.get("action") or "",
            "parent": self.started.get("parent"),
            "user": self.started.get("user") or "",
            "parameters": self.started.get("parameters") or {},
            "goal": self.plan.get("goal") or "",
            "steps": [
                {key: value for key, value in step.items() if key not in ("run", "event")}
                for _, step in sorted(self.steps.items())
            ],
            "status": self.status,
            "reason": self.outcome.get("reason") or "",
            "exit": self.end.get("exit"),
            "summary": self.end.get("summary") or "",
        }

    @property
    def status(self) -> str:
        """done, stopped, failed; "unfinished" where the end is missing: it runs still, or it was killed."""
        if self.outcome:
            return str(self.outcome.get("status"))
        if not self.end:
            return "unfinished"
        return "failed" if self.end.get("failed") else "done"


def read(path: Path, last: int | None = None) -> list[Run]:
    """The runs in the order in which they began; only the last so many."""
    runs: dict[str, Run] = {}
    for line in _lines(path):
        run = str(line.get("run"))
        runs.setdefault(run, Run(run)).add(line)
    found = list(runs.values())
    return found[-last:] if last else found


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            content = file.read()
    except FileNotFoundError:
        return
    for raw in content.split(b"\n"):
        line = _parse(raw)
        if line is not None:
            yield line


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "run" in line and "event" in line else None


class Follower:
    """Reads the lines of one run while it is being written."""

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new_lines(self) -> list[dict[str, Any]]:
        """What was added since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(content)
        *whole, self._rest = (self._rest + content).split(b"\n")
        lines = (_parse(raw) for raw in whole)
        return [line for line in lines if line is not None and line["run"] == self._run]
