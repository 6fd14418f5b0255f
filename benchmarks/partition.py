"""The figures of the area `partition`: hashing, planning a million sensors, balance, moves, leases."""

from __future__ import annotations

import hashlib
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from ctypes import c_uint
from dataclasses import replace
from typing import Callable

from benchmarks import lease
from benchmarks.figures import Figure, worst
from lab.cluster import ROOT
from lab.errors import LabError
from st2ha.partition.fleet import Fleet, Node, Sensor
from st2ha.partition.hash import SPACE, sensor_hash
from st2ha.partition.plan import Assignment, plan

REFS, ROUNDS = 20_000, 9
SPEEDUP = 8
MILLION, MILLION_NODES = 1_000_000, 16
MILLION_S, MILLION_MB = 15.0, 1000.0
FLEETS, SENSORS, NODES = 3000, 10, 3
BALANCE = 1.01
CHANGES = 300
PROVIDERS = ("hash", "kvstore", "file")
# A process of its own: its largest memory is what the plan needs, with the references and the proof.
CHILD = """
import resource, time
from st2ha.partition.fleet import Fleet, Node, Sensor, checked
from st2ha.partition.plan import plan
sensors = tuple(Sensor(f"pack{{n % 977}}.Sensor{{n}}") for n in range({size}))
nodes = tuple(Node(f"sensor{{n}}") for n in range({nodes}))
began = time.perf_counter()
made = plan(checked(Fleet(nodes, sensors)), {provider!r})
took_s = time.perf_counter() - began
print(took_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, made.fullest_over_mean)
"""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Eight figures in about a minute; then those of leases, on real servers."""
    say("hashing references")
    yield hashing()
    for provider in ("hash", "kvstore"):
        say(f"planning {MILLION} references onto {MILLION_NODES} nodes, provider {provider}")
        yield from million(provider)
    say(f"balance of {FLEETS} fleets of {SENSORS} sensors on {NODES} nodes")
    for provider in PROVIDERS:
        yield balance(provider)
    say(f"moves when a node goes or comes, {CHANGES} fleets")
    yield from moves()
    yield from lease.measure(say)


def literal(ref: str) -> int:
    """StackStorm's rule one digit after the other, in the 32-bit unsigned integers that it uses."""
    number = c_uint(0)
    for digit in reversed(str(int(hashlib.md5(ref.encode()).hexdigest(), 16))):
        high = c_uint(number.value & 0xF8000000)
        number = c_uint(number.value << 5)
        number = c_uint(number.value ^ (high.value >> 27))
        number = c_uint(number.value ^ c_uint(int(digit)).value)
    return number.value


def plain(ref: str) -> int:
    """The same rule in Python's own integers, which is faster."""
    number = 0
    for digit in reversed(str(int(hashlib.md5(ref.encode()).hexdigest(), 16))):
        number = ((number << 5 | number >> 27) & 0xFFFFFFFF) ^ int(digit)
    return number


def hashing() -> Figure:
    """Ours, literal, plain, in turns over the same references; median of the rounds' ratios."""
    refs = [f"pack{n % 97}.Sensor{n}" for n in range(REFS)]
    if [sensor_hash(ref) for ref in refs] != [literal(ref) for ref in refs]:
        raise LabError("the fast hash is not the literal one")
    ways: tuple[Callable[[str], int], ...] = (sensor_hash, literal, plain)
    times = [[_took_s(way, refs) for way in ways] for _ in range(ROUNDS)]
    ratio = statistics.median(ours / theirs for ours, theirs, _ in times)
    ours_us, literal_us, plain_us = (1e6 * statistics.median(column) / REFS for column in zip(*times))
    beside = (
        f"{ours_us:.1f} us a reference; literal {literal_us:.0f} us, {literal_us / ours_us:.0f} x; "
        f"in plain integers {plain_us:.0f} us, {plain_us / ours_us:.1f} x"
    )
    return Figure("hash_to_literal", ratio, 1 / SPEEDUP, "x", beside, f"median ratio of {ROUNDS} rounds")


