"""What is wrong with a set: pure rules over a Snapshot. No clock, no network; times and limits are arguments.

Each rule is a generator of findings in RULES; a rule about the set as a whole is here, one about single members is in
assess_members.py. UNKNOWN means that we could not see; it is never used for what we saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable, Optional

from st2ha.config import Host, MongodbLimits
from st2ha.mongodb import assess_members
from st2ha.mongodb.facts import Denied, Member, Outsider, Snapshot
from st2ha.mongodb.scene import Scene, alive_voters, believed_primary
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity, by_weight


def assess(
    snapshot: Snapshot,
    limits: MongodbLimits,
    now: float,
    earlier: Optional[Snapshot] = None,
    reviewed_rollbacks: Optional[dict[str, int]] = None,
) -> tuple[Finding, ...]:
    """All findings, the worst first. `earlier` (a second older or more) tells standstill from lag."""
    scene = Scene(snapshot, limits, now, earlier, reviewed_rollbacks or {})
    rules: Iterable[Callable[[Scene], Iterator[Finding]]] = (*RULES, *assess_members.RULES)
    return tuple(by_weight(finding for rule in rules for finding in rule(scene)))


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    primary = snapshot.primary
    return f"{len(snapshot.members)} members, primary {primary.name if primary else '?'}"


def no_primary(scene: Scene) -> Iterator[Finding]:
    """Nobody accepts writes. A Denied still says whether it is primary; one without trusted TLS says nothing."""
    snapshot = scene.snapshot
    denied = [answer for _, answer in snapshot.of(Denied)]
    closed = [
        snapshot.name_of(host) for host, each in snapshot.of(Silent) if each.kind in (Silence.TLS, Silence.BROKEN)
    ]
    if snapshot.primaries or any(answer.writable for answer in denied) or believed_primary(snapshot):
        return
    asked, answering = len(snapshot.answers), len(snapshot.members) + len(denied)
    unknown = [name for name in closed if not snapshot.views_of(name)]
    if unknown:
        yield scene.finding(
            "PrimaryUnknown", Severity.UNKNOWN, f"{' or '.join(unknown)} may be primary, and nobody can tell",
            "correct the settings of this deployment: mongodb.tls, username and password",
        )  # fmt: skip
        return
    yield scene.finding(
        "NoPrimary", Severity.CRITICAL, f"{answering} of {asked} members answer, none is primary: writes are stopped",
        _next_without_primary(snapshot),
    )  # fmt: skip


def _next_without_primary(snapshot: Snapshot) -> str:
    lost = [snapshot.name_of(host) for host, _ in snapshot.of(Silent)]
    config = snapshot.config
    if config and len(alive_voters(snapshot)) >= config.majority:
        return f"wait {config.election_timeout_s:g} s for the election, then check again"
    return f"start {' or '.join(lost)}" if lost else "check again; then read the members' logs for failed elections"


def split_brain(scene: Scene) -> Iterator[Finding]:
    primaries = scene.snapshot.primaries
    if len(primaries) < 2:
        return
    newest, *stale = primaries
    terms = ", ".join(f"{member.name} (term {member.term})" for member in primaries)
    yield scene.finding(
        "SplitBrain", Severity.CRITICAL,
        f"{len(primaries)} members accept writes: {terms}; what the older term takes will be rolled back",
        f"keep clients from {' and '.join(member.name for member in stale)} and mend the network to {newest.name}",
    )  # fmt: skip


def majority(scene: Scene) -> Iterator[Finding]:
    """Votes that work together now, against the votes that an election and a majority write need."""
    config = scene.snapshot.config
    if config is None or not config.voters:
        return
    alive, needed = alive_voters(scene.snapshot), config.majority
    lost = [voter.name for voter in config.voters if voter.name not in alive]
    votes = f"{len(alive)} of {len(config.voters)} votes are there, {needed} are needed"
    if len(alive) < needed:
        yield scene.finding(
            "NoMajority", Severity.CRITICAL, f"{votes}: no primary can be elected or stay",
            f"bring back {count(needed - len(alive), 'member')} of {', '.join(lost)}",
        )  # fmt: skip
    elif len(alive) == needed:
        yield scene.finding(
            "OneFailureFromNoMajority", Severity.WARNING, f"{votes}: the next failure stops writes",
            f"bring back {', '.join(lost)}" if lost else "add a third data-bearing voting member",
        )  # fmt: skip


def even_votes(scene: Scene) -> Iterator[Finding]:
    config = scene.snapshot.config
    if config and len(config.voters) % 2 == 0:
        yield scene.finding(
            "EvenVotes", Severity.WARNING,
            f"{len(config.voters)} voting members survive no more failures than {len(config.voters) - 1}, and can tie",
            "add a voting member, or take one vote away",
        )  # fmt: skip


def arbiter_majority_risk(scene: Scene) -> Iterator[Finding]:
    config = scene.snapshot.config
    if config is None:
        return
    arbiters = [voter.name for voter in config.voters if voter.arbiter]
    bearing = len(config.voters) - len(arbiters)
    if arbiters and bearing - 1 < config.majority:
        yield scene.finding(
            "ArbiterMajorityRisk", Severity.WARNING,
            f"{count(bearing, 'data-bearing voter')} of {len(config.voters)}: with one of them down a primary stays, "
            "but majority writes wait for ever",
            f"replace the arbiter {', '.join(arbiters)} by a data-bearing member",
        )  # fmt: skip


def election_timeout(scene: Scene) -> Iterator[Finding]:
    config, patience_s = scene.snapshot.config, scene.limits.client_patience_s
    if config and config.election_timeout_s >= patience_s:
        yield scene.finding(
            "ElectionTimeoutBeyondClients", Severity.WARNING,
            f"an election waits {config.election_timeout_s:g} s, StackStorm's clients give up after {patience_s:g} s: "
            "every crash of the primary fails their requests",
            "set settings.electionTimeoutMillis to 2000 with rs.reconfig()",
        )  # fmt: skip


def clock_skew(scene: Scene) -> Iterator[Finding]:
    offsets = sorted((m.clock_offset_s, m.name) for m in scene.snapshot.members if m.clock_offset_s is not None)
    if len(offsets) < 2 or offsets[-1][0] - offsets[0][0] <= scene.limits.clock_skew_s:
        return
    middle = offsets[len(offsets) // 2][0]
    offset, name = max(offsets, key=lambda each: abs(each[0] - middle))
    yield scene.finding(
        "ClockSkew", Severity.WARNING,
        f"the members' clocks differ by {offsets[-1][0] - offsets[0][0]:.1f} s; {name} is {offset:+.1f} s from here",
        f"repair time synchronisation on {name}",
    )  # fmt: skip


def version_mix(scene: Scene) -> Iterator[Finding]:
    versions = {member.name: member.version for member in scene.snapshot.members if member.version}
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        yield scene.finding(
            "VersionMix", Severity.WARNING, f"members run different versions: {listed}", "finish the upgrade of the set"
        )


def config_drift(scene: Scene) -> Iterator[Finding]:
    """The hosts of our configuration against those of the set: what is not asked is not seen."""
    snapshot, config = scene.snapshot, scene.snapshot.config
    if config is None:
        return
    ours = {snapshot.name_of(host) for host in snapshot.answers}
    theirs = {member.name for member in config.members}
    unknown = sorted(theirs - ours)
    foreign = sorted(ours - theirs - {str(host) for host, _ in snapshot.of(Outsider)})
    parts = [f"{', '.join(unknown)} of the set is not configured here"] if unknown else []
    parts += [f"{', '.join(foreign)} is configured here but not in the set"] if foreign else []
    parts += [f"{' and '.join(map(str, hosts))} are one member" for hosts in _aliases(snapshot) if len(hosts) > 1]
    if parts:
        yield scene.finding(
            "ConfigDrift", Severity.WARNING, "; ".join(parts), "correct mongodb.hosts of this deployment, or the set"
        )


def _aliases(snapshot: Snapshot) -> list[list[Host]]:
    """The configured hosts by the member that answers there."""
    hosts: dict[str, list[Host]] = {}
    for host in snapshot.answers:
        hosts.setdefault(snapshot.name_of(host), []).append(host)
    return list(hosts.values())


def outsiders(scene: Scene) -> Iterator[Finding]:
    for host, answer in scene.snapshot.of(Outsider):
        yield scene.finding(
            "RemovedMember", Severity.WARNING, f"answers, but {answer.reason}: it holds no copy and has no vote",
            "add it to the set with rs.add(), or take it out of mongodb.hosts", str(host),
        )  # fmt: skip


def silent_members(scene: Scene) -> Iterator[Finding]:
    """Down, hung or cut off from here? The port and the other members' view tell."""
    for host, silent in scene.snapshot.of(Silent):
        yield _silent_member(scene, host, silent)


