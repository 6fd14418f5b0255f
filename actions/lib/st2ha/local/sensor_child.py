"""The process of one sensor: `python -m st2ha.local.sensor_child [--eventlet]`, told what to do through stdin.

The request is a JSON object: pack, entry, class_name, poll_interval, config, datastore, result_fd. Each dispatch is a
JSON line on the file descriptor result_fd: {"at", "trigger", "payload"}; an end by an exception is {"error", "kind"}.
"""

from __future__ import annotations

import sys


def _patch() -> str:
    """Patch as StackStorm's sensor wrapper does (st2common/util/monkey_patch.py), before anything else is imported.

    Select gets its blocking poll() back, which eventlet takes away: code that polls a subprocess needs it.
    """
    from st2ha.local.places import use_stackstorm_libraries

    use_stackstorm_libraries()
    import importlib

    try:
        eventlet = importlib.import_module("eventlet")
        patcher = importlib.import_module("eventlet.patcher")
    except ImportError:
        return "eventlet cannot be imported in the pack's virtualenv: install it or leave --eventlet out"
    eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)
    import select
    import selectors
    import subprocess

    vars(select)["poll"] = patcher.original("select").poll
    for module in (subprocess, selectors):
        vars(module)["select"] = select
    return ""


NO_EVENTLET = _patch() if "--eventlet" in sys.argv else ""

import contextlib
import json
import logging
import os
import signal
import threading
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from st2ha.local.datastore import DatastoreService, Store
from st2ha.local.loading import load_module
from st2ha.local.places import use_stackstorm_libraries


class Stopped(SystemExit):
    """Asked to end; no sensor catches it with `except Exception`."""


def _log_to_stderr(name: str, level: str) -> logging.Logger:
    """A logger in the format of StackStorm's."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)-12s: %(levelname)-8s %(message)s"))
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.setLevel(getattr(logging, level.upper(), logging.WARNING))
    return logger


class SensorService(DatastoreService):
    """What StackStorm's SensorService offers to a sensor."""

    def __init__(self, store: Store, pack: str, class_name: str, fd: int) -> None:
        super().__init__(store, pack, class_name)
        self._fd = fd
        self._lock = threading.Lock()
        self._logger = _log_to_stderr(
            f"SensorWrapper.{pack}.{class_name}", os.environ.get("ST2HA_LOG_LEVEL", "WARNING")
        )

    def get_logger(self, name: str) -> logging.Logger:
        return self._logger.getChild(name)

    def dispatch(self, trigger: Any, payload: Any = None, trace_tag: str | None = None) -> None:
        line: dict[str, Any] = {"at": time.time(), "trigger": trigger, "payload": payload}
        if trace_tag is not None:
            line["trace_tag"] = trace_tag
        self.tell(line)

    def dispatch_with_context(self, trigger: Any, payload: Any = None, trace_context: Any = None) -> None:
        self.dispatch(trigger, payload, getattr(trace_context, "trace_tag", None))

    def tell(self, line: dict[str, Any]) -> None:
        content = json.dumps(line, default=str).encode() + b"\n"
        with self._lock:
            while content:
                content = content[os.write(self._fd, content) :]


def main() -> int:
    request = json.loads(sys.stdin.buffer.read())
    os.set_inheritable(int(request["result_fd"]), False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    store = Store(Path(request["datastore"]))
    service = SensorService(store, request["pack"], request["class_name"], int(request["result_fd"]))
    if NO_EVENTLET:
        service.tell({"error": NO_EVENTLET, "kind": "bad_input"})
        return 64
    use_stackstorm_libraries()
    try:
        _live(request, service)
    except Stopped:
        pass
    except Exception as error:  # noqa: BLE001
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        service.tell({"error": text, "kind": "failed", "traceback": traceback.format_exc()})
        return 3
    return 0


def _live(request: dict[str, Any], service: SensorService) -> None:
    """setup, run until asked to end, cleanup."""

    def stop(signum: int, frame: FrameType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sensor = _instance(request, service)
    try:
        sensor.setup()
        sensor.run()
    finally:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sensor.cleanup()


def _instance(request: dict[str, Any], service: SensorService) -> Any:
    module = load_module(Path(request["entry"]))
    sensor_class = getattr(module, request["class_name"], None)
    if sensor_class is None:
        raise ImportError(f"{request['entry']} has no class {request['class_name']}")
    extra: dict[str, Any] = {}
    if request["poll_interval"] and any(base.__name__ == "PollingSensor" for base in sensor_class.__mro__):
        extra["poll_interval"] = request["poll_interval"]
    return sensor_class(sensor_service=service, config=request["config"], **extra)


if __name__ == "__main__":
    sys.exit(main())
