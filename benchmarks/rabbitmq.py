"""The figures of the area `rabbitmq`: one cluster of the lab for all of them."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from benchmarks.figures import Figure, worst
from lab.cluster import ROOT
from lab.errors import LabError
from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.rabbitmq import operations
from st2ha.rabbitmq.gather import NODES, OVERVIEW, VHOSTS
from st2ha.rabbitmq.watch import Watch

PAIRS, ROUNDS, CHECKS, DETECTIONS = 30, 3, 15, 3
FEW, SOME, MANY = 5, 300, 10_000
TIMEOUT_S, MANY_S = 1.0, 10.0
CALM_S = 5.0
"""A new queue tells its statistics for a while."""
MEMORY_LIMIT_MB = 2000
"""Of a node: 10,000 queues take 600 MB of it, beyond the lab's usual limit."""
PATHS = (
    "/api/whoami",
    "/api/health/checks/local-alarms",
    f"/api/overview?disable_stats=true&columns={OVERVIEW}",
    f"/api/nodes?columns={NODES}",
    "/api/policies",
    "/api/queues?disable_stats=true&enable_queue_totals=true",
    f"/api/vhosts?disable_stats=true&columns={VHOSTS}",
    "/api/permissions",
    "/api/users?columns=name,hashing_algorithm,password_hash",
)
"""What the check asks the node that tells the most."""
TOOLS = (
    ("check_running",), ("check_local_alarms",), ("check_port_listener", "{port}"), ("check_virtual_hosts",),
    ("check_if_node_is_quorum_critical",), ("check_if_node_is_mirror_sync_critical",),
)  # fmt: skip
ALONE = (
    "import resource, sys, yaml; from st2ha.config import select; from st2ha.rabbitmq import operations; "
    "found = operations.check(select(yaml.safe_load(open(sys.argv[1]))), 30.0).facts['queues']; "
    "print(found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about four minutes."""
    with RabbitCluster(members=3, memory_limit_mb=MEMORY_LIMIT_MB) as rabbit:
        rabbit.mirror_all()
        declare(rabbit, range(FEW))
        where: Deployment = select({"deployments": [rabbit.deployment()]}, "lab")
        wait_for(lambda: not operations.check(where).findings, 30, "a check that finds nothing")
        say("rabbitmq_check against a bare client")
        yield against_bare_node(rabbit, where)
        say("rabbitmq_check against rabbitmq-diagnostics")
        yield against_diagnostics(rabbit, where)
        say("detection of a killed node")
        yield detection(rabbit, where)
        say("rabbitmq_check with a hung node")
        yield one_hung(rabbit, where)
        say(f"rabbitmq_check with {SOME} queues, then {MANY}")
        yield from with_many_queues(rabbit, where)


def declare(rabbit: RabbitCluster, numbers: range) -> None:
    """Queues by AMQP, led by all nodes: two durable quorum queues, durable classic ones, transient ones beyond SOME."""

    def one(channel: Any, number: int) -> None:
        kind = {"x-queue-type": "quorum" if number < 2 else "classic"}
        channel.queue_declare(_name(number), durable=number < SOME, arguments=kind)

    _for_each(rabbit, numbers, one)


def _delete(rabbit: RabbitCluster, numbers: range) -> None:
    _for_each(rabbit, numbers, lambda channel, number: channel.queue_delete(_name(number)))


def _name(number: int) -> str:
    return f"st2.bench.{number:05}"


def _for_each(rabbit: RabbitCluster, numbers: range, do: Callable[[Any, int], object]) -> None:
    """With a channel to the node that leads, or is to lead, the queue of that number."""

    def through(node: int) -> None:
        connection = rabbit.connect(rabbit.members[node].name)
        channel = connection.channel()
        for number in numbers[node :: len(rabbit.members)]:
            do(channel, number)
        connection.close()

    with ThreadPoolExecutor(len(rabbit.members)) as pool:
        list(pool.map(through, range(len(rabbit.members))))


def _check_s(where: Deployment) -> float:
    began = time.perf_counter()
    operations.check(where)
    return time.perf_counter() - began


def _bares_s(rabbit: RabbitCluster) -> float:
    """All nodes asked at once by bare clients; the slowest counts."""
    with ThreadPoolExecutor(len(rabbit.hosts)) as pool:
        return max(pool.map(lambda host: _bare_s(rabbit, host), rabbit.hosts))


def _bare_s(rabbit: RabbitCluster, host: str) -> float:
    """A fresh connection, and the questions one after the other, by http.client."""
    token = b64encode(f"st2ha:{rabbit.logins['st2ha'].password}".encode()).decode()
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=30)
    for path in PATHS:
        connection.request("GET", path, headers={"authorization": f"Basic {token}"})
        json.loads(connection.getresponse().read())
    connection.close()
    return time.perf_counter() - began


