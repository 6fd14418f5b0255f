"""From a Snapshot and a goal to a Plan or a Refusal: the planned switchover, its way back, and the return of a server.

Pure. Invariant: at most one server is writable at every step, also if nobody finishes the plan. A switchover freezes
the old primary before it opens the new one; every server stays read-only until it is opened by name. `promote` is the
point of no return: before it, `undo` opens the old primary again.
"""

from __future__ import annotations

from typing import Optional

from st2ha.mysql.facts import Denied, Member, Snapshot
from st2ha.mysql.scene import strangers
from st2ha.mysql.settings import Mysql
from st2ha.naming import count, named
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silent


def switchover(
    snapshot: Snapshot, settings: Mysql, target: Optional[str] = None, force: bool = False, hook: str = ""
) -> Decision:
    """Make `target`, or the best candidate, the primary. `force` overrides only the soft reasons."""
    settings.replication_login()
    goal = f"switchover of mysql/{snapshot.cluster}" + (f" to {target}" if target else "")
    wanted = member_named(snapshot, target) if target else None
    source, blind = snapshot.source, _blind_spots(snapshot)
    if blind or source is None:
        return Refused(goal, tuple(blind) or ("no primary was found: run mysql_check, then mysql_failover",))
    if wanted == source.name:
        if source.writable:
            return Plan(f"{goal}: it is primary already", ())
        return Refused(goal, (f"{wanted} is the primary, but read-only: mysql_failover member={wanted} opens it",))
    candidate = snapshot.member(wanted) if wanted else best_replica(snapshot, settings)
    if candidate is None:
        names = [wanted] if wanted else [str(host) for host in snapshot.answers if str(host) != source.name]
        reasons = [_why_not(snapshot, settings, name) for name in names]
        return Refused(goal, tuple(filter(None, reasons)) or (f"{source.name} has no replica",))
    hard = limitation(snapshot, settings, candidate)
    soft = _soft_reasons(snapshot, settings, candidate, source)
    if hard or (soft and not force):
        return Refused(goal, (hard,) if hard else (), soft)
    return Plan(
        f"switchover of mysql/{snapshot.cluster} from {source.name} to {candidate.name}",
        _steps(snapshot, source, candidate, hook),
    )


def undo(before: Snapshot, after: Snapshot) -> Optional[Plan]:
    """The way back of a switchover that ended early; None if there is none, or nothing to go back from.

    The old primary is opened only if every other server was seen, just now, to be read-only.
    """
    source = before.source
    if source is None or after.writable or len(after.members) < len(before.members):
        return None
    frozen = after.member(source.name)
    if frozen is None or frozen.channels:
        return None
    stopped = [m.name for m in after.replicas_of(source.name) if not all(channel.running for channel in m.channels)]
    return Plan(
        f"undo: {source.name} stays primary",
        (
            Step("unfreeze", source.name, "nothing has been promoted: it takes writes again"),
            *(Step("follow_again", name, "it had been stopped for the promotion") for name in stopped),
        ),
    )


def rejoin(snapshot: Snapshot, settings: Mysql, member: str) -> Decision:
    """Make `member` a replica of the primary. What it has and the primary has not would be lost: then never."""
    settings.replication_login()
    name = member_named(snapshot, member)
    goal = f"rejoin of {name}"
    answer = snapshot.member(name)
    primaries = [each for each in snapshot.writable if each.name != name]
    if answer is None:
        return Refused(goal, (_why_not(snapshot, settings, name) or f"{name} does not answer",))
    if len(primaries) != 1:
        which = " and ".join(each.name for each in primaries)
        return Refused(
            goal, (f"{which} are writable: which is right?" if primaries else "no other server is writable",)
        )
    primary = primaries[0]
    if (
        any(snapshot.source_name(each) == primary.name and each.running for each in answer.channels)
        and answer.read_only
    ):
        return Plan(f"{goal}: it replicates from {primary.name} already", ())
    reasons = _reasons_against_rejoin(settings, answer, primary)
    if reasons:
        return Refused(goal, tuple(reasons))
    return Plan(
        f"{goal} as a replica of {primary.name}",
        (
            Step("fence", name, "only the primary takes writes"),
            *([Step("forget_source", primary.name, "a primary follows nobody")] if primary.channels else []),
            Step("attach", name, f"it fetches what it lacks from {primary.name}", {"source": primary.name}),
            Step("prove", primary.name, f"a write must arrive at {name}", {"replicas": [name]}),
        ),
    )


