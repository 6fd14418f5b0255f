"""Look at servers that replicate: gather, assess, report. Entry files and the top check call `check`."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.config import Deployment
from st2ha.errors import HaError
from st2ha.mysql.assess import assess, healthy_words
from st2ha.mysql.facts import Snapshot
from st2ha.mysql.gather import gather
from st2ha.mysql.settings import Mysql
from st2ha.report import Finding, Report, Severity

SECOND_LOOK_S = 1.0


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Mysql:
    """The deployment's MySQL layer, with the timeout of this run if one is given."""
    settings: Mysql = deployment.require("mysql", timeout_s)
    return settings


def check(deployment: Deployment, timeout_s: Optional[float] = None, canary: bool = False) -> Report:
    """Look at every server; twice where a replica is behind, because one look cannot tell standstill from load."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot = gather(settings)
    earlier = None
    if any(snapshot.behind(member) for member in snapshot.members):
        time.sleep(SECOND_LOOK_S)
        earlier, snapshot = snapshot, gather(settings)
    findings = assess(snapshot, settings, snapshot.at, earlier)
    facts: dict[str, Any] = {"cluster": settings.cluster, "members": snapshot.rows()}
    if canary:
        findings += _canary(settings, snapshot, facts)
    return Report("MySQL", healthy_words(snapshot), findings, facts, time.monotonic() - began)


def _canary(settings: Mysql, snapshot: Snapshot, facts: dict[str, Any]) -> tuple[Finding, ...]:
    """A row through the primary to every replica that works."""
    from st2ha.mysql.act import Acting
    from st2ha.plan import Step

    primary, subject = snapshot.primary, f"mysql/{settings.cluster}"
    remedy = f"run mysql_check; the user needs all rights on {settings.canary_database}"
    if primary is None:
        return (Finding("CanaryLost", Severity.CRITICAL, subject, "nowhere to write to: no single primary", remedy),)
    replicas = [m.name for m in snapshot.replicas_of(primary.name) if all(each.running for each in m.channels)]
    acting = Acting(settings, snapshot)
    try:
        facts["canary"] = acting.verbs()["prove"](Step("prove", primary.name, "", {"replicas": replicas}))
    except HaError as error:
        return (Finding("CanaryLost", Severity.CRITICAL, subject, f"a write did not come back: {error}", remedy),)
    finally:
        acting.close()
    return ()
