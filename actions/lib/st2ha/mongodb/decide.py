"""From a Snapshot and a goal to a Plan or a Refusal. Pure.

Invariant of a switchover: MongoDB's own election protocol keeps at most one primary per term; our steps only say which
member runs. Every step that would outlive us undoes itself: a freeze and a step-down both expire, after which the
target, caught up and not frozen, is elected even if nobody finishes the plan.
"""

from __future__ import annotations

from typing import Optional

from st2ha.config import Mongodb
from st2ha.mongodb.facts import Denied, Member, OpTime, Outsider, SetConfig, Snapshot
from st2ha.mongodb.scene import alive_voters, believed_primary
from st2ha.naming import named
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silent

STEP_DOWN_S = 30
"""For so long the old primary and the members that are not wanted leave the election to the target."""
MOST_FREEZE_S = 24 * 3600
CLIENTS_LOOK_S = 10
"""So often a driver looks for a member that was away (`heartbeatFrequencyMS` of the drivers' specification)."""


def switchover(snapshot: Snapshot, settings: Mongodb, target: Optional[str] = None, force: bool = False) -> Decision:
    """Make `target`, or the best candidate, the primary. `force` overrides only the soft reasons."""
    goal = f"switchover of {snapshot.replica_set}" + (f" to {target}" if target else "")
    wanted = _named(snapshot, target) if target else None
    blind = _blind_spots(snapshot)
    primary, config = snapshot.primary, snapshot.config
    if blind or primary is None or config is None:
        return Refused(goal, tuple(blind) or ("no configuration was read",))
    if wanted == primary.name:
        return Plan(f"{goal}: it is primary already", ())
    candidate = snapshot.member(wanted) if wanted else best_candidate(snapshot, settings)
    if candidate is None:
        names = [wanted] if wanted else _others(config, primary)
        reasons = tuple(filter(None, (_candidacy(snapshot, name) for name in names)))
        return Refused(goal, reasons or ("the set has no other data-bearing member",))
    hard = limitation(snapshot, candidate)
    soft = _soft_reasons(snapshot, settings, candidate, primary)
    if hard or (soft and not force):
        return Refused(goal, (hard,) if hard else (), soft)
    return Plan(
        f"switchover of {snapshot.replica_set} from {primary.name} to {candidate.name}",
        _steps(snapshot, primary, candidate),
    )


def freeze(snapshot: Snapshot, settings: Mongodb, member: str, seconds: float) -> Decision:
    """Keep `member` from being elected for `seconds`, so that it can be worked on; 0 ends that."""
    name = _named(snapshot, member)
    goal = f"freeze of {name} for {seconds:g} s" if seconds else f"unfreeze of {name}"
    answer, config = snapshot.member(name), snapshot.config
    line = config.member(name) if config else None
    if line is not None and line.arbiter:
        return Refused(goal, (f"{name} is an arbiter: it is never elected",))
    if answer is None or line is None:
        return Refused(goal, (_candidacy(snapshot, name) or f"{name}: no configuration was read",))
    verb = Step(
        "freeze",
        name,
        f"it is not elected for {seconds:g} s" if seconds else "it may be elected again",
        {"seconds": seconds},
    )
    if not seconds:
        return Plan(goal, (verb,))
    if answer.writable:
        return Refused(goal, (f"{name} is primary: run mongodb_switchover first",))
    others = [m.name for m in snapshot.members if m.name != name and limitation(snapshot, m) is None]
    if snapshot.primary is None and not others:
        return Refused(goal, (f"{name} is the only member that could become primary",))
    return Plan(goal, (verb,))


def best_candidate(snapshot: Snapshot, settings: Mongodb) -> Optional[Member]:
    """The electable secondary of the highest priority, then the most advanced, then by name. None if there is none."""
    config = snapshot.config
    if config is None:
        return None
    able = [m for m in snapshot.members if not m.writable and limitation(snapshot, m) is None]
    able.sort(key=lambda m: m.name)
    able.sort(key=lambda m: m.optime or OpTime(0, 0, 0), reverse=True)
    able.sort(key=lambda m: (snapshot.lag_s(m) or 0) > settings.limits.lag_s)
    able.sort(key=lambda m: -_priority(config, m.name))
    return able[0] if able else None


def limitation(snapshot: Snapshot, member: Member) -> Optional[str]:
    """Why `member` can never become primary as it is now; None if it can. Nothing here may be forced."""
    config = snapshot.config
    line = config.member(member.name) if config else None
    if line is None:
        return f"{member.name} is not in the set's configuration"
    if line.arbiter:
        return f"{member.name} is an arbiter"
    if not line.electable:
        return f"{member.name} has priority {line.priority:g} and {line.votes} votes, so it is not electable"
    if member.state not in ("SECONDARY", "PRIMARY"):
        return f"{member.name} is {member.state}, not SECONDARY"
    if member.optime is None or (snapshot.primary is not None and snapshot.lag_s(member) is None):
        return f"{member.name}: its position in the oplog is unknown"
    if line.delay_s:
        return f"{member.name} is kept {line.delay_s:g} s behind on purpose"
    if member.name not in alive_voters(snapshot):
        return f"{member.name} is cut off: no other member reaches it"
    return None


