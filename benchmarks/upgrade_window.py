"""A whole upgrade of two stand-in sides under a load of new connections: its window, its switch, its way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from benchmarks.figures import Figure
from benchmarks.startup import environment
from lab.cluster import ROOT
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.rabbitmq import RabbitCluster
from lab.stackstorm import Traffic, TwoSides
from lab.stackstorm_database import fill

SIZES = (int(os.environ.get("ST2HA_BENCH_SMALL", "100000")), int(os.environ.get("ST2HA_BENCH_DOCUMENTS", "500000")))
READS_S = 500
RUN = """
import json, sys
from st2ha.config import select
from st2ha.upgrade import operations
result = getattr(operations, sys.argv[2])(select(json.loads(sys.argv[1])), **json.loads(sys.argv[3]))
steps = [[s["verb"], s["took_s"]] for s in result.get("steps_done", ())]
print(json.dumps({"error": result.get("error"), "facts": result.get("facts", {}), "steps": steps}))
"""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Twice, on a small and on a large database; the second one is rolled back."""
    windows, last = [], {}
    with RabbitCluster(members=3) as rabbit:
        for number, documents in enumerate(SIZES):
            with MongoCluster(members=3) as mongo, tempfile.TemporaryDirectory() as directory:
                say(f"an upgrade with {documents} documents")
                fill(mongo.client(login="lab_root", socketTimeoutMS=600_000), "st2", documents)
                name = f"st2_v2_{5 + number}"
                with TwoSides(mongo, rabbit, Path(directory), name) as sides:
                    last = _upgrade(sides, directory)
                windows.append(last["window_s"])
    how = f"{SIZES[1]} documents, stand-ins, {READS_S} new connections/s, 1 run"
    yield Figure(
        "upgrade_window", windows[1], 5, "s", f"from the first stop to the last start of a sensor: {last['steps']}", how
    )
    yield Figure("balancer_switch", last["switch_s"], 0.5, "s", "the slower of two", how)
    yield Figure("failed_requests", float(last["failed"]), 0, "", f"of {last['requests']}", how)
    yield Figure(
        "rollback_to_serving", last["rollback_s"], 3, "s", "from the command to the old side's first answer", how
    )
    beside = f"{windows[0]:.2f} s and {windows[1]:.2f} s"
    yield Figure(
        "window_by_size", windows[1] / windows[0], 1.2, "x", beside, f"{SIZES[1]} against {SIZES[0]} documents"
    )


def _upgrade(sides: TwoSides, directory: str) -> dict[str, Any]:
    config = {"deployments": [sides.deployment()]}
    with Traffic(sides, reads_s=READS_S) as traffic:
        for action in ("prepare", "verify"):
            _run(config, action)
        told = _run(config, "cutover")
        time.sleep(2)
        traffic.stop()
        traffic.settle()
        if traffic.twice():
            raise LabError(f"done twice: {traffic.twice()[:3]}")
    failed, requests = len(traffic.failed), traffic.reads + len(traffic.jobs)
    began = time.monotonic()
    process = _start(config, "rollback", {"export_to": directory})
    while sides.serves() != "old1":
        time.sleep(0.02)
    rollback_s = time.monotonic() - began
    _end(process)
    steps = dict(told["steps"])
    return {
        "window_s": told["facts"]["window_s"],
        "switch_s": max(took for verb, took in told["steps"] if verb == "switch"),
        "steps": ", ".join(f"{verb} {took:.2f}" for verb, took in steps.items()),
        "failed": failed,
        "requests": requests,
        "rollback_s": rollback_s,
    }


def _start(config: Any, action: str, more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, json.dumps(config), action, json.dumps(more)]
    return subprocess.Popen(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str]) -> Any:
    text, _ = process.communicate(timeout=900)
    told = json.loads(text) if process.returncode == 0 else {"error": f"it ended with {process.returncode}"}
    if told["error"]:
        raise LabError(told["error"])
    return told


def _run(config: Any, action: str) -> Any:
    return _end(_start(config, action, {}))
