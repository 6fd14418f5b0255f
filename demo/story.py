"""The acts of the demo. Every number that it prints is measured in this run."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.pack import Event, Pack, Sensor
from lab.lookout import Lookout
from lab.mongodb import MongoCluster
from lab.wait import wait_for
from lab.writer import Writer

COLOURS = {"ok": "green", "warning": "yellow", "unknown": "magenta", "critical": "bold red"}
OK, WARNING = 0, 1
CALM_S = 1.5
"""For so long the writer goes on before and after an event, so that its pauses are seen whole."""


class StepFailed(Exception):
    """A step of the demo did not do what it is there to show; one sentence."""


@dataclass
class Act:
    """What one change of the primary cost; times in epoch seconds, durations in seconds."""

    title: str
    began: float
    took_over: float = 0.0
    finding_s: float | None = None
    role_s: float = 0.0
    outage_s: float = 0.0
    failures: int = 0
    acknowledged: int = 0
    lost: int = 0


class Story:
    """One run on a healthy replica set."""

    def __init__(self, rs: MongoCluster, console: Console) -> None:
        self.rs, self.console = rs, console
        self.pack = Pack(rs)
        self._told = 0

    def run(self) -> list[Act]:
        """All acts; what each change of the primary cost. Raises StepFailed and LabError."""
        self._title("Healthy")
        self.console.print(f"$ export ST2HA_CONFIG={self.pack.config}", style="bold", highlight=False, soft_wrap=True)
        self._check("the healthy set", OK)
        with Lookout(self.rs) as lookout, Sensor(self.pack) as sensor, Writer(self.rs.client()) as writer:
            self.sensor, self.writer, self.lookout = sensor, writer, lookout
            self._say("\na canary writes with majority concern; the sensor watches:")
            self._command("sensor", "mongodb_sensor", "&")
            time.sleep(CALM_S)
            crash = self._crash()
            self._bring_back(crash)
            planned = self._switch_back()
            self._title("Afterwards")
            self._check("the set after both", OK, WARNING)
        for act, until in ((crash, planned.began), (planned, float("inf"))):
            act.acknowledged = len(writer.acknowledged(0.0 if act is crash else act.began, until))
            act.lost = len(writer.lost(0.0 if act is crash else act.began, until))
        return [crash, planned]

    def _crash(self) -> Act:
        self._title("The primary crashes")
        victim = self.rs.primary()
        pid = self.rs.servers[victim.name].pid
        self.console.print(
            f"$ kill -9 {pid}   # mongod on {victim.address}, the primary", style="bold", highlight=False
        )
        self.victim = victim
        act = Act("crash (SIGKILL)", time.time())
        self.rs.kill(victim.name)
        self._check("the verdict during the election")
        act.finding_s = self.sensor.first("ha.finding_changed", act.began, 15, change="appeared").at - act.began
        self._changed_hands(act)
        self._tell_events(act, "the kill")
        self._check("the verdict after the election", WARNING)
        return act

    def _bring_back(self, crash: Act) -> None:
        self._title("The dead member comes back")
        began = time.monotonic()
        self.rs.start(self.victim.name)
        self.rs.wait_healthy(60)
        self._say(f"{self.victim.address} is started again: the set is whole after {time.monotonic() - began:.1f} s")
        time.sleep(CALM_S)
        self._tell_events(crash, "the kill")

    def _switch_back(self) -> Act:
        self._title("Back by plan")
        act = Act("planned (mongodb_switchover)", time.time())
        code = self._command("mongodb_switchover", f"member={self.victim.address}", "deployment=lab")
        if code not in (OK, WARNING):  # a warning is about the set afterwards: a crash raises the rollback id
            raise StepFailed(f"mongodb_switchover back to {self.victim.address} ended with exit code {code}")
        self._changed_hands(act)
        self._tell_events(act, "the command")
        primary = self.rs.primary()
        if primary != self.victim:
            raise StepFailed(f"{primary.address} is primary after the switchover to {self.victim.address}")
        return act

    def _changed_hands(self, act: Act) -> None:
        """Wait until another member is primary, the sensor has told it, and writes go on; take the measures."""
        act.took_over, address = self.lookout.primary_at(act.began)
        act.role_s = self.sensor.first("ha.role_changed", act.began, 15, current=address).at - act.took_over
        after = max(act.took_over, time.time()) + CALM_S
        wait_for(lambda: self.writer.acknowledged(after), 60, "the canary to write again")
        act.outage_s = self.writer.largest_gap(act.began)
        act.failures = len(self.writer.failures_since(act.began))
        self._say(f"\n{address} took over {act.took_over - act.began:.2f} s after the start of this act")
        self._say(f"no write was acknowledged for {act.outage_s:.2f} s, the application saw {act.failures} errors")

    # -- printing

    def _title(self, text: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def _command(self, *words: str) -> int:
        """Show a command line and, unless it goes on in the background, run it with its output as it is."""
        self.console.print(f"$ bin/st2ha {' '.join(words)}", style="bold", highlight=False)
        self.console.file.flush()
        return OK if words[-1] == "&" else self.pack.run(*words)

    def _check(self, what: str, *allowed: int) -> None:
        self._say(f"\n{what}:")
        code = self._command("check")
        self._say(f"exit code {code}")
        if allowed and code not in allowed:
            raise StepFailed(f"`bin/st2ha check` of {what} ended with exit code {code}")

    def _tell_events(self, act: Act, start: str) -> None:
        """What the sensor has dispatched and was not shown yet."""
        events, self._told = self.sensor.events[self._told :], len(self.sensor.events)
        if events:
            self._say("\nthe sensor dispatched:")
        for event in events:
            self._say(f"  {event.at - act.began:5.2f} s after {start}  {_words(event)}")


def _words(event: Event) -> str:
    payload = event.payload
    if event.trigger == "ha.role_changed":
        return f"[cyan]{event.trigger}[/]  {escape(payload['message'])}"
    colour = COLOURS.get(payload["severity"], "") if payload["change"] != "cleared" else "green"
    text = f"{payload['change']} {payload['severity'].upper()} {payload['code']}: {payload['message']}"
    return f"[cyan]{event.trigger}[/]  [{colour}]{escape(text)}[/]"


def table(acts: list[Act]) -> Table:
    """What both changes of the primary cost."""
    shown = Table(title="measured in this run", title_justify="left", title_style="bold")
    shown.add_column("")
    for act in acts:
        shown.add_column(act.title, justify="right")

    def row(name: str, values: list[str]) -> None:
        shown.add_row(name, *values)

    seconds = [f"{act.finding_s:.2f} s" if act.finding_s is not None else "nothing was wrong" for act in acts]
    row("detection: finding_changed after the event", seconds)
    row("detection: role_changed after the new primary says so", [f"{act.role_s:.2f} s" for act in acts])
    row("write outage (retrying client, w: majority)", [f"{act.outage_s:.2f} s" for act in acts])
    row("errors seen by the application", [str(act.failures) for act in acts])
    row("acknowledged writes", [str(act.acknowledged) for act in acts])
    row("acknowledged writes lost", [f"[{'bold red' if act.lost else 'green'}]{act.lost}" for act in acts])
    return shown


def check_result(acts: list[Act]) -> None:
    """StepFailed if an acknowledged write is gone."""
    lost = sum(act.lost for act in acts)
    if lost:
        raise StepFailed(f"{lost} of {sum(act.acknowledged for act in acts)} acknowledged writes are lost")
