"""The figures of nginx in the area `edge`: switches on two real balancers while clients ask."""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Callable

from benchmarks.figures import Figure, worst
from lab.boxes import HUB
from lab.cluster import ROOT
from lab.edge import VIP, EdgeLab
from lab.errors import LabError
from st2ha.config import Deployment, select
from st2ha.edge.nginx import operations

RATE, SWITCHES, KEPT_SWITCHES, CALM_S = 500, 5, 10, 1.0


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in half a minute."""
    with EdgeLab() as edge, edge.inside(HUB):
        where = select({"deployments": [edge.deployment()]}, "lab")
        say(f"switches and undos under {RATE} new connections/s")
        yield from new_connections(edge, where)
        say(f"{KEPT_SWITCHES} switches under kept connections")
        yield kept_connections(edge, where)


def new_connections(edge: EdgeLab, where: Deployment) -> Iterator[Figure]:
    """From the call to the last proof, and what clients saw meanwhile."""
    switches, undos = [], []
    with clients(edge, "new") as told:
        for number in range(SWITCHES):
            time.sleep(CALM_S)
            group = "blue" if number % 2 else "green"
            switches.append(_took(edge, functools.partial(operations.switch, where, group)))
            time.sleep(CALM_S)
            undos.append(_took(edge, functools.partial(operations.undo, where)))
            _took(edge, functools.partial(operations.switch, where, group))
    asked, failed = sum(told["answered"].values()) + sum(told["failures"].values()), sum(told["failures"].values())
    for name, found in (("nginx_switch", switches), ("nginx_switch_undo", undos)):
        beside = f"median {statistics.median(found):.2f} s"
        how = f"worst of {SWITCHES} under {RATE} requests/s, two balancers, from the first read to the last proof"
        yield Figure(name, worst(found), 0.5, "s", beside, how)
    yield Figure(
        "nginx_switch_failed_requests", failed, 0, "requests", f"of {asked}", "each on a connection of its own"
    )


def kept_connections(edge: EdgeLab, where: Deployment) -> Figure:
    """Clients that look before they use a connection again."""
    with clients(edge, "kept") as told:
        for number in range(KEPT_SWITCHES):
            time.sleep(CALM_S)
            _took(edge, functools.partial(operations.switch, where, "green" if number % 2 else "blue"))
    failed = sum(told["failures"].values())
    asked = sum(told["answered"].values()) + failed
    return Figure(
        "nginx_switch_kept_failed", 100 * failed / asked, 0.5, "%", f"{failed} of {asked}",
        f"50 connections that are kept, {RATE} requests/s, {KEPT_SWITCHES} switches",
    )  # fmt: skip


@contextlib.contextmanager
def clients(edge: EdgeLab, kind: str) -> Iterator[dict[str, Any]]:
    """Clients ask through the VIP meanwhile; afterwards the dictionary has what they tell."""
    command = [sys.executable, str(ROOT / "lab" / "edge_load.py"), kind, VIP, str(RATE)]
    process = subprocess.Popen(
        edge.command(HUB, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=edge.environment(), text=True
    )
    told: dict[str, Any] = {}
    try:
        time.sleep(CALM_S)
        yield told
        time.sleep(CALM_S)
        told.update(json.loads(process.communicate(timeout=60)[0]))
    finally:
        process.kill()
        process.wait(10)


def _took(edge: EdgeLab, change: Callable[[], dict[str, Any]]) -> float:
    """Seconds from the call to the last proof, by the journal. LabError if it did not do its job."""
    journal = edge.directory / "journal"
    os.environ["ST2HA_JOURNAL"] = str(journal)
    began = time.time()
    try:
        result = change()
    finally:
        del os.environ["ST2HA_JOURNAL"]
    if result.get("outcome") != "done":
        raise LabError(f"no switch: {result.get('error') or result['summary']}")
    proved = json.loads(journal.read_text().splitlines()[-1])
    return datetime.datetime.fromisoformat(proved["at"]).timestamp() - began
