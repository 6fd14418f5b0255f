"""What the rules look at, and the few inferences that several of them (and the decisions) share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from st2ha.config import Host
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.redis.facts import Denied, Server, Snapshot
from st2ha.redis.settings import Redis, RedisLimits
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds."""

    snapshot: Snapshot
    settings: Redis
    now: float

    @property
    def limits(self) -> RedisLimits:
        return self.settings.limits

    def finding(self, code: str, severity: Severity, message: str, remedy: str, about: str = "") -> Finding:
        """A finding about all, one of the servers, or a Sentinel (`sentinel/<host>`)."""
        subject = f"redis/{self.snapshot.master_name}" + (f"/{about}" if about else "")
        return Finding(code, severity, subject, message, remedy)


def majority(settings: Redis) -> int:
    """So many Sentinels must agree to a failover, whatever the quorum."""
    return len(settings.sentinels) // 2 + 1


def in_step(snapshot: Snapshot, server: Server) -> bool:
    """Whether it replicates from the primary and its link is up."""
    primary = snapshot.primary
    return primary is not None and server in snapshot.replicas_of(primary) and server.link_up and not server.syncing


UNSEEN = (Silence.TLS, Silence.BROKEN, Silence.DENIED)
"""It is there, and we cannot see what it is."""


def unseen(answers: Mapping[Host, object]) -> list[str]:
    """Those that are there but tell us nothing."""
    return [
        str(host) for host, answer in answers.items()
        if isinstance(answer, Denied) or (isinstance(answer, Silent) and answer.kind in UNSEEN)
    ]  # fmt: skip


def quorum_reason(snapshot: Snapshot, settings: Redis) -> Optional[str]:
    """Why the Sentinels cannot agree to a failover; None if they can."""
    watching = [each for each in snapshot.sentinels if each.primary]
    needed = max([majority(settings), *(each.quorum for each in watching)])
    if len(watching) < needed:
        return (
            f"{count(len(watching), 'Sentinel')} of {len(settings.sentinels)} answer and watch it, {needed} are needed"
        )
    complaints = [each.quorum_error for each in watching if each.quorum_error]
    return complaints[0] if len(complaints) > len(watching) - needed else None
