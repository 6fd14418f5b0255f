"""The upgrade's actions on two stand-in sides, and a controller that is killed at a chosen point."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from bson import ObjectId

from lab.rabbitmq_access import STACKSTORM_VHOST
from lab.stackstorm import INFLOW, Traffic, TwoSides
from lab.wait import wait_for
from tests.real import PACK, REVIEWED, run

KILLED = """
import json, os, signal, sys
from st2ha.upgrade.ledger import Ledger
from st2ha.config import select
from st2ha.upgrade import operations
config, action, point, more = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
count, recorded = 0, Ledger.recorded

def die_at():
    global count
    if count == point:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1

def killing(self, phase, verb):
    run = recorded(self, phase, verb)
    def wrapped(step):
        die_at()
        note = run(step)
        die_at()
        return note
    return wrapped

Ledger.recorded = killing
result = getattr(operations, action)(select(config), **more)
print(json.dumps({"error": result.get("error"), "points": count}))
"""


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


def killed_at(sides: TwoSides, action: str, point: int, **more: Any) -> bool:
    """Run an action's work in a process that kills itself at the point; False if it ended before."""
    command = [sys.executable, "-c", KILLED, json.dumps(config(sides)), action, str(point), json.dumps(more)]
    environment = {"PYTHONPATH": str(PACK / "actions" / "lib"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    if told.returncode == -signal.SIGKILL:
        return True
    assert told.returncode == 0, told.stderr[-2000:]
    assert json.loads(told.stdout)["error"] is None, told.stdout
    return False


def assert_nothing_lost(sides: TwoSides, traffic: Traffic, side: str) -> None:
    """No job lost, none twice, no event on both sides, no failed request; and `side` alone serves and listens."""
    traffic.stop()
    traffic.settle()
    assert traffic.failed == []
    assert traffic.twice() == []
    assert sides.serves("lb1") == sides.serves("lb2") == f"{side}1"
    other = "old1" if side == "new" else "new1"
    assert set(INFLOW) <= sides.runs(f"{side}1") and not set(INFLOW) & sides.runs(other)
    database = sides.name if side == "new" else "st2"
    found = sides.mongo.client(login="lab_root")[database].live_action_d_b
    jobs = {"_id": {"$in": [ObjectId(job) for job in traffic.jobs]}}
    open_jobs = {**jobs, "status": {"$ne": "succeeded"}}  # written after the record
    wait_for(lambda: found.count_documents(open_jobs) == 0, 60, "the last jobs' status")
    if side == "new":
        assert found.count_documents(jobs) == len(traffic.jobs)


def backup(sides: TwoSides) -> Path:
    return sides.directory / "new1" / "st2.conf.st2ha-before"


def restore_vhost(sides: TwoSides) -> None:
    """The session's cluster is shared: its vhost comes back with everybody's rights."""
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    sides.rabbit.api("rabbit1", "PUT", f"/api/vhosts/{STACKSTORM_VHOST}", {})
    for user in sides.rabbit.logins:
        sides.rabbit.api("rabbit1", "PUT", f"/api/permissions/{STACKSTORM_VHOST}/{user}", everything)
    sides.rabbit.mirror_all()