def against_bare_node(rabbit: RabbitCluster, where: Deployment) -> Figure:
    """A B A B: the check of all nodes, and all of them asked by bare clients."""
    _check_s(where)
    ratios, checks, bares = [], [], []
    for number in range(PAIRS):
        if number % 2:
            checks.append(_check_s(where))
            bares.append(_bares_s(rabbit))
        else:
            bares.append(_bares_s(rabbit))
            checks.append(_check_s(where))
        ratios.append(checks[-1] / bares[-1])
    return Figure(
        "rabbitmq_check_to_bare_node", statistics.median(ratios), 1.5, "x",
        f"check {1000 * statistics.median(checks):.0f} ms, slowest bare node {1000 * statistics.median(bares):.0f} ms",
        f"median ratio of {PAIRS} alternating pairs; all nodes at once, fresh connections",
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


def detection(rabbit: RabbitCluster, where: Deployment) -> Figure:
    """From kill -9 of a node to the observer's look that says so, in a thread of this process."""
    told: list[tuple[float, set[str]]] = []
    over, took = threading.Event(), []

    def tell(look: dict[str, Any]) -> None:
        told.append((time.monotonic(), {row["code"] for row in look.get("findings", ())}))
        if over.is_set():
            raise SystemExit  # of its thread

    watching = threading.Thread(target=Watch(lambda: where.require("rabbitmq"), tell).run, daemon=True)
    watching.start()
    for _ in range(DETECTIONS):
        wait_for(lambda: told and not told[-1][1], 60, "a look that finds nothing")
        told.clear()
        began = time.monotonic()
        rabbit.kill("rabbit2")
        wait_for(lambda: any("NodeDown" in found for _, found in told), 20, "NodeDown", interval_s=0.01)
        took.append(next(at for at, found in told if "NodeDown" in found) - began)
        rabbit.restore()
    over.set()
    watching.join(30)
    beside = f"median {statistics.median(took):.2f} s"
    return Figure("rabbitmq_detection_of_a_kill", worst(took), 2.0, "s", beside, f"worst of {DETECTIONS}")


def one_hung(rabbit: RabbitCluster, where: Deployment) -> Figure:
    """SIGSTOP of a node. It is killed then: one that wakes up after the others have lost it parts the cluster."""
    rabbit.hang("rabbit3")
    slowest = worst(_hung_s(where) for _ in range(ROUNDS))
    rabbit.kill("rabbit3")
    rabbit.restore()
    return Figure(
        "rabbitmq_check_one_hung", slowest, TIMEOUT_S * 1.2, "s", f"its timeout is {TIMEOUT_S:g} s",
        f"SIGSTOP of a node, whose peers wait for it; worst of {ROUNDS}",
    )  # fmt: skip


def _hung_s(where: Deployment) -> float:
    """Seconds of a check; no number if it does not say that the node hangs."""
    began = time.perf_counter()
    report = operations.check(where, TIMEOUT_S)
    took_s = time.perf_counter() - began
    return took_s if any(finding.code == "NodeHung" for finding in report.findings) else float("nan")


def with_many_queues(rabbit: RabbitCluster, where: Deployment) -> Iterator[Figure]:
    """Without mirrors, which cost the nodes themselves more: 10,000 mirrored queues would be 30,000 processes here."""
    _unmirror(rabbit)
    few, some, ratios = [], [], []
    for number in range(ROUNDS):
        if number:
            _delete(rabbit, range(FEW, SOME))
        few.append(_calm_check_s(where))
        declare(rabbit, range(FEW, SOME))
        some.append(_calm_check_s(where))
        ratios.append(some[-1] / few[-1])
    rabbit.mirror_all()
    wait_for(lambda: not operations.check(where).findings, 60, "synchronised mirrors")
    mirrored_s = _calm_check_s(where)
    _unmirror(rabbit)
    few_ms, some_ms = 1000 * statistics.median(few), 1000 * statistics.median(some)
    yield Figure(
        "rabbitmq_check_300_queues", statistics.median(ratios), 2.0, "x",
        f"{some_ms:.0f} ms with {SOME}, {few_ms:.0f} ms with {FEW}; mirrored {1000 * mirrored_s:.0f} ms",
        f"median ratio of {ROUNDS} rounds with {FEW} and then {SOME}, each time the median of {CHECKS}",
    )  # fmt: skip
    some_mb = _alone(rabbit, SOME)
    began = time.perf_counter()
    declare(rabbit, range(SOME, MANY))
    made_s = time.perf_counter() - began
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = operations.check(where, MANY_S * 3).facts["queues"]
        took.append(time.perf_counter() - began if found == MANY else float("nan"))
    beside = f"best {min(took):.1f} s; to declare them took {made_s:.0f} s"
    yield Figure("rabbitmq_check_10000_queues", worst(took), MANY_S, "s", beside, f"all are read; worst of {ROUNDS}")
    many_mb = _alone(rabbit, MANY)
    beside = f"{many_mb:.0f} MB with {MANY}"
    yield Figure("rabbitmq_check_memory", some_mb, 100.0, "MB", beside, f"peak of a process of its own, {SOME} queues")


def _calm_check_s(where: Deployment) -> float:
    time.sleep(CALM_S)
    return statistics.median(_check_s(where) for _ in range(CHECKS))


def _unmirror(rabbit: RabbitCluster) -> None:
    rabbit.api("rabbit1", "DELETE", "/api/policies/st2/ha-all")


def _alone(rabbit: RabbitCluster, queues: int) -> float:
    """Peak memory in MB of a process that checks once; LabError if it does not see all queues."""
    command = [sys.executable, "-c", ALONE, str(rabbit.directory / "ha.yaml")]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "actions" / "lib")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=90, check=True)
    found, peak_kb = done.stdout.split()
    if found != str(queues):
        raise LabError(f"the check saw {found} queues, not {queues}")
    return int(peak_kb) / 1024
