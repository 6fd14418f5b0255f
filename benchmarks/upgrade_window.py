"""A whole upgrade of two stand-in sides under a load of new connections: its window, its switch, its way back."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import Figure
from benchmarks.startup import environment
from lab.cluster import ROOT
from lab.edge import EdgeLab
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.rabbitmq import RabbitCluster
from lab.stackstorm import TwoSides
from lab.stackstorm_edge import EdgeSides
from lab.stackstorm_traffic import Traffic

READS_S, CALM_S = 500, 2.0
SETTLED_S = 20.0
"""The servers still bring to disk what a copy wrote a moment ago: not what a window is measured beside."""
RUN = """
import json, sys
from st2ha.config import select
from st2ha.upgrade import operations
result = getattr(operations, sys.argv[2])(select(json.loads(sys.argv[1])))
told = {"error": result.get("error"), "facts": result.get("facts", {}), "steps": result.get("steps_done", ())}
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Window:
    """One upgrade and its way back, measured. `pause_s`: the longest time without an execution in that window."""

    window_s: float
    switch_s: float
    steps: str
    failed: int
    failures: str
    requests: int
    rate: float
    pause_s: float
    rollback_s: float


def measure(mongo: MongoCluster, rabbit: RabbitCluster, name: str, say: Callable[[str], None]) -> Window:
    """An upgrade of the database st2 to `name` and its rollback. The load of requests runs through both switches."""
    with EdgeLab() as edge, tempfile.TemporaryDirectory() as directory:
        return _upgrade(EdgeSides(mongo, rabbit, Path(directory), edge, name=name), directory, say)


def figures(small: Window, large: Window, sizes: tuple[int, int]) -> Iterator[Figure]:
    """Of an upgrade with a small and one with a large database."""
    how = f"{sizes[1]} documents, stand-ins, {large.rate:.0f} new connections/s, 1 run"
    words = f"sensors' first stop to their last start: {large.steps}; longest pause of executions {large.pause_s:.2f} s"
    yield Figure("upgrade_window", large.window_s, 5, "s", words, how)
    yield Figure("balancer_switch", large.switch_s, 0.5, "s", "two balancers; with the ledger's writes around it", how)
    words = f"of {large.requests} through both switches; {small.failed} of {small.requests} with the small database"
    kinds = "; ".join(filter(None, (large.failures, small.failures)))
    yield Figure("failed_requests", float(large.failed + small.failed), 0, "", f"{words} {kinds}".strip(), how)
    words = f"bin/st2ha from its start to the old side's first answer; {small.rollback_s:.2f} s with the small database"
    yield Figure("rollback_to_serving", large.rollback_s, 3, "s", words, how)
    beside = f"{large.window_s:.2f} s, {small.window_s:.2f} s"
    against = f"{sizes[1]} against {sizes[0]} documents"
    yield Figure("window_by_size", large.window_s / small.window_s, 1.2, "x", beside, against)


def _upgrade(sides: TwoSides, directory: str, say: Callable[[str], None]) -> Window:
    with sides, contextlib.ExitStack() as stack:
        config = {"deployments": [sides.deployment()]}
        with Traffic(sides, jobs_s=2, reads_s=1, events_s=2) as traffic:
            for action in ("prepare", "verify"):
                _run(config, action)
            time.sleep(SETTLED_S)
            clients = stack.enter_context(_clients(sides))
            began = time.time()
            told = _run(config, "cutover")
            ended = time.time()
            for step in told["steps"]:
                say("  {verb} {target}: {took_s:.2f} s, {note}".format(**step))
            time.sleep(CALM_S)
            traffic.stop()
            traffic.settle()
        if traffic.twice():
            raise LabError(f"done twice: {traffic.twice()[:3]}")
        rollback_s = _rollback(sides, config, directory)
    kinds = [*(f"{kind} {number}x" for kind, number in clients["failures"].items()), *traffic.failed]
    failures, answered = sum(clients["failures"].values()), sum(clients["answered"].values())
    return Window(
        window_s=told["facts"]["window_s"],
        switch_s=sum(step["took_s"] for step in told["steps"] if step["verb"] == "switch"),
        steps=", ".join("{verb} {took_s:.2f}".format(**step) for step in told["steps"]),
        failed=len(traffic.failed) + failures,
        failures="; ".join(kinds[:3]),
        requests=traffic.reads + len(traffic.jobs) + answered + failures,
        rate=(answered + failures) / clients["took_s"],
        pause_s=_longest_pause(sides, began, ended),
        rollback_s=rollback_s,
    )


def _longest_pause(sides: TwoSides, began: float, ended: float) -> float:
    """Between two executions that one side or the other did."""
    rows = [json.loads(line) for node in ("old1", "new1") for line in (sides.directory / node / "record").open()]
    done: list[float] = sorted(row["at"] for row in rows if "done" in row and began < row["at"] < ended)
    return max(late - early for early, late in zip([began, *done], [*done, ended]))


@contextlib.contextmanager
def _clients(sides: TwoSides) -> Iterator[dict[str, Any]]:
    """READS_S requests a second, each on a new connection; afterwards the dictionary has what they tell."""
    script = str(ROOT / "lab" / "edge_load.py")
    host, port = sides.addresses["vip"]
    command = [sys.executable, script, "new", host, str(READS_S), str(port), "200"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = {}
    began = time.monotonic()
    try:
        time.sleep(CALM_S)
        yield told
        time.sleep(CALM_S)
        told["took_s"] = time.monotonic() - began
        told.update(json.loads(process.communicate(timeout=60)[0]))
    finally:
        process.kill()
        process.wait(10)


def _rollback(sides: TwoSides, config: Any, directory: str) -> float:
    """From the command, as an operator gives it, to the old side's first answer."""
    path = Path(directory, "ha.yaml")
    path.write_text(yaml.safe_dump(config))
    words = ["--json", "--config", str(path), "upgrade_rollback", "deployment=lab", f"export_to={directory}"]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "bin" / "st2ha"), *words], stdout=subprocess.PIPE, text=True,
        env={**environment(), "ST2HA_STATE_DIR": directory},
    )  # fmt: skip
    while sides.serves() != "old1":
        time.sleep(0.02)
    took_s = time.monotonic() - began
    text, _ = process.communicate(timeout=300)
    if process.returncode:
        raise LabError(f"the rollback failed: {text[-300:]}")
    return took_s


def _run(config: Any, action: str) -> Any:
    command = [sys.executable, "-c", RUN, json.dumps(config), action]
    done = subprocess.run(command, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    told = json.loads(done.stdout) if done.returncode == 0 else {"error": f"{action} ended with {done.returncode}"}
    if told["error"]:
        raise LabError(told["error"])
    return told
