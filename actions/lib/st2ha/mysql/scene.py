"""What the rules look at, and the few inferences that several of them (and the decisions) share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from st2ha.mysql.facts import Snapshot
from st2ha.mysql.settings import Mysql
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds. `earlier` is a second older or more."""

    snapshot: Snapshot
    settings: Mysql
    now: float
    earlier: Optional[Snapshot] = None

    def finding(self, code: str, severity: Severity, message: str, remedy: str, member: str = "") -> Finding:
        """A finding about all, or about one of the members."""
        subject = f"mysql/{self.snapshot.cluster}" + (f"/{member}" if member else "")
        return Finding(code, severity, subject, message, remedy)


def silent_source(snapshot: Snapshot) -> Optional[tuple[str, Silent]]:
    """The server that all replicas which answer replicate from, if it is one of ours and gives no answer."""
    followed = snapshot.followed
    return next(((str(host), silent) for host, silent in snapshot.of(Silent) if str(host) == followed), None)


def strangers(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Replicas and their sources that are not configured here: whether those take writes cannot be seen."""
    ours = {str(host) for host in snapshot.answers}
    pairs = ((member.name, snapshot.source_name(channel)) for member in snapshot.members for channel in member.channels)
    return [(name, source) for name, source in pairs if source not in ours]


def believed_primary(snapshot: Snapshot) -> Optional[str]:
    """A silent server that may still be taking writes: nobody else is writable, and it is not proved to be dead."""
    found = silent_source(snapshot)
    if found is None or snapshot.writable or not alive_reasons(snapshot, *found):
        return None
    return found[0]


def alive_reasons(snapshot: Snapshot, name: str, silent: Silent) -> tuple[str, ...]:
    """Why a silent server does not count as dead: a replica still has its stream, or it may wake up again."""
    reasons = []
    seeing = snapshot.seeing(name)
    if seeing and silent.kind is not Silence.REFUSED:
        reasons.append(f"{', '.join(seeing)} is still connected to {name}")
    if silent.kind is Silence.HUNG:
        reasons.append(
            f"{name} hangs and cannot be fenced: when it wakes, two servers are writable; kill its process first"
        )
    if silent.kind in (Silence.TLS, Silence.BROKEN, Silence.DENIED):
        reasons.append(f"{name} is there ({silent.reason}): it may be taking writes")
    return tuple(reasons)
