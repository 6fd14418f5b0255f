"""Rules about the Sentinels: can they fail over, and do they know what is so? Pure, as assess.py."""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.redis.facts import Denied
from st2ha.redis.scene import Scene, in_step, majority, quorum_reason, unseen
from st2ha.report import Finding, Severity


def none_configured(scene: Scene) -> Iterator[Finding]:
    settings = scene.settings
    if not settings.sentinels and len(settings.hosts) > 1:
        yield scene.finding(
            "NoSentinels", Severity.WARNING, "no Sentinels are configured: nobody fails over when the primary goes",
            "run redis-sentinel on three nodes and list them as redis.sentinels",
        )  # fmt: skip


def silent(scene: Scene) -> Iterator[Finding]:
    for host, answer in scene.snapshot.sentinel_answers.items():
        about = f"sentinel/{host}"
        if isinstance(answer, Denied):
            yield scene.finding(
                "AuthFailed", Severity.UNKNOWN, f"does not let us in: {answer.reason}",
                "correct redis.sentinel_username and sentinel_password", about,
            )  # fmt: skip
        elif isinstance(answer, Silent) and answer.kind in (Silence.TLS, Silence.BROKEN):
            yield scene.finding(
                "TlsFailed" if answer.kind is Silence.TLS else "MemberUnreadable", Severity.UNKNOWN, answer.reason,
                f"is {host} a Sentinel, and does redis.tls fit it?", about,
            )  # fmt: skip
        elif isinstance(answer, Silent):
            yield scene.finding(
                "SentinelDown", Severity.WARNING, answer.reason, f"start redis-sentinel on {host}", about
            )


def quorum(scene: Scene) -> Iterator[Finding]:
    """Too few to agree; or just as many as are needed. Those that we cannot read may well work: other findings tell."""
    settings, snapshot = scene.settings, scene.snapshot
    if not settings.sentinels:
        return
    reason, closed = quorum_reason(snapshot, settings), unseen(snapshot.sentinel_answers)
    if closed and len(closed) + len(snapshot.sentinels) >= majority(settings):
        return
    if reason:
        yield scene.finding(
            "QuorumLost",
            Severity.CRITICAL,
            f"{reason}: no failover when the primary goes",
            "start the Sentinels it names",
        )
        return
    watching = [each for each in snapshot.sentinels if each.primary]
    needed = max([majority(settings), *(each.quorum for each in watching)])
    if len(watching) == needed:
        yield scene.finding(
            "OneSentinelFromNoQuorum", Severity.WARNING,
            f"{count(len(watching), 'Sentinel')} watch it and {needed} must agree: with one less there is no failover",
            "bring the others back" if len(settings.sentinels) > needed else "run three Sentinels, or five",
        )  # fmt: skip


def wrong_master(scene: Scene) -> Iterator[Finding]:
    for each in scene.snapshot.sentinels:
        if each.primary is None:
            yield scene.finding(
                "MasterUnknown", Severity.CRITICAL,
                f"watches no {scene.snapshot.master_name} (it watches {', '.join(each.known) or 'nothing'})",
                "correct redis.master_name, or `sentinel monitor` in its configuration", f"sentinel/{each.name}",
            )  # fmt: skip


def disagreement(scene: Scene) -> Iterator[Finding]:
    """Clients go where a Sentinel sends them."""
    snapshot, primary = scene.snapshot, scene.snapshot.primary
    named = {each.name: snapshot.name_of(each.primary) for each in snapshot.sentinels if each.primary}
    where = sorted(set(named.values()))
    if len(where) > 1:
        said = ", ".join(f"{sentinel} says {address}" for sentinel, address in named.items())
        yield scene.finding(
            "SentinelsDisagree", Severity.CRITICAL, f"clients are sent to {' and '.join(where)} ({said})",
            "wait until a failover under way has ended; if it stays: SENTINEL RESET on those that are wrong",
        )  # fmt: skip
    elif primary is not None and where and where[0] != primary.name:
        strange = "" if where[0] in map(str, snapshot.answers) else ", which is not in redis.hosts"
        yield scene.finding(
            "SentinelsDisagree", Severity.CRITICAL,
            f"the Sentinels send clients to {where[0]}{strange}; {primary.name} says it is the primary",
            "wait until a failover under way has ended; else correct `sentinel monitor` or redis.hosts",
        )  # fmt: skip


def ignorance(scene: Scene) -> Iterator[Finding]:
    """A Sentinel that does not know the others, or the replicas, cannot work with them."""
    snapshot, expected = scene.snapshot, len(scene.settings.sentinels) - 1
    steady = sum(in_step(snapshot, server) for server in snapshot.servers)
    for each in snapshot.sentinels:
        if not each.primary or snapshot.primary is None:
            continue
        if each.others < expected:
            yield scene.finding(
                "SentinelMisinformed", Severity.WARNING, f"knows {each.others} of {expected} other Sentinels",
                "all must watch the same primary and reach it; look at its log", f"sentinel/{each.name}",
            )  # fmt: skip
        elif len(each.replicas) < steady:
            yield scene.finding(
                "SentinelMisinformed", Severity.WARNING, f"knows {len(each.replicas)} of {steady} replicas in step",
                "it asks the primary every ten seconds; check again, then look at its log", f"sentinel/{each.name}",
            )  # fmt: skip


def no_candidate(scene: Scene) -> Iterator[Finding]:
    """replica-priority 0 on all of them."""
    snapshot = scene.snapshot
    steady = [server for server in snapshot.servers if in_step(snapshot, server)]
    if steady and scene.settings.sentinels and all(server.priority == 0 for server in steady):
        yield scene.finding(
            "NoCandidate", Severity.CRITICAL, "every replica has replica-priority 0: the Sentinels may promote none",
            f"CONFIG SET replica-priority 100 on {steady[0].name}, and in its redis.conf",
        )  # fmt: skip


RULES = (none_configured, silent, quorum, wrong_master, disagreement, ignorance, no_candidate)
