"""What an action costs before it does anything: its entry and the library, in fresh interpreters."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.figures import Figure
from lab.cluster import ROOT
from lab.errors import LabError

ROUNDS = 21
MONGODB = {
    "hosts": ["mongo1:27017", "mongo2:27017", "mongo3:27017"], "replica_set": "rs0",
    "username": "st2ha", "password": "never sent",
}  # fmt: skip
LIBRARY = ROOT / "actions" / "lib"
# All end like this, so that none pays for taking down what it imported.
END = "os._exit(0)"
BARE = f"import os; {END}"
DRIVER = f"import os, pymongo; {END}"
# Runs the entry, and ends where StackStorm's runner would call `run`.
ENTERED = """
import os, sys
names = {{"__name__": "entry"}}
with open({path!r}) as file:
    exec(compile(file.read(), {path!r}, "exec"), names)
run = names[{class_name!r}](config={config!r}).run
"""
# Goes on as the runner does, and ends in place of the library's function at which the work would begin.
AT_WORK = """
__import__({module!r})
vars(sys.modules[{module!r}])[{function!r}] = lambda *given, **named: os._exit(0)
run(**{parameters!r})
os._exit(1)
"""


def measure() -> Iterator[Figure]:
    """An action without MongoDB, and one that needs its driver; medians above a bare interpreter. Needs no server."""
    config = {"deployments": [{"name": "lab", "mongodb": MONGODB}]}
    light = _entry("notify", "Notify", "st2ha.notify", "notify", {}, {"message": "x"})
    heavy = _entry("mongodb_check", "MongodbCheck", "st2ha.probe", "ask_all", config, {})
    rows = [[_run_s(code) for code in (BARE, *light, *heavy, DRIVER)] for _ in range(ROUNDS + 1)]
    del rows[0]  # it may have compiled something
    bare_ms, light_ms, light_work_ms, heavy_ms, heavy_work_ms, driver_ms = (
        1000 * statistics.median(row[column] - (row[0] if column else 0.0) for row in rows) for column in range(6)
    )
    bare, how = f"a bare interpreter: {bare_ms:.1f} ms", f"median of {ROUNDS} in turn"
    beside = f"until its work begins: {light_work_ms:.0f} ms, {bare}"
    yield Figure("startup_without_driver", light_ms, 60, "ms", beside, f"notify, until `run` is entered; {how}")
    # The library and its driver are imported inside `run`: up to there they would be left out of their own limit.
    beside = f"until `run` is entered: {heavy_ms:.0f} ms, `import pymongo` alone: {driver_ms:.0f} ms, {bare}"
    yield Figure("startup_with_pymongo", heavy_work_ms, 200, "ms", beside, f"mongodb_check, until it would ask; {how}")


def _entry(
    name: str, class_name: str, module: str, function: str, config: dict[str, Any], parameters: dict[str, Any]
) -> tuple[str, str]:
    """Code that ends where `run` is entered, and code that ends where its work begins."""
    path = str(ROOT / "actions" / f"{name}.py")
    entered = ENTERED.format(path=path, class_name=class_name, config=config)
    return entered + END, entered + AT_WORK.format(module=module, function=function, parameters=parameters)


def environment() -> dict[str, str]:
    """Of an action's process: our library, and bytecode, which StackStorm's runner (root) leaves behind."""
    wanted = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**wanted, "PYTHONPATH": str(LIBRARY)}


def _run_s(code: str) -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], env=environment(), check=False)
    took_s = time.perf_counter() - began
    if done.returncode:
        raise LabError("an action did not reach its work in a fresh interpreter: see stderr")
    return took_s
