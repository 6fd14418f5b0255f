"""The figures of the area `upgrade`: the window of a cutover, and a copy beside the server's own `$out` and indexes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pymongo import IndexModel
from pymongo.errors import PyMongoError

from benchmarks import upgrade_window
from benchmarks.figures import Figure
from benchmarks.startup import environment
from benchmarks.upgrade_window import Window
from lab.cluster import ROOT
from lab.errors import LabError
from lab.install import install_mongodb
from lab.mongodb import MongoCluster
from lab.rabbitmq import RabbitCluster
from lab.stackstorm_database import EXECUTION_INDEXES, execution, fill
from st2ha.mongodb.copy.facts import LEDGER

SMALL = int(os.environ.get("ST2HA_BENCH_SMALL", "100000"))
DOCUMENTS = int(os.environ.get("ST2HA_BENCH_DOCUMENTS", "500000"))
SOURCE, TARGET, RAW = "st2", "st2_v2_5", "raw_copy"
RUN = """
import json, resource, sys
sys.path.insert(0, sys.argv[1] + "/actions/lib")
from st2ha.config import select
from st2ha.mongodb.copy.operations import copy_database
import yaml
result = copy_database(select(yaml.safe_load(open(sys.argv[2]))), "st2", "st2_v2_5", verify="snapshot")
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
steps = {f"{s['verb']} {s['target']}": s["took_s"] for s in result.get("steps_done", ())}
told = {"error": result.get("error"), "lag_s": result["facts"].get("lag_s"), "peak_mb": peak_mb, "steps": steps}
print(json.dumps(told))
"""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """The copy, in some minutes, most of which it takes to fill the database."""
    install_mongodb()
    with RabbitCluster(members=3) as rabbit:
        with MongoCluster(members=3) as rs:
            small = _window(rs, rabbit, SMALL, say)
        with MongoCluster(members=3) as rs:
            large = _window(rs, rabbit, DOCUMENTS, say)
            yield from upgrade_window.figures(small, large, (SMALL, DOCUMENTS))
            yield from _copies(rs, say)


def _window(rs: MongoCluster, rabbit: RabbitCluster, documents: int, say: Callable[[str], None]) -> Window:
    say(f"filling a database with {documents} documents and StackStorm's indexes")
    fill(_patient(rs), SOURCE, documents)
    say("an upgrade, and back")
    return upgrade_window.measure(rs, rabbit, f"st2_of_{documents}")


def _copies(rs: MongoCluster, say: Callable[[str], None]) -> Iterator[Figure]:
    """Beside the old database, in which the upgrade and its way back have left some executions more."""
    root = _patient(rs)
    for name in (f"st2_of_{DOCUMENTS}", LEDGER):
        root.drop_database(name)
    say("the server's own $out and index build")
    raw_s = _raw(root)
    root.drop_database(RAW)
    say("mongodb_copy_database under 100 writes/s")
    yield from _copy(rs, root, raw_s)


def _patient(rs: MongoCluster) -> Any:
    return rs.client(login="lab_root", socketTimeoutMS=1_800_000)


def _raw(root: Any) -> float:
    began = time.monotonic()
    root[SOURCE].action_execution_d_b.aggregate([{"$out": {"db": RAW, "coll": "action_execution_d_b"}}])
    root[RAW].action_execution_d_b.create_indexes([IndexModel(list(keys)) for keys in EXECUTION_INDEXES])
    return time.monotonic() - began


def _copy(rs: MongoCluster, root: Any, raw_s: float) -> Iterator[Figure]:

    login = rs.logins["st2ha_upgrade"]
    deployment = rs.deployment()
    deployment["mongodb"].update(username=login.username, password_file=str(login.password_file))
    with tempfile.TemporaryDirectory() as directory, _Writes(root) as writes:
        path = Path(directory, "ha.yaml")
        path.write_text(yaml.safe_dump({"deployments": [deployment]}))
        began = time.monotonic()
        command = [sys.executable, "-c", RUN, str(ROOT), str(path)]
        told = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        took_s = time.monotonic() - began
        if told.returncode or json.loads(told.stdout)["error"]:
            raise LabError(f"the copy failed: {told.stdout or told.stderr[-300:]}")
        rate = writes.count / took_s
    found = json.loads(told.stdout)
    names = ("copy_collection action_execution_d_b", "build_indexes action_execution_d_b")
    copy_s = sum(found["steps"][name] for name in names)
    how = f"{DOCUMENTS} documents of 1 kB, {len(EXECUTION_INDEXES)} indexes, {rate:.0f} writes/s, 1 run each"
    yield Figure("copy_to_raw_out", copy_s / raw_s, 1.5, "x", f"copy {copy_s:.1f} s, raw {raw_s:.1f} s", how)
    yield Figure("copy_memory", found["peak_mb"], 150, "MB", f"all of it took {took_s:.1f} s", how)
    yield Figure("copy_lag_afterwards", float(found["lag_s"]), 1.0, "s", "", how)


class _Writes:
    """100 writes a second, half of them updates."""

    def __init__(self, root: Any) -> None:
        self.count = 0
        self._collection = root[SOURCE].action_execution_d_b
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Writes:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._end.wait(max(0.0, began + self.count / 100 - time.monotonic())):
            document = execution(self.count)
            try:
                self._collection.insert_one(document)
                self._collection.update_one({"_id": document["_id"]}, {"$set": {"status": "failed"}})
            except PyMongoError:
                continue
            finally:
                self.count += 2
