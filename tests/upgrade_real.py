"""The upgrade's actions on two stand-in sides, and a controller that is killed at a chosen point."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import PyMongoError

from lab.rabbitmq_access import STACKSTORM_VHOST
from lab.stackstorm import INFLOW, TwoSides
from lab.stackstorm_traffic import Traffic
from lab.wait import wait_for
from st2ha.mongodb.copy.facts import LEDGER
from tests.real import PACK, REVIEWED, run

LONG = bool(os.environ.get("ST2HA_TEST_LONG"))
KILLED = """
import json, os, signal, sys
from st2ha.config import select
from st2ha.plan import Journal
from st2ha.upgrade import operations
from st2ha.upgrade.ledger import Ledger
config, action, point, more = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
count, recorded, write = 0, Ledger.recorded, Journal.write

def may_die(*where):
    global count
    if count == point:
        print(*where, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1

def around(self, phase, verb):
    def inner(step):
        may_die("before", step.verb, step.target)
        note = verb(step)
        may_die("after", step.verb, step.target)
        return note
    return recorded(self, phase, inner)

def journal(self, **entry):
    write(self, **entry)
    if entry["event"] == "step" and entry["state"] == "done":
        may_die("after the record of", entry["verb"], entry["target"])

Ledger.recorded, Journal.write = around, journal
result = getattr(operations, action)(select(config), **more)
print(json.dumps({"error": result.get("error"), "points": count}))
"""
"""A controller that kills itself at a point: after a step's intent was written, after it was done, after that was
written; and after each smaller step of the layers, such as one balancer's."""


def config(sides: TwoSides, **upgrade: Any) -> dict[str, Any]:
    """The pack's configuration for both sides."""
    deployment = sides.deployment(**upgrade)
    deployment["mongodb"]["reviewed_rollbacks"] = dict.fromkeys(sides.mongo.hosts, REVIEWED)
    return {"deployments": [deployment]}


def do(sides: TwoSides, action: str, **parameters: Any) -> dict[str, Any]:
    """An upgrade action that must succeed; its result."""
    passed, result = run(config(sides), f"upgrade_{action}", deployment="lab", **parameters)
    assert passed, result
    return result


def killed_at(sides: TwoSides, action: str, point: int, **more: Any) -> str:
    """Run an action's work in a process that kills itself at the point: where that was; empty if it ended before."""
    command = [sys.executable, "-c", KILLED, json.dumps(config(sides)), action, str(point), json.dumps(more)]
    environment = {"PYTHONPATH": str(PACK / "actions" / "lib"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    if told.returncode == -signal.SIGKILL:
        where = told.stderr.splitlines()[-1]
        print(f"{action} {point}: killed {where}")
        return where
    assert told.returncode == 0, told.stderr[-2000:]
    assert json.loads(told.stdout)["error"] is None, told.stdout
    return ""


@contextlib.contextmanager
def meanwhile(sides: TwoSides, where: tuple[str, dict[str, Any]] | None, fault: Callable[[], Any]) -> Iterator[None]:
    """The fault as soon as a document like this is in the ledger's collection; none without one."""
    failed: list[Exception] = []

    def watch(name: str, wanted: dict[str, Any]) -> None:
        rows = sides.mongo.client(login="lab_root")[LEDGER][name]
        try:
            wait_for(lambda: rows.find_one(wanted), 60, str(wanted), interval_s=0.005, retry_on=(PyMongoError,))
            fault()
        except Exception as error:  # noqa: BLE001 - told in the test's own thread
            failed.append(error)

    watcher = threading.Thread(target=watch, args=where)
    if where:
        watcher.start()
    yield
    if where:
        watcher.join(90)
    assert not failed, failed


def assert_nothing_lost(sides: TwoSides, traffic: Traffic, side: str) -> None:
    """No job lost, none twice, no event on both sides, no failed request; and `side` alone serves and listens.

    Who listens to st2stream through the balancers is told of that side's work.
    """
    traffic.hear(f"{side}1")
    traffic.stop()
    traffic.settle()
    assert_only(sides, traffic, side)
    database = sides.name if side == "new" else "st2"
    found = sides.mongo.client(login="lab_root")[database].live_action_d_b
    jobs = {"_id": {"$in": [ObjectId(job) for job in traffic.jobs]}}
    open_jobs = {**jobs, "status": {"$ne": "succeeded"}}  # written after the record
    wait_for(lambda: found.count_documents(open_jobs) == 0, 60, "the last jobs' status")
    if side == "new":
        assert found.count_documents(jobs) == len(traffic.jobs)


def assert_only(sides: TwoSides, traffic: Traffic, side: str) -> None:
    """As far as it can be told under load: nothing twice, no failed request, and `side` alone serves and listens."""
    assert traffic.failed == []
    assert traffic.twice() == []
    assert sides.serves("lb1") == sides.serves("lb2") == f"{side}1"
    other = "old1" if side == "new" else "new1"
    assert set(INFLOW) <= sides.runs(f"{side}1") and not set(INFLOW) & sides.runs(other)


@contextlib.contextmanager
def config_of_retired(sides: TwoSides) -> Iterator[None]:
    """The configuration names the new vhost, as before upgrade_retire."""
    deployment = sides.deployment
    with pytest.MonkeyPatch.context() as patch:

        def changed(**upgrade: Any) -> dict[str, Any]:
            found = deployment(**upgrade)
            return {**found, "rabbitmq": {**found["rabbitmq"], "vhost": sides.name}}

        patch.setattr(sides, "deployment", changed)
        yield


def backup(sides: TwoSides) -> Path:
    return sides.directory / "new1" / "st2.conf.st2ha-before"


def restore_vhost(sides: TwoSides) -> None:
    """The session's cluster is shared: its vhost comes back with everybody's rights."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    sides.rabbit.api("rabbit1", "PUT", f"/api/vhosts/{STACKSTORM_VHOST}", {})
    for user in sides.rabbit.logins:
        sides.rabbit.api("rabbit1", "PUT", f"/api/permissions/{STACKSTORM_VHOST}/{user}", everything)
    sides.rabbit.mirror_all()
