"""The figures of the area `check`: the verdict over all three services of one deployment, asked at once."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable

from benchmarks.figures import Figure
from benchmarks.startup import environment
from lab.cluster import ROOT, Cluster
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.mysql import MysqlCluster
from lab.rabbitmq import RabbitCluster

ROUNDS = 31
LAYERS = ("mongodb", "mysql", "rabbitmq")
RUN = """
import sys
names = {{"__name__": "entry"}}
with open({path!r}) as file:
    exec(compile(file.read(), {path!r}, "exec"), names)
passed, result = names[{class_name!r}](config={config!r}).run()
sys.exit(0 if passed and result["severity"] != "unknown" else result["summary"])
"""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """One figure, in about two minutes."""
    clusters: tuple[Cluster, ...] = (MongoCluster(members=3), MysqlCluster(), RabbitCluster(members=3))
    with ExitStack() as stack:
        layers: dict[str, Any] = {}
        for cluster in clusters:
            stack.enter_context(cluster).wait_healthy(60)
            layers.update(cluster.deployment())
        say("ha.check over three services against the check of each alone")
        yield all_at_once({"deployments": [layers]})


def all_at_once(config: dict[str, Any]) -> Figure:
    """A B C D, A B C D: each action in a process of its own, as StackStorm runs it; median of the rounds' ratios."""
    actions = ("check", *(f"{layer}_check" for layer in LAYERS))
    rows = [[_run_s(action, config) for action in actions] for _ in range(ROUNDS + 1)][1:]
    ratio = statistics.median(together / max(alone) for together, *alone in rows)
    medians = [1000 * statistics.median(column) for column in zip(*rows)]
    beside = ", ".join(f"{action} {took:.0f} ms" for action, took in zip(actions, medians))
    return Figure("check_to_slowest_layer", ratio, 1.2, "x", beside, f"{ROUNDS} rounds of fresh processes, to the end")


def _run_s(action: str, config: dict[str, Any]) -> float:
    class_name = "".join(word.capitalize() for word in action.split("_"))
    code = RUN.format(path=str(ROOT / "actions" / f"{action}.py"), class_name=class_name, config=config)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), check=False, capture_output=True, text=True, timeout=60
    )
    took_s = time.perf_counter() - began
    if done.returncode:
        raise LabError(f"{action}: {done.stderr.strip()[-300:]}")
    return took_s
