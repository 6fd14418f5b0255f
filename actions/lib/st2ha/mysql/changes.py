"""Change who is primary: gather, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.errors import BadInput
from st2ha.hook import REFERENCE, run_action
from st2ha.mysql import decide, decide_failover
from st2ha.mysql.act import Acting
from st2ha.mysql.assess import assess
from st2ha.mysql.facts import Snapshot
from st2ha.mysql.gather import gather
from st2ha.mysql.operations import settings_of
from st2ha.mysql.settings import Mysql
from st2ha.naming import given
from st2ha.plan import Decision, Plan, Verb
from st2ha.report import Finding

BEST = "best"
EXAMPLE = "db2:3306"


def switchover(
    deployment: Deployment, member: str, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0,
    after_promotion: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Planned move of the primary to `member`, or to the `best` one; see decide.switchover for the gates."""
    settings, target, hook = settings_of(deployment), _target(member), _hook(after_promotion)
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    return _change(
        settings, lambda snapshot: decide.switchover(snapshot, settings, target, force, hook), dry_run, deadline_s,
        decide.undo,
    )  # fmt: skip


def failover(
    deployment: Deployment, member: str, force: bool = False, acknowledge: bool = False, dry_run: bool = False,
    deadline_s: float = 120.0, after_promotion: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Forced: the primary is gone. See decide_failover for what counts as gone."""
    settings, target, hook = settings_of(deployment), _target(member), _hook(after_promotion)
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)

    def decision(snapshot: Snapshot) -> Decision:
        return decide_failover.failover(snapshot, settings, target, force, acknowledge, hook)

    return _change(settings, decision, dry_run, deadline_s)


def rejoin(deployment: Deployment, member: str, dry_run: bool = False) -> dict[str, Any]:
    """Make a server that answers a replica of the primary, if it has nothing of its own."""
    settings = settings_of(deployment)
    given(member, EXAMPLE)
    return _change(settings, lambda snapshot: decide.rejoin(snapshot, settings, member), dry_run, 120.0)


def _target(member: str) -> Optional[str]:
    return None if given(member, EXAMPLE) == BEST else member


def _hook(action: Optional[str]) -> str:
    name = (action or "").strip()
    if name and not REFERENCE.fullmatch(name):
        raise BadInput(f"parameter `after_promotion` is {name[:60]!r}: name an action as pack.action")
    return name


def _change(
    settings: Mysql, decision: Callable[[Snapshot], Decision], dry_run: bool, deadline_s: float,
    undo: Optional[Callable[[Snapshot, Snapshot], Optional[Plan]]] = None,
) -> dict[str, Any]:  # fmt: skip
    acting: list[Acting] = []

    def verbs(snapshot: Snapshot) -> Mapping[str, Verb]:
        for former in acting:
            former.close()  # with its lock, which would keep an undo from opening the server
        acting.append(Acting(settings, snapshot, run_action))
        return acting[-1].verbs()

    def findings(snapshot: Snapshot) -> tuple[Finding, ...]:
        met = tuple(finding for each in acting for finding in each.findings)
        return met + assess(snapshot, settings, snapshot.at)

    try:
        return change(lambda: gather(settings), decision, verbs, findings, dry_run, deadline_s, undo)
    finally:
        for each in acting:
            each.close()
