"""From a Snapshot and a goal to a Plan or a Refusal: the planned switchover through Sentinel, and its way back. Pure.

Sentinel alone loses writes in a planned failover: it promotes a replica while the old primary still takes writes, and
turns that one into a replica some ten seconds later. So the plan pauses writes on the old primary first, lets the
target catch up, and makes the old primary a replica itself as soon as the target is promoted.

Invariant: from the pause on the old primary takes no write. A pause ends by itself, so a plan that dies before the
failover leaves one primary that works: the old one, or, where down-after-milliseconds is shorter than the pause, the
Sentinels' choice (their PUBLISH waits with the writes and their PING behind it, so that it seems down). After a
failover Sentinel demotes the old primary some ten seconds after the pause; in between min-replicas-to-write keeps it
from taking writes, as its replicas have left it by then.
"""

from __future__ import annotations

from typing import Optional

from st2ha.naming import named
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silent
from st2ha.redis.facts import Denied, Server, Snapshot
from st2ha.redis.scene import in_step, quorum_reason
from st2ha.redis.settings import Redis

PAUSES_SINCE = (6, 2)
"""CLIENT PAUSE ... WRITE."""


def switchover(snapshot: Snapshot, settings: Redis, target: Optional[str] = None, force: bool = False) -> Decision:
    """Make `target`, or the best replica, the primary. `force` overrides only the soft reasons."""
    goal = f"switchover of redis/{snapshot.master_name}" + (f" to {target}" if target else "")
    wanted = member_named(snapshot, target) if target else None
    primary = snapshot.primary
    blind = _blind_spots(snapshot, settings)
    if blind or primary is None:
        return Refused(goal, tuple(blind) or ("no single primary was found: run redis_check",))
    if wanted == primary.name:
        return Plan(f"{goal}: it is primary already", ())
    candidate = snapshot.server(wanted) if wanted else best_replica(snapshot)
    if candidate is None:
        return Refused(goal, _why_none(snapshot, wanted))
    hard = limitation(snapshot, candidate)
    soft = _soft_reasons(snapshot, settings, candidate)
    if hard or (soft and not force):
        return Refused(goal, (hard,) if hard else (), soft)
    return Plan(
        f"switchover of redis/{snapshot.master_name} from {primary.name} to {candidate.name}",
        _steps(snapshot, primary, candidate),
    )


def undo(before: Snapshot, after: Snapshot) -> Optional[Plan]:
    """The way back of a switchover that ended before the promotion: writes go on, priorities are as they were."""
    primary = before.primary
    if primary is None:
        return None
    changed = [
        (server, former) for server in after.servers
        if (former := before.server(server.name)) is not None and former.priority != server.priority
    ]  # fmt: skip
    steps = [
        Step("prefer", server.name, "its priority is what it was", {"priority": former.priority})
        for server, former in changed
    ]
    if after.primary is not None and after.primary.name == primary.name:
        steps.insert(0, Step("resume", primary.name, "nobody was promoted: it takes writes again"))
    return (
        Plan(f"undo: {after.primary.name if after.primary else 'nobody'} is primary", tuple(steps)) if steps else None
    )


def member_named(snapshot: Snapshot, wanted: str) -> str:
    """The server that a person means; BadInput if there is none."""
    return named({str(host): host for host in snapshot.answers}, wanted, "member", f"redis/{snapshot.master_name}")


def best_replica(snapshot: Snapshot) -> Optional[Server]:
    """Of those that may be promoted: the one that Sentinel would take, by priority, then by how much it has."""
    able = [each for each in snapshot.servers if not each.is_primary and limitation(snapshot, each) is None]
    return min(able, key=lambda each: (each.priority, -each.offset, each.name), default=None)


def limitation(snapshot: Snapshot, server: Server) -> Optional[str]:
    """Why a server cannot be promoted without loss; None if it can."""
    primary = snapshot.primary
    if server.is_primary:
        return f"{server.name} is primary already"
    if primary is None or server not in snapshot.replicas_of(primary):
        return f"{server.name} does not replicate from the primary"
    if not in_step(snapshot, server):
        return f"{server.name} is not in step with {primary.name}: its link is down, or it copies all data"
    if server.loading:
        return f"{server.name} is loading its data"
    if primary.version[:2] < PAUSES_SINCE:
        return f"{primary.name} is {primary.version_text}: writes can be paused since 6.2"
    if server.priority == 0:
        return f"{server.name} has replica-priority 0: it is meant never to be promoted"
    knows = [each for each in snapshot.sentinels if server.name in map(snapshot.name_of, each.replicas)]
    return None if knows else f"no Sentinel knows {server.name} as a replica that is up"


