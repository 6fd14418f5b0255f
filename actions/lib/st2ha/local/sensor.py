"""`st2ha sensor`: run a sensor in a process of its own and print what it dispatches."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from st2ha.errors import BadInput
from st2ha.local import journal
from st2ha.local.arguments import Options
from st2ha.local.metadata import SensorType
from st2ha.local.process import send, start
from st2ha.local.render import STYLES, cell
from st2ha.local.runner import Runner
from st2ha.local.schema import without_secrets


def run(runner: Runner, sensor: SensorType, options: Options) -> int:
    """Run until the sensor ends, a signal comes or the seconds are over; 0, or 3 where it broke."""
    if not sensor.entry.is_file():
        raise BadInput(f"{sensor.ref} has no entry file {sensor.entry.name}: reinstall the pack")
    config = runner.config
    request = {
        "pack": runner.pack.name,
        "entry": str(sensor.entry),
        "class_name": sensor.class_name,
        "poll_interval": sensor.poll_interval,
        "config": config.values,
        "datastore": str(runner.pack.places.datastore),
    }
    error: dict[str, Any] = {}
    with runner.children.forwarding():
        for line in _lines(runner, request, options):
            if "error" in line:
                error = line
            else:
                _print(line, options.json)
    if not error:
        return 0
    if options.debug and error.get("traceback"):
        print(without_secrets(error["traceback"], config.secrets), file=sys.stderr)
    if error["kind"] == "bad_input":
        raise BadInput(error["error"])
    print(without_secrets(f"st2ha: {sensor.ref} ended: {error['error']}", config.secrets), file=sys.stderr)
    return 3


def _lines(runner: Runner, request: dict[str, Any], options: Options) -> Iterator[dict[str, Any]]:
    """What the child says, line by line, until its end."""
    args = ["--eventlet"] if options.eventlet else []
    env = runner.environment(journal.new_run_id(), None, {})
    process, read_fd, write_fd = start("st2ha.local.sensor_child", args, env, runner.children)
    deadline = time.monotonic() + options.seconds if options.seconds else None
    rest = b""
    try:
        send(process, {**request, "result_fd": write_fd})
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([read_fd], [], [], left)[0]:
                runner.children.stop(signal.SIGTERM)
                deadline = None
                continue
            part = os.read(read_fd, 65536)
            if not part:
                break
            *whole, rest = (rest + part).split(b"\n")
            yield from (json.loads(line) for line in whole)
        code = process.wait(timeout=runner.grace_s)
        if code < 0 and runner.children.stopped_by is None:
            yield {"error": f"its process was ended by {signal.Signals(-code).name}", "kind": "failed"}
    finally:
        os.close(read_fd)
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(Exception):
                process.wait(timeout=runner.grace_s)
        if process.poll() is None:
            process.kill()
        runner.children.remove(process)


def _print(line: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(line), flush=True)
        return
    at = datetime.fromtimestamp(line["at"], timezone.utc).strftime("%H:%M:%S.%f")[:-3]
    payload = line.get("payload") or {}
    text = _words(payload) if isinstance(payload, dict) else payload
    severity = str(payload.get("severity", "")).upper() if isinstance(payload, dict) else ""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.text import Text

        parts = [(f"{at} ", "dim"), (f"{line['trigger']} ", "cyan"), (cell(text), STYLES.get(severity, ""))]
        Console().print(Text.assemble(*parts), soft_wrap=True)
    else:
        print(at, line["trigger"], cell(text), flush=True)


def _words(payload: dict[str, Any]) -> str:
    """A finding as `check` prints it, with what became of it; of anything else its message, or all that it holds."""
    if {"change", "code", "subject", "message"} <= payload.keys():
        severity = str(payload.get("severity", "")).upper()
        return f"{payload['change']} {severity} {payload['code']} {payload['subject']}: {payload['message']}"
    told = payload.get("summary") or payload.get("message")
    return told or " ".join(f"{name}={cell(value)}" for name, value in payload.items() if not isinstance(value, dict))
