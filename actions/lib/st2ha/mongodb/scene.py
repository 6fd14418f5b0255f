"""What the rules look at, and the few inferences that several of them (and decide.py) share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from st2ha.config import MongodbLimits
from st2ha.mongodb.facts import Denied, Member, Snapshot
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds."""

    snapshot: Snapshot
    limits: MongodbLimits
    now: float
    earlier: Optional[Snapshot]
    reviewed_rollbacks: Mapping[str, int]

    def finding(self, code: str, severity: Severity, message: str, remedy: str, member: str = "") -> Finding:
        """A finding about the set, or about one of its members."""
        subject = f"mongodb/{self.snapshot.replica_set}" + (f"/{member}" if member else "")
        return Finding(code, severity, subject, message, remedy)


def alive_voters(snapshot: Snapshot) -> frozenset[str]:
    """Voting members that can work together now.

    One that answers us counts unless all others that answer have lost it; one that does not answer us counts if it is
    not refused or hung and another one still sees it healthy.
    """
    config = snapshot.config
    if config is None:
        return frozenset()
    silent = {snapshot.name_of(host): answer for host, answer in snapshot.of(Silent)}
    answering = {snapshot.name_of(host) for host, _ in (*snapshot.of(Member), *snapshot.of(Denied))}

    def alive(name: str) -> bool:
        views = snapshot.views_of(name)
        seen = any(view.healthy for _, view in views)
        if name in answering:
            return seen or not views
        if name in silent and silent[name].kind in (Silence.REFUSED, Silence.HUNG):
            return False
        return seen

    return frozenset(voter.name for voter in config.voters if alive(voter.name))


def believed_primary(snapshot: Snapshot) -> Optional[str]:
    """A member that did not answer but that an answering one sees as a healthy primary; not if its port is closed."""
    for host, answer in snapshot.of(Silent):
        name = snapshot.name_of(host)
        views = snapshot.views_of(name)
        if answer.kind is not Silence.REFUSED and any(view.healthy and view.state == "PRIMARY" for _, view in views):
            return name
    return None
