"""Rules about single members that answered: replication, capacity, certificates. Pure, as assess.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from st2ha.mongodb.facts import Member, OpTime
from st2ha.mongodb.scene import Scene
from st2ha.report import Finding, Severity

DAY_S = 86_400
READY = ("PRIMARY", "SECONDARY", "ARBITER")
FULL_DISK = 0.95
"""mongod stops when its disk is full; above this share that is hours away, not weeks."""


def state(scene: Scene) -> Iterator[Finding]:
    """Healthy to its peers and yet of no use: these states have health 1."""
    for member in scene.snapshot.members:
        if member.state == "STARTUP2":
            yield scene.finding(
                "InitialSync", Severity.WARNING, "is copying all data and cannot take over yet",
                "wait until it is SECONDARY; follow it with rs.status()", member.name,
            )  # fmt: skip
        elif member.state == "ROLLBACK":
            yield scene.finding(
                "RollbackRunning", Severity.WARNING, "is undoing writes that only it had taken",
                f"wait until it is SECONDARY, then look into <dbpath>/rollback on {member.name}", member.name,
            )  # fmt: skip
        elif member.state not in READY:
            yield scene.finding(
                "MemberNotReady", Severity.WARNING, f"is {member.state}: it serves nobody and cannot take over",
                f"wait a minute and check again; then read the log of {member.name}", member.name,
            )  # fmt: skip


def replication(scene: Scene) -> Iterator[Finding]:
    """Behind, standing still, or without a source. Standing still needs two looks: lag alone may be load."""
    for member in _secondaries(scene):
        lag_s = max(0.0, (scene.snapshot.lag_s(member) or 0.0) - _delay_s(scene, member))
        if lag_s > 0 and _stuck(scene, member):
            yield scene.finding(
                "ReplicaStuck", Severity.WARNING, f"is SECONDARY, yet applies nothing ({lag_s:.0f} s behind)",
                f"look for fsyncLock or a full disk on {member.name}: db.currentOp().fsyncLock", member.name,
            )  # fmt: skip
        elif lag_s > scene.limits.lag_s:
            yield scene.finding(
                "ReplicaLagging", Severity.WARNING,
                f"is {lag_s:.0f} s behind the primary (limit {scene.limits.lag_s:g} s): a failover waits for that",
                f"look at disk and load of {member.name}", member.name,
            )  # fmt: skip
        elif lag_s > 0 and not member.sync_source:
            yield scene.finding(
                "NotSyncing", Severity.WARNING, f"has no sync source and is {lag_s:.0f} s behind",
                f"check the network from {member.name} to the primary; then rs.syncFrom()", member.name,
            )  # fmt: skip


def _secondaries(scene: Scene) -> Iterator[Member]:
    return (member for member in scene.snapshot.members if member.state == "SECONDARY")


def _delay_s(scene: Scene, member: Member) -> float:
    line = scene.snapshot.config.member(member.name) if scene.snapshot.config else None
    return line.delay_s if line else 0.0


def _stuck(scene: Scene, member: Member) -> bool:
    """It was behind at the earlier look, a second ago or more, and has applied nothing since."""
    earlier = scene.earlier
    if earlier is None or scene.snapshot.at - earlier.at < 1:
        return False
    before, primary_before = earlier.member(member.name), earlier.primary
    if before is None or primary_before is None or before.optime is None or primary_before.optime is None:
        return False
    return before.optime < primary_before.optime and _same(before.optime, member.optime)


def _same(before: OpTime, after: Optional[OpTime]) -> bool:
    return before == after


def rollback_happened(scene: Scene) -> Iterator[Finding]:
    """Writes that a majority never had are gone from the set, and wait in files until somebody looks at them."""
    for member in scene.snapshot.members:
        rollback = member.rollback
        if rollback and rollback.id > scene.reviewed_rollbacks.get(member.name, 0):
            yield scene.finding(
                "RollbackHappened", Severity.WARNING,
                f"undid {rollback.writes} writes that only it had, at {rollback.at}",
                f"look into {rollback.directory} on {member.name}, then set mongodb.reviewed_rollbacks "
                f"{{{member.name}: {rollback.id}}}",
                member.name,
            )  # fmt: skip


def oplog_window(scene: Scene) -> Iterator[Finding]:
    """A young oplog is short, too: only one that has begun to drop entries counts."""
    for member in scene.snapshot.members:
        window_s = member.oplog_window_s
        if window_s is not None and member.oplog_wrapped and window_s < scene.limits.oplog_window_s:
            yield scene.finding(
                "OplogWindowShort", Severity.WARNING,
                f"keeps {window_s / 3600:.1f} h of oplog (limit {scene.limits.oplog_window_s / 3600:g} h): "
                "a member that is away for longer must be copied anew",
                "enlarge it: db.adminCommand({replSetResizeOplog: 1, size: <MB>})", member.name,
            )  # fmt: skip


def capacity(scene: Scene) -> Iterator[Finding]:
    limits = scene.limits
    for member in scene.snapshot.members:
        if member.connections and member.connections[0] > limits.connections_used * member.connections[1]:
            used, most = member.connections
            yield scene.finding(
                "ConnectionsNearLimit", Severity.WARNING, f"uses {used} of {most} connections: new ones get refused",
                "find the client that leaks them: db.currentOp(true), or raise net.maxIncomingConnections", member.name,
            )  # fmt: skip
        if member.disk_used is not None and member.disk_used > limits.disk_used:
            yield scene.finding(
                "DiskLow", Severity.CRITICAL if member.disk_used > FULL_DISK else Severity.WARNING,
                f"its disk is {member.disk_used:.0%} full: mongod stops when it is full",
                f"free or add space on {member.name}", member.name,
            )  # fmt: skip
        if member.flow_limited:
            yield scene.finding(
                "FlowControlEngaged", Severity.WARNING, "throttles writes because a majority is behind",
                "find the lagging secondary and relieve it", member.name,
            )  # fmt: skip


def tls_expiring(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        if member.tls_expires_at is None:
            continue
        days = (member.tls_expires_at - scene.now) / DAY_S
        if days < scene.limits.tls_days:
            yield scene.finding(
                "TlsExpiring", Severity.WARNING, f"its certificate ends in {days:.1f} days: then nobody can connect",
                f"renew the certificate of {member.name} and run rotateCertificates", member.name,
            )  # fmt: skip


RULES = (state, replication, rollback_happened, oplog_window, capacity, tls_expiring)
