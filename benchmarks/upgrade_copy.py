"""A copy of a large database under writes, beside the server's own `$out` and index build under the same writes."""

from __future__ import annotations

import json
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

from benchmarks.figures import Figure
from benchmarks.startup import environment
from lab.cluster import ROOT
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.stackstorm_database import EXECUTION_INDEXES, execution

SOURCE, TARGET, RAW = "st2", "st2_v2_5", "raw_copy"
WRITES_S, WRITERS = 100, 20
RUN = """
import json, resource, sys
sys.path.insert(0, sys.argv[1] + "/actions/lib")
from st2ha.config import select
from st2ha.mongodb.copy.operations import copy_database
import yaml
result = copy_database(select(yaml.safe_load(open(sys.argv[2]))), sys.argv[3], sys.argv[4], verify="snapshot")
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
steps = [[s["verb"], s["took_s"]] for s in result.get("steps_done", ())]
told = {"error": result.get("error"), "lag_s": result.get("facts", {}).get("lag_s"), "peak_mb": peak_mb, "steps": steps}
print(json.dumps(told))
"""


def measure(rs: MongoCluster, documents: int, say: Callable[[str], None]) -> Iterator[Figure]:
    """Copies SOURCE to TARGET, which stays."""
    root = patient(rs)
    say(f"the server's own $out and index build, without writes, then under {WRITES_S} writes/s")
    still_s = _raw(root)
    with Writes(root):
        raw_s = _raw(root)
    say(f"mongodb_copy_database under {WRITES_S} writes/s")
    with Writes(root) as writes:
        told, took_s = _copy(rs)
        rate = writes.done / took_s
    steps = dict(told["steps"])
    proof_s = steps["verify"]
    copy_s = sum(took for _, took in told["steps"]) - proof_s
    how = f"{documents} documents of 1 kB, {len(EXECUTION_INDEXES)} indexes, {rate:.0f} writes/s, 1 run each"
    beside = (
        f"from its cluster time to caught up {copy_s:.1f} s ($out {steps['copy_collection']:.1f}, "
        f"indexes {steps['build_indexes']:.1f}), raw {raw_s:.1f} s, without writes {still_s:.1f} s; "
        f"the proof {proof_s:.1f} s more"
    )
    yield Figure("copy_to_raw_out", copy_s / raw_s, 1.5, "x", beside, how)
    yield Figure("copy_memory", told["peak_mb"], 150, "MB", f"the whole process, which took {took_s:.1f} s", how)
    yield Figure("copy_lag_afterwards", float(told["lag_s"]), 1.0, "s", "", how)


def patient(rs: MongoCluster) -> Any:
    """A client that waits for an index build."""
    return rs.client(login="lab_root", socketTimeoutMS=1_800_000)


def _raw(root: Any) -> float:
    began = time.monotonic()
    root[SOURCE].action_execution_d_b.aggregate([{"$out": {"db": RAW, "coll": "action_execution_d_b"}}])
    root[RAW].action_execution_d_b.create_indexes([IndexModel(list(keys)) for keys in EXECUTION_INDEXES])
    took_s = time.monotonic() - began
    root.drop_database(RAW)
    return took_s


def _copy(rs: MongoCluster) -> tuple[Any, float]:
    """What the copying process tells of itself, and its seconds."""
    login = rs.logins["st2ha_upgrade"]
    deployment = rs.deployment()
    deployment["mongodb"].update(username=login.username, password_file=str(login.password_file))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "ha.yaml")
        path.write_text(yaml.safe_dump({"deployments": [deployment]}))
        command = [sys.executable, "-c", RUN, str(ROOT), str(path), SOURCE, TARGET]
        began = time.monotonic()
        told = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        took_s = time.monotonic() - began
    if told.returncode or json.loads(told.stdout)["error"]:
        raise LabError(f"the copy failed: {told.stdout or told.stderr[-300:]}")
    return json.loads(told.stdout), took_s


class Writes:
    """WRITES_S writes a second, half of them updates; each waits for a majority, so several are under way at once."""

    def __init__(self, root: Any) -> None:
        self._collection = root[SOURCE].action_execution_d_b
        self._counts = [0] * WRITERS
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(WRITERS)]

    @property
    def done(self) -> int:
        return sum(self._counts)

    def __enter__(self) -> Writes:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        began, pairs = time.monotonic() + 2 * number / WRITES_S, 0
        while not self._end.wait(max(0.0, began + 2 * WRITERS * pairs / WRITES_S - time.monotonic())):
            pairs += 1
            document = execution(pairs)
            try:
                self._collection.insert_one(document)
                self._collection.update_one({"_id": document["_id"]}, {"$set": {"status": "failed"}})
                self._counts[number] += 2
            except PyMongoError:
                continue