def _blind_spots(snapshot: Snapshot, settings: Redis) -> list[str]:
    """What must be seen, and be in order, before anything is changed."""
    if not settings.sentinels:
        return ["redis.sentinels is empty: the switchover goes through Sentinel"]
    reasons = [f"{host} does not let us in: it may be a primary" for host, _ in snapshot.of(Denied)]
    if len(snapshot.primaries) > 1:
        reasons.append(f"{' and '.join(each.name for each in snapshot.primaries)} both take writes")
    reason = quorum_reason(snapshot, settings)
    if reason:
        reasons.append(reason)
    primary, watched = snapshot.primary, {snapshot.name_of(each.primary) for each in snapshot.sentinels if each.primary}
    if primary is not None and watched - {primary.name}:
        reasons.append(f"a Sentinel sends clients to {', '.join(sorted(watched - {primary.name}))}, not {primary.name}")
    if any("failover_in_progress" in each.flags for each in snapshot.sentinels):
        reasons.append("a failover is under way")
    return reasons


def _why_none(snapshot: Snapshot, wanted: Optional[str]) -> tuple[str, ...]:
    if wanted:
        return (f"{wanted} does not answer: what it has is unknown",)
    reasons = (limitation(snapshot, each) for each in snapshot.servers if not each.is_primary)
    return tuple(filter(None, reasons)) or ("there is no replica that answers",)


def _soft_reasons(snapshot: Snapshot, settings: Redis, candidate: Server) -> tuple[str, ...]:
    """Gates that protect comfort and spare; nothing is lost without them."""
    reasons = [f"{host} unreachable: {silent.reason}" for host, silent in snapshot.of(Silent)]
    behind, primary = snapshot.behind(candidate) or 0, snapshot.primary
    if behind > settings.limits.lag_bytes:
        reasons.append(f"{candidate.name} is {behind} bytes behind: writes would be paused until it has them")
    if primary is not None and primary.guard and not primary.guard[0]:
        reasons.append(
            f"min-replicas-to-write is 0 on {primary.name}: if this process died in the middle, two servers would take "
            "writes for some seconds"
        )
    if primary is not None and candidate.version < primary.version:
        reasons.append(
            f"{candidate.name} ({candidate.version_text}) is older than {primary.name}: replicas may not follow"
        )
    return tuple(reasons)


def _steps(snapshot: Snapshot, primary: Server, candidate: Server) -> tuple[Step, ...]:
    lag_s = primary.guard[1] if primary.guard else 10
    expect = {"former": primary.name, "replid": primary.replid, "max_lag_s": lag_s}
    rivals = [
        each for each in snapshot.replicas_of(primary)
        if each.name != candidate.name and 0 < each.priority <= candidate.priority
    ]  # fmt: skip
    # Sentinel chooses by itself, the lowest priority first.
    lowest = min([candidate.priority, *(each.priority for each in rivals)])
    preferred = candidate.priority if not rivals else max(1, lowest - 1)
    steps = [Step("adopt", candidate.name, "a Sentinel must see it as a replica in step", {"priority": preferred})]
    if rivals:
        because = "Sentinel takes the replica with the lowest priority"
        steps.insert(0, Step("prefer", candidate.name, because, {"priority": preferred}))
    steps += [
        Step("pause", primary.name, "no write comes in behind the last one that is copied", expect),
        Step("catch_up", candidate.name, f"it must have what {primary.name} has", expect),
        Step("failover", candidate.name, "the Sentinels promote it and send clients there", expect),
        Step(
            "demote", primary.name, f"it follows {candidate.name} now, and its clients are told", {"to": candidate.name}
        ),
    ]
    if rivals:
        because = "its priority is what it was"
        steps.append(Step("prefer", candidate.name, because, {"priority": candidate.priority}))
    names = [each.name for each in snapshot.servers if each.name != candidate.name]
    steps.append(Step("prove", candidate.name, "a write must arrive at every replica", {"replicas": names}))
    return tuple(steps)
