"""Rules about single servers: replication, capacity, certificates. Pure, as assess.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from st2ha.mysql.facts import Channel, Member
from st2ha.mysql.scene import Scene
from st2ha.naming import count
from st2ha.probe import Silent
from st2ha.report import Finding, Severity

DAY_S = 86_400
FULL_DISK = 0.95
MASTER_HAS_PURGED = 1236


def replication(scene: Scene) -> Iterator[Finding]:
    """Stopped threads, lag, and servers that follow nobody or the wrong one."""
    for member in scene.snapshot.members:
        for channel in member.channels:
            yield from _channel(scene, member, channel)
    primary = scene.snapshot.primary
    for member in scene.snapshot.members:
        told = "replication status" not in member.unread
        if primary is not None and member is not primary and told and not member.channels and not member.writable:
            yield scene.finding(
                "NotReplicating", Severity.WARNING, f"follows nobody: {primary.name} has no copy there",
                f"mysql_rejoin member={member.name}", member.name,
            )  # fmt: skip


def _channel(scene: Scene, member: Member, channel: Channel) -> Iterator[Finding]:
    snapshot, source = scene.snapshot, scene.snapshot.source_name(channel)
    stopped = _stopped(scene, channel, source)
    if stopped:
        yield scene.finding(
            "ReplicaStopped", Severity.WARNING, f"{stopped}: it falls behind and cannot take over",
            f"mend the cause, then START REPLICA on {member.name} (MariaDB: START SLAVE)", member.name,
        )  # fmt: skip
    if snapshot.primary is not None and member is not snapshot.primary and source != snapshot.primary.name:
        yield scene.finding(
            "WrongSource", Severity.WARNING, f"replicates from {source}, the primary is {snapshot.primary.name}",
            f"mysql_rejoin member={member.name}", member.name,
        )  # fmt: skip
    if not stopped:
        yield from _lagging(scene, member, channel)


def _stopped(scene: Scene, channel: Channel, source: str) -> Optional[str]:
    """Which thread does not run, with the server's own error; a source that is silent explains a lost stream."""
    if channel.sql != "Yes":
        return f"the SQL thread is stopped ({channel.sql_error or 'no error, somebody stopped it'})"
    silent = any(str(host) == source for host, _ in scene.snapshot.of(Silent))
    if channel.io != "Yes" and not (silent and channel.io == "Connecting"):
        state = "stopped" if channel.io == "No" else channel.io.lower()
        return f"the IO thread is {state} ({channel.io_error or 'no error'})"
    return None


def _lagging(scene: Scene, member: Member, channel: Channel) -> Iterator[Finding]:
    """Seconds_Behind says 0 while the stream hangs: the distance of the GTIDs tells, and whether it moves."""
    behind, limits = scene.snapshot.behind(member), scene.settings.limits
    if behind and _stuck(scene, member):
        words = f"{count(behind, 'transaction')} behind and nothing was applied for a second: its stream hangs"
    elif behind is not None and behind > limits.lag_transactions:
        words = f"{count(behind, 'transaction')} behind (limit {limits.lag_transactions:g})"
    elif channel.behind_s is not None and channel.behind_s > limits.lag_s:
        words = f"{channel.behind_s:.0f} s behind (limit {limits.lag_s:g} s)"
    else:
        return
    yield scene.finding(
        "ReplicaLagging", Severity.WARNING, f"{words}: a failover would lose them or wait for them",
        f"look at disk and load of {member.name}, and the network to its source", member.name,
    )  # fmt: skip


def _stuck(scene: Scene, member: Member) -> bool:
    """It was behind at the earlier look, a second ago or more, and has applied nothing since."""
    earlier = scene.earlier
    if earlier is None or scene.snapshot.at - earlier.at < 1:
        return False
    before = earlier.member(member.name)
    return before is not None and bool(earlier.behind(before)) and before.gtids == member.gtids


def errant(scene: Scene) -> Iterator[Finding]:
    """Both threads say Yes with them: only the sets of transactions tell."""
    for member in scene.snapshot.members:
        missing = scene.snapshot.errant(member)
        if missing:
            yield scene.finding(
                "ErrantTransactions", Severity.WARNING,
                f"has {count(missing.count, 'transaction')} that its primary has not ({missing}): it may not take over",
                f"look at them with mysqlbinlog on {member.name}; save what is needed, then copy the server anew",
                member.name,
            )  # fmt: skip


def replica_writable(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        if member.writable and member.channels:
            source = scene.snapshot.source_name(member.channels[0])
            yield scene.finding(
                "ReplicaWritable", Severity.WARNING,
                f"takes writes although it replicates from {source}: each one is an errant transaction",
                f"SET GLOBAL read_only=1 on {member.name}, and in its option file", member.name,
            )  # fmt: skip


def purged_needed(scene: Scene) -> Iterator[Finding]:
    """By the sets of transactions, before the replica asks for it; or by the error when it has asked."""
    source = scene.snapshot.source
    for member in scene.snapshot.members:
        if source is None or member is source:
            continue
        lacking = member.reachable_gtids.behind(source.purged)
        told = any(
            channel.io_errno == MASTER_HAS_PURGED and "purged" in channel.io_error for channel in member.channels
        )
        if lacking or told:
            number = f"{count(lacking, 'transaction')} that " if lacking else "transactions that "
            yield scene.finding(
                "PurgedNeeded", Severity.CRITICAL,
                f"needs {number}{source.name} has already purged from its binary logs: it can never catch up",
                f"copy {member.name} anew from {source.name}; keep binary logs longer", member.name,
            )  # fmt: skip


def capacity(scene: Scene) -> Iterator[Finding]:
    limits = scene.settings.limits
    for member in scene.snapshot.members:
        if member.connections and member.connections[0] > limits.connections_used * member.connections[1]:
            used, most = member.connections
            yield scene.finding(
                "ConnectionsNearLimit", Severity.WARNING, f"uses {used} of {most} connections: new ones get refused",
                "find the client that leaks them: SHOW PROCESSLIST, or raise max_connections", member.name,
            )  # fmt: skip
        if member.disk_used is not None and member.disk_used > limits.disk_used:
            yield scene.finding(
                "DiskLow", Severity.CRITICAL if member.disk_used > FULL_DISK else Severity.WARNING,
                f"its disk is {member.disk_used:.0%} full: writes wait for ever when it is full",
                f"free or add space on {member.name}, PURGE BINARY LOGS", member.name,
            )  # fmt: skip
        oldest_s = member.oldest_transaction_s
        if oldest_s is not None and oldest_s > limits.long_transaction_s:
            yield scene.finding(
                "LongTransaction", Severity.WARNING,
                f"a transaction is open for {oldest_s:.0f} s (limit {limits.long_transaction_s:g} s): "
                "a switchover ends it",
                f"find it in information_schema.INNODB_TRX on {member.name}", member.name,
            )  # fmt: skip


def tls_expiring(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        if member.tls_expires_at is None:
            continue
        days = (member.tls_expires_at - scene.now) / DAY_S
        if days < scene.settings.limits.tls_days:
            yield scene.finding(
                "TlsExpiring", Severity.WARNING, f"its certificate ends in {days:.1f} days: then nobody can connect",
                f"renew the certificate of {member.name}; then ALTER INSTANCE RELOAD TLS (MariaDB: FLUSH SSL)",
                member.name,
            )  # fmt: skip


RULES = (replication, errant, replica_writable, purged_needed, capacity, tls_expiring)