def _took_s(way: Callable[[str], int], refs: Sequence[str]) -> float:
    began = time.perf_counter()
    for ref in refs:
        way(ref)
    return time.perf_counter() - began


def million(provider: str) -> Iterator[Figure]:
    """Time and memory of one plan with its proof, in a process of its own."""
    code = CHILD.format(size=MILLION, nodes=MILLION_NODES, provider=provider)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "actions" / "lib")}, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"planning {MILLION} references ended with {done.stderr.strip()[-200:]}")
    took_s, memory_mb, over_mean = map(float, done.stdout.split())
    how = f"{MILLION} references, {MILLION_NODES} nodes, with its proof"
    beside = f"fullest {over_mean:.5f} x the mean"
    yield Figure(f"plan_million_{provider}", took_s, MILLION_S, "s", beside, how)
    yield Figure(f"plan_million_{provider}_memory", memory_mb, MILLION_MB, "MB", "", how)


def balance(provider: str) -> Figure:
    """Mean of fullest over mean against the best possible, over random fleets; beside it equal ranges."""
    chance = random.Random(7)
    nodes = tuple(Node(f"sensor{n}") for n in range(NODES))
    ours, equal = [], []
    for _ in range(FLEETS):
        fleet = Fleet(nodes, _random_sensors(chance, SENSORS))
        made = plan(fleet, provider).fullest_over_mean
        ours.append(math.nan if made is None else made)
        counts = [0] * NODES
        for sensor in fleet.sensors:
            counts[sensor_hash(sensor.ref) * NODES // SPACE] += 1
        equal.append(max(counts) * NODES / SENSORS)
    best = math.ceil(SENSORS / NODES) * NODES / SENSORS
    mean = statistics.fmean(ours)
    beside = f"{mean:.3f} x the mean, the best possible {best:.3f}, equal ranges {statistics.fmean(equal):.3f}"
    how = f"{SENSORS} sensors, {NODES} nodes, {FLEETS} random fleets"
    return Figure(f"balance_{provider}_to_best", mean / best, BALANCE, "x", beside, how)


def _random_sensors(chance: random.Random, size: int) -> tuple[Sensor, ...]:
    return tuple(Sensor(f"pack{chance.randrange(10**6)}.Sensor{n}") for n in range(size))


def moves() -> Iterator[Figure]:
    """The most sensors that moved beyond ceil(S/N), and those between survivors, of random fleets and all providers."""
    chance = random.Random(11)
    beyond, between = [], 0
    for turn in range(CHANGES):
        size, number = chance.randrange(1, 400), chance.randrange(2, 20)
        fleet = Fleet(tuple(Node(f"sensor{n}") for n in range(number)), _random_sensors(chance, size))
        before = plan(fleet, PROVIDERS[turn % 3])
        gone = chance.randrange(number)
        for nodes in (fleet.nodes[:gone] + fleet.nodes[gone + 1 :], (*fleet.nodes, Node("new"))):
            after = plan(replace(fleet, nodes=nodes, today=before.told), before.provider)
            moved = _moved(before, after)
            beyond.append(float(len(moved) - math.ceil(size / number)))
            kept = {node.name for node in fleet.nodes} & {node.name for node in nodes}
            between += sum(source in kept and goal in kept for source, goal in moved)
    how = f"{CHANGES} random fleets, one of N nodes goes, one comes"
    yield Figure("moves_beyond_share", worst(beyond), 1, "sensors", f"mean {statistics.fmean(beyond):.2f}", how)
    yield Figure("moves_between_survivors", between, 0, "sensors", "", how)


def _moved(before: Assignment, after: Assignment) -> list[tuple[str, str]]:
    """(from, to) of every sensor that another node owns."""
    was, now = (
        {ref: node.name for node, refs in zip(made.fleet.nodes, made.refs) for ref in refs} for made in (before, after)
    )
    return [(was[ref], now[ref]) for ref in was if was[ref] != now[ref]]