def _reasons_against_rejoin(settings: Mysql, member: Member, primary: Member) -> list[str]:
    reasons = [f"{each.name}: {unreadable(each)}" for each in (member, primary) if unreadable(each)]
    errant = member.gtids.beyond(primary.gtids)
    if errant:
        reasons.append(
            f"{member.name} has {count(errant.count, 'transaction')} that {primary.name} has not ({errant}): save what "
            "is needed of them, then copy the server anew"
        )
    lacking = member.gtids.behind(primary.purged)
    if lacking:
        words = f"{count(lacking, 'transaction')} that {primary.name} has already purged"
        reasons.append(f"{member.name} lacks {words}: copy the server anew")
    reasons += _cannot_serve(settings, primary)
    if member.server_id == primary.server_id:
        reasons.append(f"{member.name} and {primary.name} have the same server_id {member.server_id}")
    return reasons


def best_replica(snapshot: Snapshot, settings: Mysql) -> Optional[Member]:
    """The replica that may take over: as preferred, then the least behind, then as configured."""
    source = snapshot.source
    able = [m for m in snapshot.members if m is not source and limitation(snapshot, settings, m) is None]
    able.sort(key=lambda m: snapshot.behind(m) or 0)
    able.sort(key=lambda m: settings.prefer.index(m.host) if m.host in settings.prefer else len(settings.prefer))
    return able[0] if able else None


def limitation(snapshot: Snapshot, settings: Mysql, member: Member) -> Optional[str]:
    """Why `member` cannot take over by plan as it is now; None if it can. Nothing here may be forced."""
    source, hidden = snapshot.source, unreadable(member)
    if hidden:
        return f"{member.name}: {hidden}"
    if source is None or not any(snapshot.source_name(each) == source.name for each in member.channels):
        return f"{member.name} does not replicate from {source.name if source else 'a known primary'}"
    stopped = next((each for each in member.channels if not each.running), None)
    if stopped is not None:
        return f"{member.name} does not replicate now (IO {stopped.io}, SQL {stopped.sql}): run mysql_check"
    errant = snapshot.errant(member)
    if errant:
        return f"{member.name} has {count(errant.count, 'transaction')} that {source.name} has not ({errant})"
    return standing_limitation(member) or next(iter(_cannot_serve(settings, member)), None)


def standing_limitation(member: Member) -> Optional[str]:
    """What makes a server unfit to be a primary, whatever the others do."""
    hidden = unreadable(member)
    if hidden:
        return f"{member.name}: {hidden}"
    if not member.binlog or not member.logs_updates:
        return f"{member.name} does not log what it replicates: nobody could replicate from it"
    if not member.gtid or any(not channel.gtid for channel in member.channels):
        return f"{member.name} does not replicate by GTID"
    filtered = [text for channel in member.channels for text in channel.filters]
    return f"{member.name} has only a part of the data ({', '.join(filtered)[:80]})" if filtered else None


def unreadable(member: Member) -> Optional[str]:
    """What a decision needs and we may not read."""
    needed = [what for what in ("variables", "gtids", "replication status", "purged") if what in member.unread]
    return f"we may not read its {', '.join(needed)} ({member.unread[needed[0]]})" if needed else None


def member_named(snapshot: Snapshot, wanted: str) -> str:
    """The configured name of a server; BadInput if there is none of that name."""
    return named({str(host): host for host in snapshot.answers}, wanted, "member", f"mysql/{snapshot.cluster}")


