"""The forced failover: the primary is gone and a replica takes over. Pure; see decide.py for the invariant.

A primary counts as dead only if its replicas have lost it, too (openark/orchestrator's rule). A server that may still
be taking writes is never joined by a second one, unless `force` says that somebody has made sure of it.
"""

from __future__ import annotations

from typing import Optional

from st2ha.mysql.decide import announcements, member_named, not_configured, standing_limitation
from st2ha.mysql.facts import Denied, Member, Snapshot
from st2ha.mysql.scene import alive_reasons, silent_source
from st2ha.mysql.settings import Mysql
from st2ha.naming import count
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silence, Silent


def failover(
    snapshot: Snapshot,
    settings: Mysql,
    target: Optional[str] = None,
    force: bool = False,
    acknowledge: bool = False,
    hook: str = "",
) -> Decision:
    """Make the most advanced server that answers, or `target`, the primary.

    `acknowledge` permits one although another one was done within `settings.block_s`.
    """
    goal = f"failover of mysql/{snapshot.cluster}" + (f" to {target}" if target else "")
    wanted = member_named(snapshot, target) if target else None
    candidate = snapshot.member(wanted) if wanted else most_advanced(snapshot, settings)
    if candidate is None:
        return Refused(goal, tuple(_why_nobody(snapshot, wanted)))
    if snapshot.primary is candidate:
        return Plan(f"{goal}: it is primary already", ())
    hard = _hard_reasons(snapshot, settings, candidate, acknowledge)
    soft = _soft_reasons(snapshot, candidate)
    if hard or (soft and not force):
        return Refused(goal, tuple(hard), tuple(soft))
    return Plan(f"failover of mysql/{snapshot.cluster} to {candidate.name}", _steps(snapshot, candidate, hook))


def most_advanced(snapshot: Snapshot, settings: Mysql) -> Optional[Member]:
    """Of the servers that are fit, the one that has (or has received) most; then as preferred, then as configured.

    While the primary answers it is no candidate: a failover is away from it.
    """
    fit = [m for m in snapshot.members if standing_limitation(m) is None and _sql_stopped(m) is None and not m.writable]
    fit.sort(key=lambda m: settings.prefer.index(m.host) if m.host in settings.prefer else len(settings.prefer))
    fit.sort(key=lambda m: max((m.reachable_gtids.behind(each.reachable_gtids) for each in fit), default=0))
    return fit[0] if fit else None


def _sql_stopped(member: Member) -> Optional[str]:
    for channel in member.channels:
        if channel.sql != "Yes" and not channel.drained:
            return (
                f"{member.name}: its SQL thread is stopped ({channel.sql_error or 'no error'}) with changes unapplied"
            )
    return None


def _why_nobody(snapshot: Snapshot, wanted: Optional[str]) -> list[str]:
    if wanted:
        return [f"{wanted} does not answer"]
    found = [standing_limitation(m) or _sql_stopped(m) for m in snapshot.members if not m.writable]
    found += [f"{answer.name} does not let us in ({answer.reason})" for _, answer in snapshot.of(Denied)]
    return [reason for reason in found if reason] or ["no server answers that could take over"]


def _hard_reasons(snapshot: Snapshot, settings: Mysql, candidate: Member, acknowledge: bool) -> list[str]:
    reasons = [f"{answer.name} does not let us in: it may be the primary" for _, answer in snapshot.of(Denied)]
    if len(snapshot.writable) > 1:
        listed = " and ".join(member.name for member in snapshot.writable)
        reasons.append(f"{listed} are both writable (split brain): mend that first, run mysql_check")
    reasons += [reason for reason in (standing_limitation(candidate), _sql_stopped(candidate)) if reason]
    last = snapshot.failover
    if last is not None and candidate.name != last.current and not acknowledge:
        left_s = last.at + settings.block_s - snapshot.at
        if left_s > 0:
            reasons.append(
                f"the last failover, to {last.current}, was {snapshot.at - last.at:.0f} s ago: find out why, then "
                f"use acknowledge=true (or wait {left_s:.0f} s)"
            )
    return reasons


def _soft_reasons(snapshot: Snapshot, candidate: Member) -> list[str]:
    """What may cost writes or make a second writable server; somebody who knows better may force it."""
    reasons, primary = not_configured(snapshot), snapshot.primary
    if primary is not None:
        reasons.append(f"{primary.name} is primary and answers: use mysql_switchover")
    for host, silent in snapshot.of(Silent):
        reasons += _may_be_alive(snapshot, candidate, str(host), silent)
    for member in snapshot.members:
        lost = candidate.reachable_gtids.behind(member.reachable_gtids) if member is not candidate else 0
        if lost:
            reasons.append(f"{member.name} has {count(lost, 'transaction')} that {candidate.name} has not")
    return reasons


def _may_be_alive(snapshot: Snapshot, candidate: Member, name: str, silent: Silent) -> list[str]:
    reasons = list(alive_reasons(snapshot, name, silent))
    if silent.kind is Silence.UNREACHABLE and not snapshot.replicas_of(name):
        reasons.append(f"{name} is unreachable from here, and no replica confirms that it is lost")
    if not any(snapshot.source_name(channel) == name for channel in candidate.channels) and not _spare(snapshot, name):
        reasons.append(f"{candidate.name} does not replicate from {name}: what {name} took would be lost")
    return reasons


def _spare(snapshot: Snapshot, name: str) -> bool:
    """Somebody replicates, and from another server than this one: this one is a mere replica."""
    followed = snapshot.followed
    return followed is not None and followed != name


def _steps(snapshot: Snapshot, candidate: Member, hook: str) -> tuple[Step, ...]:
    lost, living = silent_source(snapshot), snapshot.primary
    former = lost[0] if lost else living.name if living else ""
    expect = {"former": former, "server_id": candidate.server_id, "forced": True}
    others = [
        m.name for m in snapshot.members
        if m is not candidate and m is not living and m.channels and not m.gtids.beyond(candidate.reachable_gtids)
    ]  # fmt: skip
    replica = bool(candidate.channels)
    return (
        *([Step("fence", living.name, "it answers: only one may take writes")] if living else []),
        *([Step("confirm_lost", candidate.name, f"{former} must be lost to it, too", expect)] if lost else []),
        *([Step("drain", candidate.name, "it applies all that it has received", expect)] if replica else []),
        Step("promote", candidate.name, "it takes writes from now on", expect),
        *announcements(hook, candidate.name, former),
        *([Step("forget_source", candidate.name, "it is nobody's replica any more")] if replica else []),
        Step("record", candidate.name, "another failover is blocked for a while", {"former": former}),
        *(
            Step("attach", name, f"it replicates from {candidate.name} now", {"source": candidate.name})
            for name in others
        ),
        Step("prove", candidate.name, "a write must succeed", {"replicas": others}),
    )
