"""What is wrong: pure rules over a Snapshot. No clock, no network; times and limits are arguments.

Rules about the primary, its replicas and who answers are here, those about the Sentinels in assess_sentinels.py, those
about how the servers are set up in assess_setup.py. UNKNOWN means that we could not see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable

from st2ha.config import Host
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.redis import assess_sentinels, assess_setup
from st2ha.redis.facts import Denied, Server, Snapshot
from st2ha.redis.scene import Scene, in_step, unseen
from st2ha.redis.settings import Redis
from st2ha.report import Finding, Severity, by_weight

Rule = Callable[[Scene], Iterator[Finding]]


def assess(snapshot: Snapshot, settings: Redis, now: float) -> tuple[Finding, ...]:
    """All findings, the worst first."""
    scene = Scene(snapshot, settings, now)
    rules: Iterable[Rule] = (*RULES, *assess_sentinels.RULES, *assess_setup.RULES)
    return tuple(by_weight(finding for rule in rules for finding in rule(scene)))


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    primary = snapshot.primary
    return (
        f"{count(len(snapshot.servers), 'server')}, primary {primary.name if primary else '?'}, "
        f"{count(len(snapshot.sentinels), 'Sentinel')}"
    )


def no_primary(scene: Scene) -> Iterator[Finding]:
    """Nobody takes writes, and so nobody gets a lock. One that we cannot read may be the primary."""
    snapshot = scene.snapshot
    if snapshot.primaries:
        return
    closed = unseen(snapshot.answers)
    if closed:
        yield scene.finding(
            "PrimaryUnknown", Severity.UNKNOWN, f"{', '.join(closed)} cannot be read: no other one is primary",
            "correct what the findings about it say",
        )  # fmt: skip
        return
    answering, elected = len(snapshot.servers), snapshot.elected
    named = f"; the Sentinels name {elected}" if elected else ""
    yield scene.finding(
        "NoPrimary", Severity.CRITICAL,
        f"{answering} of {len(snapshot.answers)} servers answer, none is primary{named}: nobody gets a lock",
        f"start redis-server on {elected}, or wait for the Sentinels" if elected else "start the servers and Sentinels",
    )  # fmt: skip


def two_primaries(scene: Scene) -> Iterator[Finding]:
    """Split brain by the servers' own word: a lock on each side."""
    first, *others = scene.snapshot.primaries or (None,)
    if first is None or not others:
        return
    elected = scene.snapshot.elected
    keep = elected if elected in [each.name for each in scene.snapshot.primaries] else first.name
    lose = [each.name for each in scene.snapshot.primaries if each.name != keep]
    host, _, port = str(keep).rpartition(":")
    yield scene.finding(
        "SplitBrain", Severity.CRITICAL,
        f"{keep} and {' and '.join(lose)} take writes: a lock may have two holders, and one side's writes will be lost",
        f"on {lose[0]}: REPLICAOF {host} {port}, unless its data are the ones to keep",
    )  # fmt: skip


def silent_servers(scene: Scene) -> Iterator[Finding]:
    for host, silent in scene.snapshot.of(Silent):
        yield _silent_server(scene, host, silent)


def _silent_server(scene: Scene, host: Host, silent: Silent) -> Finding:
    snapshot, name = scene.snapshot, str(host)
    following = [each.name for each in snapshot.servers if each.source and snapshot.name_of(each.source) == name]
    streaming = [each.name for each in snapshot.servers if each.name in following and each.link_up]
    severity = Severity.CRITICAL if following and not snapshot.primaries else Severity.WARNING
    if silent.kind is Silence.TLS:
        return scene.finding(
            "TlsFailed", Severity.UNKNOWN, f"no trusted connection: {silent.reason}",
            f"renew the certificate of {name}, or correct redis.tls", name,
        )  # fmt: skip
    if silent.kind in (Silence.BROKEN, Silence.DENIED):
        return scene.finding(
            "MemberUnreadable", Severity.UNKNOWN, f"answers, but not as a server should: {silent.reason}",
            f"is {name} a Redis server?", name,
        )  # fmt: skip
    if silent.kind is Silence.HUNG:
        return scene.finding(
            "MemberHung", severity, f"{silent.reason}: clients wait for it until their own time-out",
            f"look at disk and load of {name}; if it stays, kill its redis-server", name,
        )  # fmt: skip
    if streaming and silent.kind is not Silence.REFUSED:
        return scene.finding(
            "MemberUnreachableFromHere", severity,
            f"{silent.reason}, but {', '.join(streaming)} still replicates from it",
            f"mend the network or firewall between this node and {name}", name,
        )  # fmt: skip
    return scene.finding("MemberDown", severity, silent.reason, f"start redis-server on {name}", name)


