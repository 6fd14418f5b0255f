"""Look at a replica set: gather, assess, report. Entry files and the top check call `check`."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.config import Deployment, Mongodb
from st2ha.errors import HaError
from st2ha.mongodb.assess import assess, healthy_words
from st2ha.mongodb.facts import Snapshot
from st2ha.mongodb.gather import gather
from st2ha.report import Finding, Report, Severity

SECOND_LOOK_S = 1.0


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Mongodb:
    """The deployment's MongoDB layer, with the timeout of this run if one is given."""
    settings: Mongodb = deployment.require("mongodb", timeout_s)
    return settings


def check(deployment: Deployment, timeout_s: Optional[float] = None, canary: bool = False) -> Report:
    """The verdict over the replica set; `canary` adds a write that must come back from a majority."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot, findings = judge(settings, gather(settings))
    facts: dict[str, Any] = {"replica_set": settings.replica_set, "members": snapshot.rows()}
    if canary:
        findings += _canary(settings, facts)
    return Report("MongoDB", healthy_words(snapshot), findings, facts, time.monotonic() - began)


def judge(settings: Mongodb, snapshot: Snapshot) -> tuple[Snapshot, tuple[Finding, ...]]:
    """The snapshot and its findings; a second look's where a replica is behind: one cannot tell standstill from lag."""
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