def _blind_spots(snapshot: Snapshot) -> list[str]:
    """What must be known before anything is moved."""
    reasons = []
    closed = believed_primary(snapshot) or next((each.name for _, each in snapshot.of(Denied) if each.writable), None)
    if not snapshot.primaries and closed:
        reasons.append(f"the primary {closed} cannot be read from here: run mongodb_check")
    elif not snapshot.primaries:
        reasons.append("no primary was found: MongoDB elects one by itself when a majority is there, run mongodb_check")
    if len(snapshot.primaries) > 1:
        reasons.append("two members accept writes (split brain): mend that first, run mongodb_check")
    reasons += [f"{answer.name} does not let us in: its state is unknown" for _, answer in snapshot.of(Denied)]
    config = snapshot.config
    if config is not None:
        asked = {snapshot.name_of(host) for host in snapshot.answers}
        unasked = [member.name for member in config.members if member.name not in asked]
        reasons += [f"{name} of the set is not in mongodb.hosts: its state is unknown" for name in unasked]
        if len(alive_voters(snapshot)) < config.majority:
            reasons.append(f"only {len(alive_voters(snapshot))} of {config.majority} needed votes are there")
    return reasons


def _soft_reasons(snapshot: Snapshot, settings: Mongodb, candidate: Member, primary: Member) -> tuple[str, ...]:
    """Gates that protect the comfort and the spare, not the data: the server itself still waits for the catch-up."""
    config, limits, reasons = snapshot.config, settings.limits, []
    lag_s = snapshot.lag_s(candidate) or 0.0
    if lag_s > limits.lag_s:
        reasons.append(f"{candidate.name} is {lag_s:.0f} s behind (limit {limits.lag_s:g} s)")
    reasons += [f"{snapshot.name_of(host)} unreachable: {silent.reason}" for host, silent in snapshot.of(Silent)]
    alive = alive_voters(snapshot)
    voters = [member.name for member in snapshot.members if _votes(config, member.name)]
    reasons += [f"{name} is cut off: no other member reaches it" for name in voters if name not in alive]
    if candidate.oplog_wrapped and (candidate.oplog_window_s or 0) < limits.oplog_window_s:
        reasons.append(f"{candidate.name} keeps only {(candidate.oplog_window_s or 0) / 3600:.1f} h of oplog")
    if candidate.disk_used is not None and candidate.disk_used > 0.95:
        reasons.append(f"the disk of {candidate.name} is {candidate.disk_used:.0%} full")
    if config and _priority(config, candidate.name) < _priority(config, primary.name):
        reasons.append(
            f"{primary.name} has the higher priority ({_priority(config, primary.name):g} against "
            f"{_priority(config, candidate.name):g}) and will take over again by itself"
        )
    return tuple(reasons)


def _steps(snapshot: Snapshot, primary: Member, candidate: Member) -> tuple[Step, ...]:
    """Before the step-down everybody already follows the candidate: a secondary that must look for a new source while
    there is no primary sleeps for a second, and majority writes wait for it (measured: 1.0 s against 0.04 s).
    A freeze of the candidate cannot be seen, and would leave the set without a primary after the step-down."""
    expect = {"term": primary.term, "primary": primary.name}
    alive = alive_voters(snapshot)
    others = [
        m for m in snapshot.members if m not in (primary, candidate) and m.state == "SECONDARY" and m.name in alive
    ]
    up_s = next((view.up_s for view in primary.views if view.name == candidate.name), None)
    fresh = [] if up_s is None or up_s > CLIENTS_LOOK_S else [candidate]
    follows = [(candidate, primary)] if candidate.sync_source != primary.name else []
    follows += [(member, candidate) for member in others]
    return (
        Step("freeze", candidate.name, "it may be elected, whatever froze it before", {"seconds": 0}),
        Step("catch_up", candidate.name, f"it must have what {primary.name} has", expect),
        *(
            Step("await_clients", member.name,
                 f"it came back just now: clients look for it every {CLIENTS_LOOK_S} s, and get that long", expect)
            for member in fresh
        ),
        *(
            Step("follow", member.name, f"it needs no new sync source in the moment of the switch: {source.name}",
                 {**expect, "source": source.name})
            for member, source in follows
        ),
        *(Step("freeze", m.name, f"only {candidate.name} is to be elected", {"seconds": STEP_DOWN_S}) for m in others),
        Step("step_down", primary.name, "it stops taking writes and waits until a secondary has them all",
             {**expect, "successor": candidate.name}),
        Step("elect", candidate.name, "it is elected at once, not after the election time-out"),
        *(Step("freeze", m.name, "it may be elected again", {"seconds": 0}) for m in (*others, primary)),
        Step("prove", candidate.name, "a majority write must come back from the new primary"),
    )  # fmt: skip


def _named(snapshot: Snapshot, wanted: str) -> str:
    names = {snapshot.name_of(host): host for host in snapshot.answers}
    return named(names, wanted, "member", snapshot.replica_set)


def _others(config: SetConfig, primary: Member) -> list[str]:
    return [member.name for member in config.members if member.name != primary.name]


def _candidacy(snapshot: Snapshot, name: str) -> Optional[str]:
    """Why the member called `name` cannot take over; None if it can."""
    member = snapshot.member(name)
    if member is not None:
        return limitation(snapshot, member)
    outside = next((answer for host, answer in snapshot.of(Outsider) if str(host) == name), None)
    return f"{name}: {outside.reason}" if outside else f"{name} does not answer: its position is unknown"


def _votes(config: Optional[SetConfig], name: str) -> int:
    member = config.member(name) if config else None
    return member.votes if member else 0


def _priority(config: SetConfig, name: str) -> float:
    member = config.member(name)
    return member.priority if member else 0.0
