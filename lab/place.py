"""A directory whose servers end with the process that made it, whatever way that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TypeVar

from lab.cluster import ROOT
from lab.errors import LabError
from lab.ports import state_dir
from lab.state import dispose

P = TypeVar("P", bound="Place")


class Place:
    """`directory` is empty outside the `with`, whose end ends all servers that have it as their owner and deletes it.

    A subclass starts its servers in _up(); `kind` begins the directory's name.
    """

    kind = "place"

    def __init__(self) -> None:
        self.directory = Path()
        self._guardian: subprocess.Popen[bytes] | None = None

    @staticmethod
    def limitation() -> str | None:
        """Why it cannot run here, None if it can."""
        return None

    def __enter__(self: P) -> P:
        why = self.limitation()
        if why:
            raise LabError(why)
        self._claim(f"{self.kind}-")
        try:
            self._up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        dispose(self.directory)
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait(10)

    def _claim(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=prefix, dir=state_dir()))
        command = [sys.executable, "-m", "lab.guardian", str(os.getpid()), str(self.directory)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._guardian = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)  # type: ignore[call-overload]

    def _up(self) -> None:
        raise NotImplementedError
