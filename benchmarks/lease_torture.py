"""Contenders for one lease as real processes, tortured at random, and what their common log proves."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from lab.cluster import ROOT, Cluster, Member
from lab.wait import wait_for
from st2ha.partition.lease.lease import clock

STACKSTORMS = ROOT / ".venv-st2" / "bin" / "python"
FAULTS = ("kill", "hang", "cut off", "kill", "hang", "hang the sensor alone", "hang the clerk alone", "kill the clerk")


class Holders(Cluster):
    """Processes `holder1`, `holder2`, ... that contend for the lease of a configuration; the last one under eventlet.

    Each is a process with a child (its clerk), under a user of its own, so that it can be cut off from the servers.
    """

    service = "holders"
    prefix = "holder"

    def __init__(self, config: Mapping[str, Any], members: int = 3) -> None:
        super().__init__(None, members, {})
        self._config = dict(config)

    @property
    def log(self) -> Path:
        """What all of them dispatched."""
        return self.directory / "dispatched"

    def clerk(self, name: str) -> int | None:
        """The pid of a holder's child."""
        children: list[str] = []
        for task in Path(f"/proc/{self.servers[name].pid}/task").glob("*/children"):  # by the thread that made them
            with contextlib.suppress(OSError):
                children += task.read_text().split()
        return int(children[0]) if children else None

    def _environment(self, member: Member) -> dict[str, str]:
        return {"PYTHONPATH": f"{ROOT}:{ROOT / 'actions' / 'lib'}", "PYTHONDONTWRITEBYTECODE": "1"}

    def _command(self, member: Member) -> list[str]:
        under_eventlet = member.port == self._last_port and STACKSTORMS.exists()
        python = str(STACKSTORMS) if under_eventlet else sys.executable
        command = [python, "-m", "benchmarks.lease_holder", str(self.directory / "config.json"), str(self.log)]
        return [*command, "--eventlet"] if under_eventlet else command

    @property
    def _last_port(self) -> int:
        return self.members[-1].port

    def _prepare(self) -> None:
        (self.directory / "config.json").write_text(json.dumps(self._config))
        self.log.touch()
        self.log.chmod(0o666)

    def _await_start(self, name: str, deadline_s: float) -> None:
        wait_for(lambda: self.clerk(name), deadline_s, f"{name} to start its clerk")


@dataclass(frozen=True)
class Line:
    """One dispatch: the lease was asked between `before` and `after`."""

    before: float
    after: float
    token: int
    holder: str


@dataclass(frozen=True)
class Verdict:
    """What a log proves. `double`: dispatches whose lease was asked for, and granted, after a newer token was in use.

    `late`: those that were written after one with a newer token, because the process was stopped between asking and
    writing; a receiver that compares tokens refuses them.
    """

    dispatches: int
    holders: int
    double: int
    late: int
    falling: int  # tokens that were not higher than the one in use before
    longest_gap_s: float

    def __str__(self) -> str:
        return (
            f"{self.dispatches} dispatches by {self.holders} leases: {self.double} double, {self.falling} tokens that "
            f"fell, {self.late} late (fenced by their token), {self.longest_gap_s:.1f} s without a holder at the most"
        )


def read(log: Path) -> list[Line]:
    """All whole lines."""
    rows = (line.split() for line in log.read_text().split("\n")[:-1])
    return [Line(float(before), float(after), int(token), holder) for before, after, token, holder in rows]


def judge(lines: list[Line]) -> Verdict:
    """Compare every dispatch with those of other tokens."""
    begun: dict[int, float] = {}
    for line in lines:
        begun[line.token] = min(begun.get(line.token, line.after), line.after)
    tokens = sorted(begun)
    newer = {token: min((begun[t] for t in tokens[n + 1 :]), default=float("inf")) for n, token in enumerate(tokens)}
    highest, late = 0, 0
    for line in lines:
        late += line.token < highest
        highest = max(highest, line.token)
    owners: dict[int, set[str]] = {}
    for line in lines:
        owners.setdefault(line.token, set()).add(line.holder)
    by_time = sorted(tokens, key=lambda token: begun[token])
    moments = sorted(line.before for line in lines)
    return Verdict(
        dispatches=len(lines),
        holders=len(tokens),
        double=sum(line.before > newer[line.token] for line in lines),
        late=late,
        falling=sum(a > b for a, b in zip(by_time, by_time[1:])) + sum(len(who) > 1 for who in owners.values()),
        longest_gap_s=max((b - a for a, b in zip(moments, moments[1:])), default=0.0),
    )


def torture(
    holders: Holders, seconds: float, ttl_s: float, seed: int, also: Callable[[random.Random], None] | None = None
) -> Iterator[str]:
    """Faults, one after the other, each undone; tells them. `also` is called now and then in between.

    The holder is killed first, until it has a successor; then everything is left to chance. At the end somebody holds
    a lease that was renewed after the last fault.
    """
    chance = random.Random(seed)
    wait_for(lambda: len(read(holders.log)) > 10, 60, "the first holder")
    last = read(holders.log)[-1]
    yield f"kill {last.holder}"
    holders.kill(last.holder)
    wait_for(lambda: read(holders.log)[-1].token > last.token, 60, "its successor")
    holders.start(last.holder)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        victim = read(holders.log)[-1].holder if chance.random() < 0.7 else chance.choice(holders.members).name
        fault, for_s = chance.choice(FAULTS), chance.uniform(0.2, 2.5) * ttl_s
        yield f"{fault} {victim} for {for_s:.1f} s"
        undo = _break(holders, fault, victim)
        time.sleep(for_s)
        undo()
        if also is not None and chance.random() < 0.15:
            also(chance)
        time.sleep(chance.uniform(0, 0.5) * ttl_s)
    healed = clock()
    wait_for(lambda: read(holders.log)[-1].before > healed + 2 * ttl_s, 60, "a holder after the last fault")


def _break(holders: Holders, fault: str, name: str) -> Callable[[], object]:
    """Make a fault; what undoes it."""
    pid = holders.servers[name].pid if fault == "hang the sensor alone" else holders.clerk(name)
    if fault == "kill":
        holders.kill(name)
        return lambda: holders.start(name)
    if fault == "cut off" and holders.network.limitation() is None:
        holders.cut_off(name)
        return lambda: holders.heal(name)
    if fault in ("hang", "cut off") or pid is None:
        holders.hang(name)
        return lambda: holders.resume(name)
    os.kill(pid, signal.SIGKILL if fault == "kill the clerk" else signal.SIGSTOP)

    def go_on() -> None:
        with contextlib.suppress(ProcessLookupError):  # it was killed, or replaced because it did not answer
            os.kill(pid, signal.SIGCONT)

    return go_on
