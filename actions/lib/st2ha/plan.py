"""A plan is data; executing one is the only way this pack writes.

    decide -> Plan | Refused -> execute(plan, table of verbs) -> Outcome

Invariants of `execute`: steps run in order, one at a time; each verb re-reads the world before it writes (WorldChanged
ends the plan); no step starts after the deadline or after SIGTERM; whatever happens, the Outcome says which steps were
done. StackStorm does not kill a cancelled action and orphans one when its runner stops: hence SIGTERM between steps.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from st2ha.errors import HaError, internal


@dataclass(frozen=True)
class Step:
    """One write (or wait): what, on which server, and why. `expect` is what it must find there before it writes."""

    verb: str
    target: str
    because: str
    expect: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, str]:
        return {"verb": self.verb, "target": self.target, "because": self.because}


@dataclass(frozen=True)
class Plan:
    """Steps towards a goal. No steps: the goal holds already."""

    goal: str
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"goal": self.goal, "steps": [step.as_dict() for step in self.steps]}


@dataclass(frozen=True)
class Refused:
    """Why nothing will be written. `forceable` of the reasons would be overridden by `force`."""

    goal: str
    reasons: tuple[str, ...]
    forceable: tuple[str, ...] = ()

    def sentence(self) -> str:
        """All reasons in one sentence, with the way on."""
        text = "; ".join(self.reasons + self.forceable)
        only_forceable = self.forceable and not self.reasons
        return f"{self.goal}: {text}" + (" (force=true overrides this)" if only_forceable else "")


Decision = Union[Plan, Refused]


@dataclass(frozen=True)
class Outcome:
    """What a plan's execution did. `status` is done, stopped (SIGTERM or deadline) or failed."""

    status: str
    done: tuple[dict[str, Any], ...]
    left: tuple[Step, ...] = ()
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.status,
            "reason": self.reason,
            "steps_done": list(self.done),
            "steps_left": [step.as_dict() for step in self.left],
        }


Verb = Callable[[Step], str]
"""Carries one step out and returns a note of what was seen; raises HaError when it did not come to be."""


def execute(plan: Plan, verbs: Mapping[str, Verb], deadline_s: float, journal: Optional[Journal] = None) -> Outcome:
    """Run the steps of `plan`; never raises for what a step met, the Outcome tells it."""
    journal = journal or Journal.from_environment()
    journal.write(event="plan", **plan.as_dict())
    with stop_requested() as stopped:
        outcome = _run_steps(plan, verbs, time.monotonic() + deadline_s, stopped, journal)
    journal.write(event="outcome", status=outcome.status, reason=outcome.reason)
    return outcome


def _run_steps(
    plan: Plan, verbs: Mapping[str, Verb], deadline: float, stopped: threading.Event, journal: Journal
) -> Outcome:
    done: list[dict[str, Any]] = []
    for number, step in enumerate(plan.steps):
        left = plan.steps[number:]
        if stopped.is_set():
            return Outcome("stopped", tuple(done), left, "asked to stop (SIGTERM) between steps")
        if time.monotonic() >= deadline:
            return Outcome("stopped", tuple(done), left, f"the deadline passed before `{step.verb} {step.target}`")
        entry = {"number": number + 1, "verb": step.verb, "target": step.target}
        journal.write(event="step", state="started", **entry)
        began = time.monotonic()
        try:
            note = verbs[step.verb](step)
        except Exception as error:  # noqa: BLE001 - whatever a step meets, the steps done before it must be told
            # The text of an exception that is not ours could hold a secret.
            words = str(error) if isinstance(error, HaError) else internal(error)
            journal.write(event="step", state="failed", note=words, **entry)
            return Outcome("failed", tuple(done), left, f"`{step.verb} {step.target}`: {words}")
        took_s = round(time.monotonic() - began, 4)
        journal.write(event="step", state="done", note=note, took_s=took_s, **entry)
        done.append({**entry, "note": note, "took_s": took_s})
    return Outcome("done", tuple(done))


@contextlib.contextmanager
def stop_requested() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT set the event instead of ending the process; outside the main thread nothing is changed."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    former = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Journal:
    """JSON lines of what was planned and done. Without a path nothing is kept: StackStorm's execution is the record."""

    path: Optional[str] = None
    run: str = ""

    @classmethod
    def from_environment(cls) -> Journal:
        """The journal that bin/st2ha asks this process to keep."""
        return cls(os.environ.get("ST2HA_JOURNAL"), os.environ.get("ST2HA_RUN_ID", ""))

    def write(self, **entry: Any) -> None:
        """Append one line and bring it to disk: the journal must survive what it tells of.

        A full disk must not stop a plan between two steps: the result tells the same once more.
        """
        if self.path is None:
            return
        at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"run": self.run, "at": at, **entry}) + "\n"
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line.encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
