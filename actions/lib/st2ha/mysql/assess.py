"""What is wrong: pure rules over a Snapshot. No clock, no network; times and limits are arguments.

Rules about all servers together are here, those about the servers' set-up in assess_setup.py, those about single ones
in assess_members.py. UNKNOWN means that we could not see; it is never used for what we saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable, Optional

from st2ha.config import Host
from st2ha.mysql import assess_members, assess_setup
from st2ha.mysql.facts import Denied, Snapshot
from st2ha.mysql.scene import Scene, believed_primary, silent_source, strangers
from st2ha.mysql.settings import Mysql
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity, by_weight

Rule = Callable[[Scene], Iterator[Finding]]


def assess(snapshot: Snapshot, settings: Mysql, now: float, earlier: Optional[Snapshot] = None) -> tuple[Finding, ...]:
    """All findings, the worst first. `earlier` (a second older or more) tells standstill from lag."""
    scene = Scene(snapshot, settings, now, earlier)
    rules: Iterable[Rule] = (*RULES, *assess_members.RULES, *assess_setup.RULES)
    return tuple(by_weight(finding for rule in rules for finding in rule(scene)))


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    primary = snapshot.primary
    return f"{len(snapshot.members)} servers, primary {primary.name if primary else '?'}"


def no_primary(scene: Scene) -> Iterator[Finding]:
    """Nobody accepts writes. If one that might is closed to us, or unreachable, or not configured, we do not know."""
    snapshot = scene.snapshot
    if snapshot.writable or believed_primary(snapshot):
        return
    denied = [answer.name for _, answer in snapshot.of(Denied)]
    asked, answering = len(snapshot.answers), len(snapshot.members)
    if denied:
        yield scene.finding(
            "PrimaryUnknown", Severity.UNKNOWN, f"{', '.join(denied)} does not let us in: nobody else is writable",
            "correct mysql.username and password of this deployment",
        )  # fmt: skip
        return
    following = strangers(snapshot)
    if following:
        replica, source = following[0]
        yield scene.finding(
            "PrimaryUnknown", Severity.UNKNOWN,
            f"{replica} is a replica of {source}, which is not configured here: nobody else is writable",
            f"add {source} to mysql.hosts of this deployment",
        )  # fmt: skip
        return
    yield scene.finding(
        "NoPrimary", Severity.CRITICAL, f"{answering} of {asked} servers answer, none is writable: writes are stopped",
        _next_without_primary(snapshot),
    )  # fmt: skip


def _next_without_primary(snapshot: Snapshot) -> str:
    lost = silent_source(snapshot)
    if lost is not None:
        return f"start mysqld on {lost[0]}, or make another one the primary: mysql_failover member=best"
    if snapshot.source is not None:
        return f"an interrupted switchover? mysql_failover member={snapshot.source.name} opens it again"
    return "mysql_failover member=best, if the servers that do not answer are dead"


def two_writable(scene: Scene) -> Iterator[Finding]:
    """Split brain, by the servers' own word."""
    writable = scene.snapshot.writable
    if len(writable) < 2:
        return
    first, *others = writable
    listed = " and ".join(member.name for member in writable)
    yield scene.finding(
        "TwoWritable", Severity.CRITICAL,
        f"{listed} accept writes: their data drift apart with every write (split brain)",
        f"choose one; on the other: SET GLOBAL read_only=1 (replicas follow {first.name}), then mysql_rejoin "
        f"member={others[-1].name}",
    )  # fmt: skip


def silent_members(scene: Scene) -> Iterator[Finding]:
    """Down, hung or cut off from here? The port, and the stream of its replicas, tell."""
    for host, silent in scene.snapshot.of(Silent):
        yield _silent_member(scene, host, silent)


def _silent_member(scene: Scene, host: Host, silent: Silent) -> Finding:
    snapshot, name = scene.snapshot, str(host)
    following, seeing = snapshot.replicas_of(name), snapshot.seeing(name)
    severity = Severity.CRITICAL if believed_primary(snapshot) == name else Severity.WARNING
    if silent.kind is Silence.TLS:
        return scene.finding(
            "TlsFailed", Severity.UNKNOWN, f"no trusted connection: {silent.reason}",
            f"renew the certificate of {name}, or correct mysql.tls", name,
        )  # fmt: skip
    if silent.kind in (Silence.BROKEN, Silence.DENIED):
        return scene.finding(
            "MemberUnreadable", Severity.UNKNOWN, f"answers, but not as a server should: {silent.reason}",
            f"is {name} a MySQL or MariaDB server?", name,
        )  # fmt: skip
    if silent.kind is Silence.HUNG:
        return scene.finding(
            "MemberHung", severity, f"{silent.reason}: clients wait for it until their own time-out",
            f"look at disk and load of {name}; if it stays, kill its mysqld, then mysql_failover", name,
        )  # fmt: skip
    if seeing and silent.kind is not Silence.REFUSED:
        return scene.finding(
            "MemberUnreachableFromHere", severity, f"{silent.reason}, but {', '.join(seeing)} still replicates from it",
            f"mend the network or firewall between this node and {name}", name,
        )  # fmt: skip
    known = f"; {count(len(following), 'replica')} lost it, too" if following else "; nobody replicates from it"
    return scene.finding("MemberDown", Severity.WARNING, silent.reason + known, _start(scene, name), name)


def _start(scene: Scene, name: str) -> str:
    """Beside a primary nothing may start writable: a primary that was failed over would make two of them."""
    primary = scene.snapshot.primary
    if primary is None:
        return f"start mysqld on {name}"
    return (
        f"start mysqld on {name} with --read-only=1, {primary.name} is the primary now; if {name} was it before, then "
        f"mysql_rejoin member={name}"
    )


def denied_members(scene: Scene) -> Iterator[Finding]:
    for _, answer in scene.snapshot.of(Denied):
        yield scene.finding(
            "AuthFailed", Severity.UNKNOWN, f"does not let us in ({answer.reason}): nothing more is known of it",
            "correct mysql.username and password, or grant this node's address access", answer.name,
        )  # fmt: skip


RULES: tuple[Rule, ...] = (no_primary, two_writable, silent_members, denied_members)
