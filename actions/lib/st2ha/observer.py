"""A child process that looks, for a sensor that tells: JSON lines over one socket, each end noticing the other's death.

Why a process: StackStorm patches its sensors with eventlet and then puts the blocking select.poll() back. A driver
that is imported after that waits in it with all green threads (measured: pymongo 4.6.3, one awaitable hello stops the
process for ever); which comes first is StackStorm's business. The child has real threads and an unpatched driver.

The first line goes to the child: {"config": ..., "deployments": [names]}; all others come from it, see `Tell`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from st2ha.errors import internal

Tell = Callable[[dict[str, Any]], None]
"""Tells one look: {"at": epoch seconds, "findings": [rows] or absent, "confirm_s": {code: seconds}, "roles": [...],
"blind": why nothing could be seen, or absent}; `deployment` is added."""

LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
AGAIN_S = 5.0


class Gone(Exception):
    """The child has ended; the text says how."""


class Observer:
    """The sensor's end: a running child of `module`. Close it."""

    def __init__(self, module: str, request: Mapping[str, Any]) -> None:
        self._ours, theirs = socket.socketpair()
        self._rest = b""
        paths = [LIBRARY, *(path for path in sys.path if os.path.isabs(path))]
        environment: dict[str, str] = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
            self._ours.sendall(json.dumps(request, default=str).encode() + b"\n")
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def read(self, timeout_s: float) -> Optional[dict[str, Any]]:
        """The next look, or None if none came in time. Raises Gone."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            self._ours.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                part = self._ours.recv(65536)
            except socket.timeout:
                return None
            except OSError as error:
                raise Gone(f"the observer's socket broke: {error}") from None
            if not part:
                raise Gone(f"the observer (pid {self.pid}) ended by itself")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        look: dict[str, Any] = json.loads(line)
        return look

    def send(self, row: Mapping[str, Any]) -> None:
        """One more line to the child. Raises Gone."""
        try:
            self._ours.settimeout(AGAIN_S)
            self._ours.sendall(json.dumps(row).encode() + b"\n")
        except OSError as error:
            raise Gone(f"the socket to pid {self.pid} broke: {error}") from None

    def kill(self) -> None:
        """End the child before it can notice that its socket closes."""
        self._process.kill()
        self._process.wait()
        self._ours.close()

    def close(self) -> None:
        """End the child: it goes when its socket closes, or is killed."""
        self._ours.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(watch: Callable[[Mapping[str, Any], str, Tell], None]) -> None:
    """The child's end: run `watch(config, deployment, tell)` for each deployment until the sensor is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sensor
    line = socket.socket(fileno=0)
    line.setblocking(True)
    reader = line.makefile("rb")
    request = json.loads(reader.readline())
    lock = threading.Lock()

    def send(look: dict[str, Any]) -> None:
        try:
            with lock:
                line.sendall(json.dumps(look).encode() + b"\n")
        except OSError:
            os._exit(0)

    for name in request["deployments"]:
        threading.Thread(target=_for_ever, args=(watch, request["config"], name, send), daemon=True).start()
    with contextlib.suppress(OSError):  # a sensor that was killed resets the connection
        reader.read()
    os._exit(0)  # not sys.exit: that would wait for threads which hang in a server


def _for_ever(watch: Callable[..., None], config: Mapping[str, Any], name: str, send: Tell) -> None:
    def tell(look: dict[str, Any]) -> None:
        send({**look, "deployment": name})

    while True:
        try:
            watch(config, name, tell)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the watch; it is told and tried again
            tell({"at": time.time(), "blind": internal(error)})
        time.sleep(AGAIN_S)