def denied_servers(scene: Scene) -> Iterator[Finding]:
    for host, answer in scene.snapshot.of(Denied):
        yield scene.finding(
            "AuthFailed", Severity.UNKNOWN, f"does not let us in ({answer.reason}): nothing more is known of it",
            "correct redis.username and password, or grant the rights in docs/findings.md", str(host),
        )  # fmt: skip


def replicas(scene: Scene) -> Iterator[Finding]:
    """Each server that is no primary must follow it, and be close behind."""
    snapshot, primary = scene.snapshot, scene.snapshot.primary
    for server in snapshot.servers:
        if not server.is_primary:
            yield from _replica(scene, server, primary)
    if primary is not None and len(snapshot.answers) > 1 and not any(in_step(snapshot, s) for s in snapshot.servers):
        yield scene.finding(
            "NoReplica", Severity.CRITICAL, "no replica is in step: if the primary goes, so does all that is in it",
            "start redis-server on the other hosts, or mend their replication",
        )  # fmt: skip


def _replica(scene: Scene, server: Server, primary: object) -> Iterator[Finding]:
    snapshot = scene.snapshot
    source = snapshot.name_of(server.source or "?")
    if isinstance(primary, Server) and source != primary.name:
        host, _, port = primary.name.rpartition(":")
        yield scene.finding(
            "WrongSource", Severity.WARNING, f"replicates from {source}, the primary is {primary.name}",
            f"on {server.name}: REPLICAOF {host} {port}", server.name,
        )  # fmt: skip
    elif not server.link_up:
        what = "copies all data" if server.syncing else "its link is down"
        yield scene.finding(
            "ReplicaLinkDown", Severity.WARNING,
            f"{what}, for {server.link_down_s} s: a failover to it would lose what came since",
            f"look at the log of {server.name}; masterauth and the network to {source} are what it needs", server.name,
        )  # fmt: skip
    elif isinstance(primary, Server):
        yield from _lag(scene, server, primary)


def _lag(scene: Scene, server: Server, primary: Server) -> Iterator[Finding]:
    behind, limits = scene.snapshot.behind(server) or 0, scene.limits
    lags = [each.lag_s for each in primary.followers if scene.snapshot.name_of(each.address) == server.name]
    lag_s = max(lags, default=0)
    if behind > limits.lag_bytes or lag_s > limits.lag_s:
        yield scene.finding(
            "ReplicaLagging", Severity.WARNING,
            f"{behind} bytes behind, last acknowledgement {lag_s} s ago: a failover to it would lose that",
            f"look at network and load of {server.name}", server.name,
        )  # fmt: skip


def writes_refused(scene: Scene) -> Iterator[Finding]:
    """min-replicas-to-write: too few replicas, and the primary refuses writes."""
    primary = scene.snapshot.primary
    if primary is None or not primary.guard or not primary.guard[0]:
        return
    needed, lag_s = primary.guard
    good = sum(each.state == "online" and each.lag_s <= lag_s for each in primary.followers)
    if good < needed:
        yield scene.finding(
            "NotEnoughReplicas", Severity.CRITICAL,
            f"{count(good, 'replica')} in step, min-replicas-to-write asks for {needed}: nobody gets a lock",
            "bring the replicas back", primary.name,
        )  # fmt: skip


RULES: tuple[Rule, ...] = (no_primary, two_primaries, silent_servers, denied_servers, replicas, writes_refused)
