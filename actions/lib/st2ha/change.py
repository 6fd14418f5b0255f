"""A change as every service makes it: gather, decide, execute, gather again, report.

The verbs of its plan look again before they write; `wait_until` is their one way of waiting.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable, Optional, Protocol, TypeVar

from st2ha.errors import DeadlineExceeded
from st2ha.plan import Decision, Plan, Refused, Verb, execute
from st2ha.report import Finding, Report, clip
from st2ha.stackstorm import failure

PAUSE_S = 0.02
UNDO_S = 60.0


class World(Protocol):
    """What a service gathers; `rows` is its topology as a table."""

    def rows(self) -> list[dict[str, Any]]: ...


W = TypeVar("W", bound=World)


def change(
    gather: Callable[[], W],
    decide: Callable[[W], Decision],
    verbs: Callable[[W], Mapping[str, Verb]],
    assess: Callable[[W], tuple[Finding, ...]],
    dry_run: bool,
    deadline_s: float,
    undo: Optional[Callable[[W, W], Optional[Plan]]] = None,
    undo_s: float = UNDO_S,
    seen: Optional[W] = None,
) -> dict[str, Any]:
    """The whole way; the action's result. `verbs` gets the snapshot from which the plan was decided.

    `undo` makes, from the worlds before and after a plan that was not finished, the plan of the way back, if any.
    That one has `undo_s` seconds. `seen`: a world of a moment ago, upon which a caller in a hurry decides; then a plan
    that was done is not looked at once more either: its proofs were.
    """
    began = time.monotonic()
    before = gather() if seen is None else seen
    decision = decide(before)
    if isinstance(decision, Refused):
        reasons = [*decision.reasons, *decision.forceable]
        return failure(decision.sentence(), "refused", reasons=reasons, before=before.rows())
    head: dict[str, Any] = {"plan": decision.as_dict(), "before": before.rows()}
    if dry_run or not decision.steps:
        plan = f"PLAN {decision.goal}: {len(decision.steps)} steps, nothing done"
        words = plan if decision.steps else f"OK {decision.goal}"
        return {"summary": clip(words), "severity": "ok", **head, "elapsed_s": _since(began)}
    outcome = execute(decision, verbs(before), deadline_s)
    if outcome.status == "done" and seen is not None:
        return {"summary": _done(decision, began), "severity": "ok", **head, **outcome.as_dict()}
    after, undone = gather(), dict[str, Any]()
    back = undo(before, after) if undo and outcome.status != "done" else None
    if back is not None:
        undone = {"undo": {"plan": back.as_dict(), **execute(back, verbs(after), undo_s).as_dict()}}
        after = gather()
    report = Report(decision.goal, "done and proved", assess(after), {}, _since(began))
    result = {**report.result(), **head, **outcome.as_dict(), **undone, "after": after.rows()}
    if outcome.status == "done":
        return {**result, "summary": _done(decision, began)}
    done = f"{len(outcome.done)} of {len(decision.steps)} steps"
    sentence = f"{decision.goal} {outcome.status} after {done}: {outcome.reason}"
    if undone:
        sentence += f"; undoing it: {undone['undo']['outcome']}"
    return {**result, **failure(sentence, "failed")}


def wait_until(missing: Callable[[], Optional[str]], deadline_s: float, what: str, pause_s: float = PAUSE_S) -> float:
    """Call `missing` until it returns None; returns the seconds. DeadlineExceeded says what was missing."""
    began = time.monotonic()
    while True:
        last = missing()
        waited_s = time.monotonic() - began
        if last is None:
            return waited_s
        if waited_s >= deadline_s:
            raise DeadlineExceeded(f"waited {deadline_s:g} s for {what}: {last}")
        time.sleep(pause_s)


def _done(plan: Plan, began: float) -> str:
    return clip(f"OK {plan.goal}: done and proved in {_since(began):.3g} s")


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
