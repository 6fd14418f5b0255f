"""Change a replica set; entry files of writing actions call these."""

from __future__ import annotations

from typing import Any, Callable

from st2ha.change import change
from st2ha.config import Deployment, Mongodb, number_in
from st2ha.mongodb import decide
from st2ha.mongodb.act import Acting
from st2ha.mongodb.facts import Snapshot
from st2ha.mongodb.gather import gather
from st2ha.mongodb.operations import judge, settings_of
from st2ha.naming import given
from st2ha.plan import Decision

BEST = "best"
EXAMPLE = "mongo2:27017"


def switchover(
    deployment: Deployment, member: str, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Planned move of the primary to `member`, or to the `best` one; see decide.switchover for the gates."""
    settings = settings_of(deployment)
    target = None if given(member, EXAMPLE) == BEST else member
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    return _change(settings, lambda snapshot: decide.switchover(snapshot, settings, target, force), dry_run, deadline_s)


def freeze(deployment: Deployment, member: str, seconds: float, dry_run: bool = False) -> dict[str, Any]:
    """Keep a member out of elections for `seconds`; 0 lets it in again."""
    settings = settings_of(deployment)
    given(member, EXAMPLE)
    number_in("parameter `seconds`", seconds, 0, decide.MOST_FREEZE_S)
    return _change(settings, lambda snapshot: decide.freeze(snapshot, settings, member, seconds), dry_run, 60.0)


def _change(
    settings: Mongodb, decision_from: Callable[[Snapshot], Decision], dry_run: bool, deadline_s: float
) -> dict[str, Any]:
    return change(
        gather=lambda: gather(settings),
        decide=decision_from,
        verbs=lambda before: Acting(settings, before).verbs(),
        assess=lambda after: judge(settings, after)[1],
        dry_run=dry_run,
        deadline_s=deadline_s,
    )
