"""The figures of the area `rabbitmq`: one cluster of the lab for all of them."""

from __future__ import annotations

import http.client
import json
import resource
import statistics
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Callable

from benchmarks.figures import Figure, worst
from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.rabbitmq import operations
from st2ha.rabbitmq.gather import NODES, OVERVIEW, QUEUES, gather

PAIRS, ROUNDS = 30, 3
FEW, SOME, MANY = 5, 300, 10_000
TIMEOUT_S = 1.0
PATHS = (
    "/api/whoami",
    "/api/health/checks/local-alarms",
    f"/api/overview?columns={OVERVIEW}",
    f"/api/nodes?columns={NODES}",
    f"/api/queues?disable_stats=true&enable_queue_totals=true&columns={QUEUES}",
    "/api/vhosts?columns=name,cluster_state,default_queue_type",
    "/api/policies",
    "/api/permissions",
    "/api/users?columns=name",
)
"""What the check asks the node that tells the most."""
TOOLS = (
    ("check_running",), ("check_local_alarms",), ("check_port_listener", "{port}"), ("check_virtual_hosts",),
    ("check_if_node_is_quorum_critical",), ("check_if_node_is_mirror_sync_critical",),
)  # fmt: skip


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about four minutes."""
    with RabbitCluster(members=3) as rabbit:
        fill(rabbit, FEW)
        where: Deployment = select({"deployments": [rabbit.deployment()]}, "lab")
        say("rabbitmq_check against a bare client")
        yield against_bare_node(rabbit, where)
        say("rabbitmq_check against rabbitmq-diagnostics")
        yield against_diagnostics(rabbit, where)
        say("detection of a killed node")
        yield detection(rabbit, where)
        say("rabbitmq_check with a hung node")
        yield one_hung(rabbit, where)
        rabbit.start("rabbit3", 90)
        rabbit.wait_healthy(90)
        say("rabbitmq_check with 300 queues, then 10,000")
        yield from with_many_queues(rabbit, where)


def fill(rabbit: RabbitCluster, number: int) -> None:
    """Quorum queues up to a handful, then classic ones; no more than ``number``."""
    node, first = rabbit.erlang_name("rabbit1"), rabbit.members[0].name
    for count in range(number):
        kind = "quorum" if count < FEW else "classic"
        body = {"durable": True, "auto_delete": count >= FEW, "arguments": {"x-queue-type": kind}, "node": node}
        rabbit.api(first, "PUT", f"/api/queues/st2/st2.bench.{count:05}", body)


def import_queues(rabbit: RabbitCluster, number: int) -> None:
    """Many classic queues by one upload of definitions."""
    queues = [
        {"name": f"st2.bench.{count:05}", "durable": True, "auto_delete": True, "arguments": {}}
        for count in range(FEW, number)
    ]
    rabbit.api("rabbit1", "POST", "/api/definitions/st2", {"queues": queues}, timeout_s=300)
    counted = "/api/queues?disable_stats=true&page=1&page_size=1&columns=name"
    wait_for(lambda: rabbit.api("rabbit1", "GET", counted)["total_count"] >= number, 60, f"{number} queues")


def _check_s(where: Deployment) -> float:
    began = time.perf_counter()
    operations.check(where)
    return time.perf_counter() - began


def _bare_s(rabbit: RabbitCluster, host: str, login: str = "st2ha") -> float:
    """A fresh connection, and the questions one after the other, by http.client."""
    who = rabbit.logins[login]
    token = b64encode(f"{login}:{who.password}".encode()).decode()
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=30)
    for path in PATHS:
        connection.request("GET", path, headers={"authorization": f"Basic {token}"})
        json.loads(connection.getresponse().read())
    connection.close()
    return time.perf_counter() - began


def against_bare_node(rabbit: RabbitCluster, where: Deployment) -> Figure:
    """A B A B: the check of all nodes, and all of them asked at once by bare clients, of which the slowest counts."""
    _check_s(where)
    ratios, checks, bares = [], [], []
    for _ in range(PAIRS):
        checks.append(_check_s(where))
        with ThreadPoolExecutor(len(rabbit.hosts)) as pool:
            bares.append(max(pool.map(lambda host: _bare_s(rabbit, host), rabbit.hosts)))
        ratios.append(checks[-1] / bares[-1])
    return Figure(
        "rabbitmq_check_to_bare_node", statistics.median(ratios), 1.5, "x",
        f"check {1000 * statistics.median(checks):.0f} ms, slowest bare node {1000 * statistics.median(bares):.0f} ms",
        f"median ratio of {PAIRS} pairs; all nodes at once, fresh connections",
    )  # fmt: skip


def against_diagnostics(rabbit: RabbitCluster, where: Deployment) -> Figure:
    """The vendor's own checks of one node, one after the other as its guide says; ours is of all three nodes."""
    check_s = statistics.median(_check_s(where) for _ in range(5))
    began = time.perf_counter()
    for words in TOOLS:
        port = str(rabbit.members[0].port)
        rabbit.tool("rabbit1", "rabbitmq-diagnostics", "--quiet", *(word.format(port=port) for word in words))
    theirs_s = time.perf_counter() - began
    return Figure(
        "rabbitmq_check_to_diagnostics", check_s / theirs_s, 0.1, "x",
        f"check {1000 * check_s:.0f} ms, {len(TOOLS)} checks of rabbitmq-diagnostics {theirs_s:.1f} s",
        "ours of three nodes, theirs of one",
    )  # fmt: skip


