"""The parent side of an action's process: start it, feed it, wait with a deadline, stop it.

A child has its own session, so that Ctrl-C reaches st2ha alone, which forwards it once as SIGTERM: a plan then stops
cleanly between two steps, and st2ha waits for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

TICK_S = 0.05
GRACE_S = 20.0


@dataclass(frozen=True)
class Outcome:
    """What became of an action. `status` is StackStorm's word: succeeded, failed, timeout, abandoned."""

    status: str
    result: Any = None
    exit_code: int = 0
    error: str = ""
    traceback: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == "succeeded"


class Children:
    """The processes that run now. A signal is forwarded to each of them once."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.stopped_by: int | None = None
        self.stopped = threading.Event()
        self.cleaning = False

    @property
    def stopping(self) -> bool:
        """A signal came, and nothing has failed because of it yet."""
        return self.stopped_by is not None and not self.cleaning

    def clean_up(self) -> None:
        """A task has failed because of the signal: what runs from now on is cleanup, which is left alone."""
        self.cleaning = True

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.add(process)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._processes.discard(process)

    def stop(self, signum: int) -> None:
        """Ask every running process to end; later signals change nothing."""
        if self.stopped_by is not None:
            return
        self.stopped_by = signum
        for process in list(self._processes):
            if process.poll() is None:
                process.terminate()
        self.stopped.set()

    @contextlib.contextmanager
    def forwarding(self) -> Iterator[None]:
        """Within it SIGINT and SIGTERM are forwarded instead of ending this process."""

        def handler(signum: int, frame: FrameType | None) -> None:
            self.stop(signum)

        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)


def run_child(
    request: dict[str, Any],
    env: dict[str, str],
    children: Children,
    timeout_s: float,
    grace_s: float = GRACE_S,
    on_tick: Callable[[], None] | None = None,
) -> Outcome:
    """Run one action in a process of its own; parameters and configuration travel through its stdin."""
    process, read_fd, write_fd = start("st2ha.local.child", [], env, children)
    answer: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(read_fd, answer), daemon=True)
    reader.start()
    try:
        send(process, {**request, "result_fd": write_fd})
        timed_out = not _wait(process, reader, timeout_s, grace_s, on_tick)
    finally:
        children.remove(process)
    reader.join(timeout=1.0)
    if timed_out:
        return Outcome("timeout", exit_code=process.returncode, error=f"it did not end within {timeout_s:g} s")
    return _outcome(process.returncode, b"".join(answer), children.stopped_by)


def start(
    module: str, args: list[str], env: dict[str, str], children: Children
) -> tuple[subprocess.Popen[bytes], int, int]:
    """Start a module of this package: (process, our end of its pipe, its end's number in the child)."""
    read_fd, write_fd = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", module, *args],
            stdin=subprocess.PIPE,
            stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
            pass_fds=(write_fd,),
            env=env,
            start_new_session=True,
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    children.add(process)
    if children.stopping:
        process.terminate()
    return process, read_fd, write_fd


def _read_all(fd: int, into: list[bytes]) -> None:
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        while True:
            part = pipe.read(65536)
            if not part:
                return
            into.append(part)


def send(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    """Give the child its request, and the end of it."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode())
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _wait(
    process: subprocess.Popen[bytes],
    reader: threading.Thread,
    timeout_s: float,
    grace_s: float,
    on_tick: Callable[[], None] | None,
) -> bool:
    """True where the process ended by itself. Past its deadline it is asked to end, and then made to."""
    if _ended(process, reader, timeout_s, on_tick):
        return True
    process.terminate()
    if not _ended(process, reader, grace_s, on_tick):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def _ended(
    process: subprocess.Popen[bytes], reader: threading.Thread, seconds: float, on_tick: Callable[[], None] | None
) -> bool:
    """Whether the process ends in time. Its pipe is waited for first: that wakes us at once, wait() polls."""
    deadline = time.monotonic() + seconds
    while True:
        left = max(0.0, deadline - time.monotonic())
        if reader.is_alive():
            reader.join(min(TICK_S, left))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0 if reader.is_alive() else min(TICK_S, left))
            return True
        if left <= 0:
            return False
        if on_tick:
            on_tick()


def _outcome(exit_code: int, answer: bytes, stopped_by: int | None) -> Outcome:
    if not answer:
        if exit_code < 0:
            name = signal.Signals(-exit_code).name
            why = "stopped before it had a result" if stopped_by else f"its process was ended by {name}"
        else:
            why = f"its process ended with exit code {exit_code} and no result"
        return Outcome("failed", exit_code=exit_code, error=why)
    told = json.loads(answer)
    if "error" in told:
        return Outcome("failed", exit_code=1, error=told["error"], traceback=told["traceback"])
    status = "succeeded" if exit_code == 0 and told["status"] is not False else "failed"
    return Outcome(status, result=told["result"], exit_code=exit_code)
