"""The pack's Redis actions: gather, assess, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.naming import given
from st2ha.redis import decide
from st2ha.redis.assess import assess, healthy_words
from st2ha.redis.facts import Snapshot
from st2ha.redis.gather import gather
from st2ha.redis.settings import Redis
from st2ha.report import Report

BEST, EXAMPLE = "best", "redis2:6379"


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Redis:
    """The deployment's Redis layer, with the timeout of this run if one is given."""
    settings: Redis = deployment.require("redis", timeout_s)
    return settings


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Look at every server and every Sentinel."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot = gather(settings)
    findings = assess(snapshot, settings, snapshot.at)
    facts: dict[str, Any] = {"master_name": settings.master_name, "members": snapshot.rows()}
    return Report("Redis", healthy_words(snapshot), findings, facts, time.monotonic() - began)


def switchover(
    deployment: Deployment, member: str, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Planned move of the primary to `member`, or to the `best` one; see decide.switchover for the gates."""
    from st2ha.redis.act import Acting

    settings = settings_of(deployment)
    target = None if given(member, EXAMPLE) == BEST else member
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    acting: list[Acting] = []

    def verbs(snapshot: Snapshot) -> Any:
        acting.append(Acting(settings, snapshot))
        return acting[-1].verbs()

    try:
        return change(
            lambda: gather(settings),
            lambda snapshot: decide.switchover(snapshot, settings, target, force),
            verbs,
            lambda snapshot: assess(snapshot, settings, snapshot.at),
            dry_run,
            deadline_s,
            decide.undo,
        )
    finally:
        for each in acting:
            each.close()
