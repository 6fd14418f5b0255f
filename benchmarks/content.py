"""The figures of the area `content`: three nodes in mount namespaces, each with 20,000 files and 300 MB of its own."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Callable

from benchmarks.figures import Figure, worst
from lab.cluster import ROOT
from lab.content import PYTHON, ContentNodes
from lab.errors import LabError
from st2ha.config import Deployment, select
from st2ha.content import operations

FILES, MEGABYTES, PACKS = 20_000, 300, 50
PAIRS, ROUNDS = 10, 3
SETTLE_S = 2.2
SILENCE_S = 2.0
WALK = """
import os, sys
for directory, below, files in os.walk(sys.argv[1]):
    for name in below + files:
        os.lstat(os.path.join(directory, name))
"""
ALONE = (
    "import resource, sys, yaml; from st2ha.config import select; from st2ha.content import operations; "
    "found = operations.check(select(yaml.safe_load(open(sys.argv[1])))); "
    "usage = resource.getrusage; print(found.severity.word, usage(resource.RUSAGE_SELF).ru_maxrss, "
    "usage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about a minute."""
    with ContentNodes(members=3) as nodes:
        say(f"making {FILES} files, {MEGABYTES} MB, on three nodes")
        _fill(nodes)
        where: Deployment = select({"deployments": [nodes.deployment()]}, "lab")
        time.sleep(SETTLE_S)
        began = time.perf_counter()
        _checked_s(where)
        first_s = time.perf_counter() - began
        say("content_check against a bare walk")
        yield against_walk(nodes, where, first_s)
        yield memory(nodes)
        say("content_check with a hung mount")
        yield one_hung(nodes)


def _fill(nodes: ContentNodes) -> None:
    """Packs of StackStorm's shape: directories of some dozen files."""
    random.seed(6)
    block = random.randbytes(1 << 20)
    size = MEGABYTES * 1_000_000 // FILES
    for number in range(FILES):
        place = nodes.disk("node1") / "packs" / f"pack{number % PACKS:02}" / f"part{number // PACKS % 20:02}"
        place.mkdir(parents=True, exist_ok=True)
        start = random.randrange(len(block) - 2 * size)
        (place / f"action_{number:05}.py").write_bytes(block[start : start + random.randrange(size, size + 200)])
    for number in range(PACKS):
        words = f"ref: pack{number:02}\nversion: 1.0.{number}\n"
        (nodes.disk("node1") / "packs" / f"pack{number:02}" / "pack.yaml").write_text(words)
    for name in ("node2", "node3"):
        shutil.rmtree(nodes.disk(name) / "packs")
        shutil.copytree(nodes.disk("node1") / "packs", nodes.disk(name) / "packs")


def _checked_s(where: Deployment) -> float:
    began = time.perf_counter()
    report = operations.check(where)
    took_s = time.perf_counter() - began
    if report.findings:
        raise LabError(f"the check found {report.findings[0].line()}")
    return took_s


def _walk_s(nodes: ContentNodes) -> float:
    """A process of its own on one node, as the check's are."""
    command = [*nodes.inside("node1"), PYTHON, "-c", WALK, str(nodes.root)]
    began = time.perf_counter()
    subprocess.run(command, check=True, timeout=60)
    return time.perf_counter() - began


def against_walk(nodes: ContentNodes, where: Deployment, first_s: float) -> Figure:
    """A B A B: the check of three nodes, and one node walked."""
    ratios, checks, walks = [], [], []
    for _ in range(PAIRS):
        walks.append(_walk_s(nodes))
        checks.append(_checked_s(where))
        ratios.append(checks[-1] / walks[-1])
    beside = (
        f"check {1000 * statistics.median(checks):.0f} ms (the first, which reads all, {first_s:.1f} s), "
        f"walk {1000 * statistics.median(walks):.0f} ms"
    )
    how = f"median of {PAIRS} pairs; {FILES} files on each of 3 nodes, os.walk and os.lstat on one"
    return Figure("content_check_to_bare_walk", statistics.median(ratios), 1.5, "x", beside, how)


def memory(nodes: ContentNodes) -> Figure:
    """The check's process, and the largest of those that it started on the nodes."""
    import yaml

    config = nodes.directory / "ha.yaml"
    config.write_text(yaml.safe_dump({"deployments": [nodes.deployment()]}))
    shutil.rmtree(nodes.directory / "cache")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "actions" / "lib")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(config)], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    severity, own_kb, theirs_kb = done.stdout.split()
    if severity != "ok":
        raise LabError(f"the check is {severity}")
    peaks = int(own_kb) / 1024, int(theirs_kb) / 1024
    beside = f"its own process {peaks[0]:.0f} MB, the reader on a node {peaks[1]:.0f} MB"
    return Figure("content_check_memory", worst(peaks), 150.0, "MB", beside, "peak of the first check, no cache")


def one_hung(nodes: ContentNodes) -> Figure:
    """SIGSTOP of a file server, on one node; its other roots hang with it."""
    nodes.reset()
    for member in nodes.members:
        nodes.serve(member.name, "nfs1:/export")
    layers = nodes.deployment()
    layers["content"]["mount_timeout_s"] = SILENCE_S
    where = select({"deployments": [layers]}, "lab")
    _checked_s(where)
    nodes.servings["node2"].hang()
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        found = {finding.code for finding in operations.check(where).findings}
        took.append(time.perf_counter() - began if found == {"MountHung"} else float("nan"))
    nodes.servings["node2"].kill()
    beside = f"its deadline is {SILENCE_S:g} s; packs, configs and virtualenvs lie in it"
    return Figure("content_check_one_hung", worst(took), SILENCE_S * 1.2, "s", beside, f"worst of {ROUNDS}")