def with_many_queues(rabbit: RabbitCluster, where: Deployment) -> Iterator[Figure]:
    few_s = statistics.median(_check_s(where) for _ in range(ROUNDS * 3))
    import_queues(rabbit, SOME)
    some_s = statistics.median(_check_s(where) for _ in range(ROUNDS * 3))
    yield Figure(
        "rabbitmq_check_300_queues", some_s / few_s, 2.0, "x",
        f"{1000 * some_s:.0f} ms with {SOME}, {1000 * few_s:.0f} ms with {FEW}", f"medians of {ROUNDS * 3}",
    )  # fmt: skip
    import_queues(rabbit, MANY)
    patient = replace(where, rabbitmq=replace(where.require("rabbitmq"), timeout_s=60.0))
    began = time.perf_counter()
    found = operations.check(patient).facts["queues"]
    many_s = time.perf_counter() - began if found == MANY else float("nan")
    yield Figure("rabbitmq_check_10000_queues", many_s, 30.0, "s", "", "all of them, page by page")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Figure("rabbitmq_check_memory", peak_mb, 100.0, "MB", "", f"peak of this whole process after {MANY} queues")


def detection(rabbit: RabbitCluster, where: Deployment) -> Figure:
    """By a look after the other; the sensor's pulse is as often."""
    settings = replace(where.require("rabbitmq"), timeout_s=TIMEOUT_S)
    began = time.perf_counter()
    rabbit.kill("rabbit2")

    def down() -> bool:
        return gather(settings, content=False).node("rabbit2@localhost") is None

    wait_for(down, 10, "the loss to be seen", interval_s=0.5)
    took_s = time.perf_counter() - began
    rabbit.start("rabbit2", 90)
    rabbit.wait_healthy(90)
    return Figure("rabbitmq_detection_kill", took_s, 2.0, "s", "", "kill -9, then a look every 0.5 s")


def one_hung(rabbit: RabbitCluster, where: Deployment) -> Figure:
    rabbit.hang("rabbit3")
    slowest = worst(_hung_s(where) for _ in range(ROUNDS))
    rabbit.kill("rabbit3")
    return Figure(
        "rabbitmq_check_one_hung", slowest, TIMEOUT_S * 1.2, "s", f"its timeout is {TIMEOUT_S:g} s",
        f"SIGSTOP of a node, whose peers wait for it; worst of {ROUNDS}",
    )  # fmt: skip


def _hung_s(where: Deployment) -> float:
    began = time.perf_counter()
    report: Any = operations.check(where, TIMEOUT_S)
    took_s = time.perf_counter() - began
    return took_s if any(finding.code == "NodeHung" for finding in report.findings) else float("nan")
