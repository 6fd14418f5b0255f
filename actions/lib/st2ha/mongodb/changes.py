"""Change a replica set: gather, decide, execute, gather again, report. Entry files of writing actions call these."""

from __future__ import annotations

import time
from typing import Any, Callable

from st2ha.config import Deployment, Mongodb, number_in
from st2ha.errors import BadInput
from st2ha.mongodb import decide
from st2ha.mongodb.act import Acting
from st2ha.mongodb.facts import Snapshot
from st2ha.mongodb.gather import gather
from st2ha.mongodb.operations import look, settings_of
from st2ha.plan import Decision, Refused, execute
from st2ha.report import Report, clip
from st2ha.stackstorm import failure

BEST = "best"


def switchover(
    deployment: Deployment, member: str, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Planned move of the primary to `member`, or to the `best` one; see decide.switchover for the gates."""
    settings = settings_of(deployment)
    target = None if _given(member) == BEST else member
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    return _change(settings, lambda snapshot: decide.switchover(snapshot, settings, target, force), dry_run, deadline_s)


def freeze(deployment: Deployment, member: str, seconds: float, dry_run: bool = False) -> dict[str, Any]:
    """Keep a member out of elections for `seconds`; 0 lets it in again."""
    settings = settings_of(deployment)
    _given(member)
    number_in("parameter `seconds`", seconds, 0, decide.MOST_FREEZE_S)
    return _change(settings, lambda snapshot: decide.freeze(snapshot, settings, member, seconds), dry_run, 60.0)


def _given(member: str) -> str:
    """An empty target is refused: st2web drops a value it does not understand and runs the action without it."""
    if not isinstance(member, str) or not member.strip():
        raise BadInput(f"parameter `member` is {member!r}: name the member, for example mongo2:27017")
    return member.strip().lower()


def _change(
    settings: Mongodb, decision_from: Callable[[Snapshot], Decision], dry_run: bool, deadline_s: float
) -> dict[str, Any]:
    began = time.monotonic()
    before = gather(settings)
    decision = decision_from(before)
    if isinstance(decision, Refused):
        reasons = [*decision.reasons, *decision.forceable]
        return failure(decision.sentence(), "refused", reasons=reasons, before=before.rows())
    head: dict[str, Any] = {"plan": decision.as_dict(), "before": before.rows()}
    if dry_run or not decision.steps:
        words = (
            f"PLAN {decision.goal}: {len(decision.steps)} steps, nothing done"
            if decision.steps
            else f"OK {decision.goal}"
        )
        return {"summary": clip(words), "severity": "ok", **head, "elapsed_s": _since(began)}
    outcome = execute(decision, Acting(settings, before).verbs(), deadline_s)
    after, findings = look(settings)
    report = Report(decision.goal, "done and proved", findings, {}, _since(began))
    result = {**report.result(), **head, **outcome.as_dict(), "after": after.rows()}
    if outcome.status == "done":
        return {**result, "summary": clip(f"OK {decision.goal}: done and proved in {_since(began):.1f} s")}
    sentence = (
        f"{decision.goal} {outcome.status} after {len(outcome.done)} of {len(decision.steps)} steps: {outcome.reason}"
    )
    return {**result, **failure(sentence, "failed")}


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