def _silent_member(scene: Scene, host: Host, silent: Silent) -> Finding:
    snapshot = scene.snapshot
    name = snapshot.name_of(host)
    views = snapshot.views_of(name)
    seeing = [observer for observer, view in views if view.healthy]
    no_other = not snapshot.primaries and believed_primary(snapshot) == name
    severity = Severity.CRITICAL if no_other else Severity.WARNING
    if silent.kind is Silence.TLS:
        return scene.finding(
            "TlsFailed", Severity.UNKNOWN, f"no trusted connection: {silent.reason}",
            f"renew the certificate of {name}, or correct mongodb.tls.ca_file", name,
        )  # fmt: skip
    if silent.kind is Silence.BROKEN:
        return scene.finding(
            "MemberUnreadable", Severity.UNKNOWN, f"answers, but not as a member should: {silent.reason}",
            f"is {name} a mongod, and does mongodb.tls.enabled say what it speaks?", name,
        )  # fmt: skip
    if silent.kind is Silence.HUNG:
        following = [member.name for member in snapshot.members if member.sync_source == name]
        stalled = _without_majority(snapshot, following)
        also = f"; {' and '.join(following)} still syncs from it, so majority writes wait" if stalled else ""
        return scene.finding(
            "MemberHung", Severity.CRITICAL if stalled else severity,
            f"{silent.reason}: clients wait for it until their own time-out{also}",
            f"look at disk and load of {name}; if it stays, kill its mongod and start it again", name,
        )  # fmt: skip
    if seeing and silent.kind is not Silence.REFUSED:
        return scene.finding(
            "MemberUnreachableFromHere", severity, f"{silent.reason}, but {', '.join(seeing)} see it healthy",
            f"mend the network or firewall between this node and {name}", name,
        )  # fmt: skip
    known = f"{count(len(views), 'other member')} lost it, too" if views else "no member answers that could confirm it"
    return scene.finding("MemberDown", Severity.WARNING, f"{silent.reason}; {known}", f"start mongod on {name}", name)