def _blind_spots(snapshot: Snapshot) -> list[str]:
    """What must be known before anything is moved."""
    reasons = [
        f"{answer.name} does not let us in: whether it is writable is unknown" for _, answer in snapshot.of(Denied)
    ]
    if len(snapshot.writable) > 1:
        listed = " and ".join(member.name for member in snapshot.writable)
        reasons.append(f"{listed} are both writable (split brain): mend that first, run mysql_check")
    return reasons + not_configured(snapshot)


def not_configured(snapshot: Snapshot) -> list[str]:
    """A replica was given and its primary was not: another writable server cannot be ruled out."""
    found = [] if snapshot.writable else strangers(snapshot)
    return [
        f"{name} is a replica of {source}, which may be taking writes: add it to mysql.hosts" for name, source in found
    ]


def _cannot_serve(settings: Mysql, member: Member) -> list[str]:
    user = settings.replication_login()[0]
    if member.replicators is None or user in member.replicators:
        return []
    return [f"{member.name} has no replication user {user!r}: nobody could replicate from it"]


def _soft_reasons(snapshot: Snapshot, settings: Mysql, candidate: Member, source: Member) -> tuple[str, ...]:
    """Gates that protect comfort and spare, not the data: the plan still waits until the candidate has everything."""
    limits, reasons = settings.limits, []
    behind, channel = snapshot.behind(candidate) or 0, candidate.channel
    if behind > limits.lag_transactions:
        reasons.append(f"{candidate.name} is {behind} transactions behind (limit {limits.lag_transactions:g})")
    elif channel is not None and (channel.behind_s or 0) > limits.lag_s:
        reasons.append(f"{candidate.name} is {channel.behind_s:.0f} s behind (limit {limits.lag_s:g} s)")
    oldest_s = source.oldest_transaction_s or 0
    if oldest_s > limits.long_transaction_s:
        reasons.append(f"a transaction on {source.name} is open for {oldest_s:.0f} s and would be ended")
    reasons += [f"{host} unreachable: {silent.reason}" for host, silent in snapshot.of(Silent)]
    if candidate.disk_used is not None and candidate.disk_used > 0.95:
        reasons.append(f"the disk of {candidate.name} is {candidate.disk_used:.0%} full")
    if source.version[:2] < candidate.version[:2]:
        reasons.append(
            f"{source.name} ({source.version_text}) is older than {candidate.name} ({candidate.version_text}) and may "
            "not understand it as its primary"
        )
    return tuple(reasons)


def _steps(snapshot: Snapshot, source: Member, candidate: Member, hook: str) -> tuple[Step, ...]:
    expect = {"former": source.name, "server_id": candidate.server_id}
    others = [m.name for m in snapshot.replicas_of(source.name) if m is not candidate]
    new = {"source": candidate.name}
    return (
        Step("freeze", source.name, "it stops taking writes, so its position is final", {"target": candidate.name}),
        Step("catch_up", candidate.name, f"it must have what {source.name} has", expect),
        Step("promote", candidate.name, "it takes writes from now on; until here everything can be undone", expect),
        *announcements(hook, candidate.name, source.name),
        Step("release", source.name, "its clients are disconnected: they find the new primary when they come back"),
        Step("forget_source", candidate.name, "it is nobody's replica any more"),
        *(Step("attach", name, f"it replicates from {candidate.name} now", new) for name in (source.name, *others)),
        Step(
            "prove", candidate.name, "a write must arrive at every replica", {"replicas": [source.name, *others]},
        ),
    )  # fmt: skip


def announcements(hook: str, primary: str, former: str) -> tuple[Step, ...]:
    """The step that tells the world where the primary is, if an action for that is given."""
    if not hook:
        return ()
    return (Step("announce", primary, f"{hook} moves the clients", {"action": hook, "former": former}),)


def _why_not(snapshot: Snapshot, settings: Mysql, name: str) -> Optional[str]:
    member = snapshot.member(name)
    if member is not None:
        return limitation(snapshot, settings, member)
    denied = any(answer.name == name for _, answer in snapshot.of(Denied))
    return f"{name} does not let us in" if denied else f"{name} does not answer: its GTIDs are unknown"
