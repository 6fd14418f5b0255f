"""A whole upgrade of two stand-in sides under a load of new connections: its window, its switch, its way back."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.startup import environment
from lab.cluster import ROOT
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.rabbitmq import RabbitCluster
from lab.stackstorm import Traffic, TwoSides

READS_S = 500
RUN = """
import json, sys
from st2ha.config import select
from st2ha.upgrade import operations
result = getattr(operations, sys.argv[2])(select(json.loads(sys.argv[1])), **json.loads(sys.argv[3]))
steps = [[s["verb"], s["took_s"]] for s in result.get("steps_done", ())]
print(json.dumps({"error": result.get("error"), "facts": result.get("facts", {}), "steps": steps}))
"""


@dataclass(frozen=True)
class Window:
    """One upgrade and its way back, measured."""

    window_s: float
    switch_s: float
    steps: str
    failed: int
    requests: int
    rollback_s: float


def measure(mongo: MongoCluster, rabbit: RabbitCluster, name: str) -> Window:
    """An upgrade of the database st2 to `name` under load, which is rolled back afterwards."""
    with tempfile.TemporaryDirectory() as directory, TwoSides(mongo, rabbit, Path(directory), name) as sides:
        return _upgrade(sides, directory)


def figures(small: Window, large: Window, sizes: tuple[int, int]) -> Iterator[Figure]:
    """Of an upgrade with a small and one with a large database."""
    how = f"{sizes[1]} documents, stand-ins, {READS_S} new connections/s, 1 run"
    words = f"from the first stop to the last start of a sensor: {large.steps}"
    yield Figure("upgrade_window", large.window_s, 5, "s", words, how)
    yield Figure("balancer_switch", large.switch_s, 0.5, "s", "the slower of two", how)
    yield Figure("failed_requests", float(large.failed), 0, "", f"of {large.requests}", how)
    words = "from the command to the old side's first answer"
    yield Figure("rollback_to_serving", large.rollback_s, 3, "s", words, how)
    beside = f"{small.window_s:.2f} s and {large.window_s:.2f} s"
    against = f"{sizes[1]} against {sizes[0]} documents"
    yield Figure("window_by_size", large.window_s / small.window_s, 1.2, "x", beside, against)


def _upgrade(sides: TwoSides, directory: str) -> Window:
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
    return Window(
        window_s=told["facts"]["window_s"],
        switch_s=max(took for verb, took in told["steps"] if verb == "switch"),
        steps=", ".join(f"{verb} {took:.2f}" for verb, took in steps.items()),
        failed=failed,
        requests=requests,
        rollback_s=rollback_s,
    )


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
