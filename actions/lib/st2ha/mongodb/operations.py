"""The pack's MongoDB actions: gather, assess, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Optional

from st2ha.config import Deployment, Mongodb, number_in
from st2ha.errors import BadInput, HaError
from st2ha.mongodb import decide
from st2ha.mongodb.assess import assess, healthy_words
from st2ha.mongodb.facts import Snapshot
from st2ha.mongodb.gather import gather
from st2ha.plan import Decision, Refused, execute
from st2ha.report import Finding, Report, Severity, clip
from st2ha.stackstorm import failure

SECOND_LOOK_S = 1.0
BEST = "best"


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Mongodb:
    """The deployment's MongoDB layer, with the timeout of this run if one is given."""
    settings = deployment.require_mongodb()
    if timeout_s in (None, 0):
        return settings
    return replace(settings, timeout_s=number_in("parameter `timeout_s`", timeout_s, 0.05, 600))


def check(deployment: Deployment, timeout_s: Optional[float] = None, canary: bool = False) -> Report:
    """The verdict over the replica set; `canary` adds a write that must come back from a majority."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot, findings = _look(settings)
    facts: dict[str, Any] = {"replica_set": settings.replica_set, "members": snapshot.rows()}
    if canary:
        findings += _canary(settings, facts)
    return Report("MongoDB", healthy_words(snapshot), findings, facts, time.monotonic() - began)


def _look(settings: Mongodb) -> tuple[Snapshot, tuple[Finding, ...]]:
    """Look at every member; twice where a replica is behind, because one look cannot tell standstill from lag."""
    snapshot = gather(settings)
    findings = _assess(settings, snapshot)
    if any(finding.code in ("ReplicaLagging", "NotSyncing") for finding in findings):
        time.sleep(SECOND_LOOK_S)
        earlier, snapshot = snapshot, gather(settings)
        findings = _assess(settings, snapshot, earlier)
    return snapshot, findings


def _assess(settings: Mongodb, snapshot: Snapshot, earlier: Optional[Snapshot] = None) -> tuple[Finding, ...]:
    return assess(snapshot, settings.limits, snapshot.at, earlier, dict(settings.reviewed_rollbacks))


def _canary(settings: Mongodb, facts: dict[str, Any]) -> tuple[Finding, ...]:
    from st2ha.mongodb.act import canary

    try:
        facts["canary_s"] = round(canary(settings), 4)
    except HaError as error:
        remedy = f"run mongodb_check; the user needs readWrite on {settings.canary_database}"
        subject = f"mongodb/{settings.replica_set}"
        return (
            Finding("CanaryLost", Severity.CRITICAL, subject, f"a majority write did not come back: {error}", remedy),
        )
    return ()


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


def _change(settings: Mongodb, decision_from: Any, dry_run: bool, deadline_s: float) -> dict[str, Any]:
    began = time.monotonic()
    before = gather(settings)
    decision: Decision = decision_from(before)
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
    from st2ha.mongodb.act import Acting

    outcome = execute(decision, Acting(settings, before).verbs(), deadline_s)
    after, findings = _look(settings)
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
