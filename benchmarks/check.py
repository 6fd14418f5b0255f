"""The figures of the area `check`: the verdict over all three services of one deployment, asked at once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Callable

from benchmarks.figures import Figure
from lab.cluster import Cluster
from lab.mongodb import MongoCluster
from lab.mysql import MysqlCluster
from lab.rabbitmq import RabbitCluster
from st2ha.check import check
from st2ha.config import Deployment, select

ROUNDS = 30


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """One figure, in about a minute."""
    clusters: tuple[Cluster, ...] = (MongoCluster(members=3), MysqlCluster(), RabbitCluster(members=3))
    with ExitStack() as stack:
        layers: dict[str, Any] = {}
        for cluster in clusters:
            stack.enter_context(cluster).wait_healthy(60)
            layers.update(cluster.deployment())
        say("ha.check over three services against each of them alone")
        yield all_at_once(select({"deployments": [layers]}), [cluster.service for cluster in clusters])


def all_at_once(whole: Deployment, services: list[str]) -> Figure:
    """A B C D, A B C D: all layers, then each alone; median of the rounds' ratios to the slowest one."""
    alone = {name: Deployment(whole.name, **{name: getattr(whole, name)}) for name in services}
    together: list[float] = []
    each: dict[str, list[float]] = {name: [] for name in services}
    for _ in range(ROUNDS + 1):
        together.append(_took_s(whole))
        for name, deployment in alone.items():
            each[name].append(_took_s(deployment))
    slowest = [max(values) for values in zip(*each.values())]
    ratio = statistics.median(both / one for both, one in zip(together[1:], slowest[1:]))
    beside = ", ".join(f"{name} {1000 * statistics.median(values[1:]):.0f} ms" for name, values in each.items())
    return Figure(
        "check_to_slowest_layer", ratio, 1.2, "x", f"all {1000 * statistics.median(together[1:]):.0f} ms, {beside}",
        f"median ratio of {ROUNDS} rounds",
    )  # fmt: skip


def _took_s(deployment: Deployment) -> float:
    began = time.perf_counter()
    report = check(deployment)
    took_s = time.perf_counter() - began
    if any(finding.code == "LayerUnchecked" for finding in report.findings):
        raise RuntimeError(report.summary)
    time.sleep(0.02)  # closing connections must not be counted with the next measurement
    return took_s
