"""What all acts of the demo share: showing commands and events, and the table of what each event cost."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.pack import Event, Pack, Sensor
from lab.load import Load

COLOURS = {"ok": "green", "warning": "yellow", "unknown": "magenta", "critical": "bold red"}
OK, WARNING = 0, 1
CALM_S = 1.5
"""For so long the load goes on before and after an event, so that its pauses are seen whole."""


class StepFailed(Exception):
    """A step of the demo did not do what it is there to show; one sentence."""


@dataclass
class Act:
    """What one event cost; `began` in epoch seconds, None where the event does not make such a trigger."""

    title: str
    began: float
    finding_s: float | None = None
    role_s: float | None = None
    outage_s: float = 0.0
    failures: int = 0
    acknowledged: int = 0
    lost: int = 0

    def measure(self, load: Load) -> None:
        """What the load's application saw since the act began."""
        self.outage_s = load.largest_gap(self.began)
        self.failures = len(load.failures_since(self.began))


class Stage:
    """Prints what an operator would see, and runs the pack as an operator does."""

    def __init__(self, pack: Pack, console: Console) -> None:
        self.pack, self.console = pack, console
        self._told: dict[str, int] = {}
        self._appeared: dict[tuple[str, str], Act] = {}

    def title(self, text: str) -> None:
        """A rule across the terminal."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left")

    def say(self, text: str) -> None:
        """A line of ours."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def shell(self, line: str) -> None:
        """A command line of another tool, whose effect follows."""
        self.console.print(f"$ {line}", style="bold", highlight=False, soft_wrap=True)

    def command(self, *words: str, allowed: tuple[int, ...] = ()) -> int:
        """Show a command and, unless it goes on in the background, run it. Raises StepFailed on other exit codes."""
        self.shell(f"bin/st2ha {' '.join(words)}")
        self.console.file.flush()
        if words[-1] == "&":
            return OK
        code = self.pack.run(*words)
        self.say(f"exit code {code}")
        if allowed and code not in allowed:
            raise StepFailed(f"`bin/st2ha {' '.join(words)}` ended with exit code {code}")
        return code

    def tell_events(self, sensor: Sensor, act: Act, start: str) -> None:
        """What the sensor has dispatched and was not shown yet."""
        told = self._told.get(sensor.name, 0)
        events, self._told[sensor.name] = sensor.events[told:], len(sensor.events)
        if events:
            self.say("\nthe sensor dispatched:")
        for event in events:
            self.say(f"  {event.at - act.began:5.2f} s after {start}  {_words(event)}{self._former(event, act)}")

    def _former(self, event: Event, act: Act) -> str:
        """Of a finding that an earlier act brought about and that is told to be over only now: which one."""
        if event.trigger != "ha.finding_changed":
            return ""
        key = event.payload["code"], event.payload["subject"]
        origin = self._appeared.setdefault(key, act)
        if event.payload["change"] == "cleared":
            del self._appeared[key]
        return "" if origin is act else f" (of: {origin.title})"


def _words(event: Event) -> str:
    payload = event.payload
    if event.trigger == "ha.role_changed":
        return f"[cyan]{event.trigger}[/]  {escape(payload['message'])}"
    colour = COLOURS.get(payload["severity"], "") if payload["change"] != "cleared" else "green"
    text = "{change} {upper} {code} {subject}: {message}".format(upper=payload["severity"].upper(), **payload)
    return f"[cyan]{event.trigger}[/]  [{colour}]{escape(text)}[/]"


def count(acts: list[Act], load: Load) -> None:
    """The acknowledged writes of each act, until the next one began, and which are not there. The load has ended."""
    missing = set(load.lost())
    ends = [act.began for act in acts[1:]] + [float("inf")]
    for number, (act, until) in enumerate(zip(acts, ends)):
        acknowledged = load.acknowledged(act.began if number else 0.0, until)
        act.acknowledged, act.lost = len(acknowledged), len(missing.intersection(acknowledged))


COLUMNS = ("", "finding_changed", "role_changed", "write outage", "errors", "acknowledged", "lost")


def table(acts: list[Act]) -> Table:
    """What every event cost."""
    shown = Table(title="measured in this run", title_justify="left", title_style="bold")
    for name in COLUMNS:
        shown.add_column(name, justify="right" if name else "left")
    for act in acts:
        lost = f"[{'bold red' if act.lost else 'green'}]{act.lost}"
        shown.add_row(
            act.title, _seconds(act.finding_s), _seconds(act.role_s), f"{act.outage_s:.2f} s", str(act.failures),
            str(act.acknowledged), lost,
        )  # fmt: skip
    return shown


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def check_result(acts: list[Act]) -> None:
    """StepFailed if an acknowledged write is gone."""
    lost = sum(act.lost for act in acts)
    if lost:
        raise StepFailed(f"{lost} of {sum(act.acknowledged for act in acts)} acknowledged writes are lost")
