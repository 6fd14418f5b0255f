"""One server process: start, stop, kill, hang, resume, and whether it lives.

The process is known by a pid file (pid and kernel start time, so that a reused pid is never taken for the server).
Therefore a later process, such as the next ``python -m lab`` command, handles the same server.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError, ServerDied
from lab.wait import wait_for

# In the environment of every server and its children: the cluster's directory. sweep() finds them by it.
MARKER = "ST2HA_LAB_DIR"


def _stat(pid: int) -> tuple[str, int] | None:
    """The state letter and start time (clock ticks since boot) of a process, None if there is none or a mere zombie.

    A zombie with threads left is no mere one: it still holds its listening sockets, and connections succeed.
    """
    try:
        # The command name is in parentheses and may hold spaces: count from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in "ZX" and len(os.listdir(f"/proc/{pid}/task")) <= 1:
            return None
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


class Server:
    """A server process in a directory of its own.

    ``command`` is its argv, ``directory`` its working directory (log and pid file are there), ``uid`` the user it
    runs as (root only; None: ours), ``owner`` the cluster's directory, by which orphans are found.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        owner: Path,
        uid: int | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.directory = directory
        self.owner = owner
        self.uid = uid
        self.env = dict(env or {})
        self.log = directory / "server.log"
        self._pid_file = directory / "server.json"
        self._child: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Server({self.name}, {self.state}, pid={self.pid})"

    def start(self) -> None:
        """Start the process; does nothing if it runs. It may not be ready yet: waiting is the service's part."""
        if self.alive():
            return
        with open(self.log, "ab") as log:
            self._child = subprocess.Popen(
                self._as_user() + self.command,
                cwd=self.directory,
                env={**os.environ, **self.env, MARKER: str(self.owner)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us, not for the server
            )
        stat = _stat(self._child.pid)
        draft = self._pid_file.with_suffix(".new")
        draft.write_text(json.dumps({"pid": self._child.pid, "started": stat[1] if stat else 0}))
        draft.replace(self._pid_file)

    def stop(self, deadline_s: float = 15) -> None:
        """End the process with SIGTERM (a hung one is resumed first). Raises WaitTimeout if it stays."""
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)
        wait_for(lambda: not self.alive(), deadline_s, f"{self.name} to end after SIGTERM", interval_s=0.02)

    def kill(self) -> None:
        """End the process and its group with SIGKILL, and wait until all are gone: children, too, may listen."""
        group = self.pid
        self._signal(signal.SIGKILL)
        gone = f"{self.name} to vanish after SIGKILL"
        wait_for(lambda: not self.alive() and not (group and _of_group(group)), 10, gone, interval_s=0.01)

    def hang(self) -> None:
        """SIGSTOP: its sockets accept (the kernel does) and nothing answers. Raises LabError if it does not run."""
        self._require("hang")
        self._signal(signal.SIGSTOP)
        wait_for(lambda: self.state == "hung", 5, f"{self.name} to halt after SIGSTOP", interval_s=0.01)

    def resume(self) -> None:
        """SIGCONT after ``hang``; harmless otherwise."""
        self._signal(signal.SIGCONT)

    def alive(self) -> bool:
        """Whether the process exists, running or hung."""
        return self.state != "dead"

    @property
    def state(self) -> str:
        """``running``, ``hung`` or ``dead``."""
        pid = self.pid
        stat = _stat(pid) if pid is not None else None
        if self._child is not None:
            self._child.poll()  # after the look: what is said to be dead is no zombie, which would still take signals
        if stat is None:
            return "dead"
        return "hung" if stat[0] in "Tt" else "running"

    @property
    def pid(self) -> int | None:
        """The pid, None if the process is gone."""
        return recorded_pid(self._pid_file)

    def check_alive(self) -> None:
        """Raise ServerDied with the end of the log unless the process exists."""
        if not self.alive():
            code = self._child.returncode if self._child else "unknown"
            raise ServerDied(f"{self.name} ended (exit code {code}); {self.log} says:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the log."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(line[:400] for line in text.splitlines()[-lines:])

    def _require(self, verb: str) -> None:
        if not self.alive():
            raise LabError(f"cannot {verb} {self.name}: it does not run")

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # SIGTERM goes to the server, which ends its children in order; the rest concerns all of them.
            (os.kill if number == signal.SIGTERM else os.killpg)(pid, number)

    def _as_user(self) -> list[str]:
        if self.uid is None:
            return []
        # dac_read_search lets the user pass directories of mode 0700 (ours, pytest's) on the way to its files.
        return [
            "setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--",
        ]  # fmt: skip


def recorded_pid(pid_file: Path) -> int | None:
    """The pid in a pid file if that very process (same start time) still exists."""
    try:
        record = json.loads(pid_file.read_text())
    except FileNotFoundError:
        return None
    stat = _stat(record["pid"])
    return int(record["pid"]) if stat is not None and stat[1] == record["started"] else None


def _of_group(group: int) -> list[int]:
    """The processes of a group that still do something."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(ProcessLookupError):  # gone since
            if os.getpgid(pid) == group and _stat(pid) is not None:
                found.append(pid)
    return found


def sweep(owner: Path, deadline_s: float = 10) -> None:
    """SIGKILL every process of the cluster in ``owner``: by pid file, and by the marker in its environment.

    The marker also finds what a dying parent started but did not record. Raises WaitTimeout if something survives.
    """
    wait_for(lambda: not _kill_round(owner) and _still_empty(owner), deadline_s, f"the servers of {owner} to vanish")


def _still_empty(owner: Path) -> bool:
    """Look again: a child of a dying parent has the marker only after its exec."""
    time.sleep(0.05)
    return not _kill_round(owner)


def _kill_round(owner: Path) -> bool:
    """Signal all that is there; whether there was anything."""
    groups = {pid for file in owner.glob("*/server.json") if (pid := recorded_pid(file)) is not None}
    pids = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _has_marker(pid, owner)}
    found = {pid for pid in groups | pids if _stat(pid) is not None}
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if pid in groups else os.kill)(pid, signal.SIGKILL)
    return bool(found)


def _has_marker(pid: int, owner: Path) -> bool:
    if pid == os.getpid():
        return False
    try:
        return f"{MARKER}={owner}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
