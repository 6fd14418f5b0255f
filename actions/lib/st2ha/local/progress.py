"""Progress on a terminal: a spinner while an action runs, and each step of its plan as the journal tells it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from st2ha.local.journal import Follower
from st2ha.local.render import cell

SPINNER_AFTER_S = 0.3


@contextlib.contextmanager
def follow(journal: Path | None, run: str, name: str) -> Iterator[Callable[[], None]]:
    """A function to call again and again while the action runs; it draws on stderr."""
    progress = _Progress(journal, run, name, spinner=True)
    try:
        yield progress.tick
    finally:
        progress.close()


@contextlib.contextmanager
def follow_lines(journal: Path | None, run: str, name: str) -> Iterator[Callable[[], None]]:
    """The same without a spinner, for the actions of a workflow, of which several may run at once."""
    progress = _Progress(journal, run, name, spinner=False)
    try:
        yield progress.tick
    finally:
        progress.close()


class _Progress:
    def __init__(self, journal: Path | None, run: str, name: str, spinner: bool) -> None:
        self._follower = Follower(journal, run) if journal else None
        self._began = time.monotonic()
        self._name = name
        self._count = 0
        self._spinner = spinner
        self._status: Any = None
        self._console: Any = None

    def tick(self) -> None:
        if self._console is None and time.monotonic() - self._began < SPINNER_AFTER_S:
            return
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=sys.stderr)
            if self._spinner:
                self._status = self._console.status(self._name)
                self._status.start()
        self._tell_all()

    def _tell_all(self) -> None:
        for line in self._follower.new_lines() if self._follower else []:
            self._tell(line)

    def _tell(self, line: dict[str, Any]) -> None:
        from rich.text import Text

        if line["event"] == "plan":
            self._count = len(line.get("steps") or [])
            self._console.print(Text(f"plan: {cell(line.get('goal'))}", style="bold"))
        if line["event"] != "step":
            return
        what = f"{line.get('number')}/{self._count} {cell(line.get('verb'))} {cell(line.get('target'))}"
        note = f": {cell(line['note'])}" if line.get("note") else ""
        if line.get("state") == "started":
            if self._status is not None:
                self._status.update(Text(what))
        else:
            failed = line.get("state") == "failed"
            mark, style = ("\u2717", "red") if failed else ("\u2713", "green")
            self._console.print(Text(f"  {mark} {what}{note}", style=style))

    def close(self) -> None:
        if self._console is not None:
            self._tell_all()
        if self._status is not None:
            self._status.stop()