def _without_majority(snapshot: Snapshot, following: list[str]) -> bool:
    """Whether the members that follow a hung one are missing for a majority: they notice only after the heartbeat's
    time-out (10 s), although a new primary exists by then."""
    config = snapshot.config
    return bool(config and following) and len(alive_voters(snapshot) - set(following)) < (
        config.majority if config else 0
    )


def denied_members(scene: Scene) -> Iterator[Finding]:
    for _, answer in scene.snapshot.of(Denied):
        yield scene.finding(
            "AuthFailed", Severity.UNKNOWN, f"does not let us in ({answer.reason}): nothing more is known of it",
            "correct mongodb.username and password, and grant the role clusterMonitor", answer.name,
        )  # fmt: skip


def cut_off_members(scene: Scene) -> Iterator[Finding]:
    """Answers us, but no other member reaches it."""
    for member in scene.snapshot.members:
        if scene.snapshot.views_of(member.name) and not _seen(scene.snapshot, member):
            yield scene.finding(
                "MemberCutOff", Severity.WARNING,
                "answers here, but no other member reaches it: it neither replicates nor votes with them",
                f"mend the network or firewall between {member.name} and the other members", member.name,
            )  # fmt: skip


def _seen(snapshot: Snapshot, member: Member) -> bool:
    return any(view.healthy for _, view in snapshot.views_of(member.name))


RULES = (
    no_primary, split_brain, majority, silent_members, denied_members, cut_off_members, outsiders, config_drift,
    even_votes, arbiter_majority_risk, election_timeout, clock_skew, version_mix,
)  # fmt: skip
