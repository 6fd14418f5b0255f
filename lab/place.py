"""A directory whose servers end with the process that made it, whatever way that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.cluster import ROOT
from lab.ports import state_dir
from lab.state import dispose


class Place:
    """`directory` is empty until _claim(); __exit__ ends all servers that have it as their owner and deletes it."""

    def __init__(self) -> None:
        self.directory = Path()
        self._guardian: subprocess.Popen[bytes] | None = None

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
