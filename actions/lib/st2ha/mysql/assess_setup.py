"""Rules about how the servers are set up: what is harmless today and breaks the next failover. Pure, as assess.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Optional

from st2ha.mysql.facts import Member
from st2ha.mysql.scene import Scene, strangers
from st2ha.report import Finding, Severity

LONG_WAIT_S = 1.0


def semi_sync(scene: Scene) -> Iterator[Finding]:
    """Meant to be on (some server says so) and not at work: an acknowledged write is on one server only."""
    snapshot = scene.snapshot
    meant = any(member.semi_sync.source_enabled or member.semi_sync.replica_enabled for member in snapshot.members)
    primary = snapshot.primary
    if primary is None or not meant or len(snapshot.answers) < 2:
        return
    state = primary.semi_sync
    if not state.source_enabled:
        why = "is turned off here, but meant to be on elsewhere"
    elif not state.source_active:
        why = f"is given up: no replica acknowledged within {state.timeout_s:g} s"
    elif not state.clients:
        why = "is on, but no replica takes part"
    else:
        why = ""
    if why:
        yield scene.finding(
            "SemiSyncDegraded", Severity.WARNING,
            f"semi-synchronous replication {why}: what is acknowledged now is lost if this server is lost",
            f"check the replicas; SHOW STATUS LIKE 'Rpl_semi_sync%' on {primary.name}", primary.name,
        )  # fmt: skip
    if state.source_enabled and state.waits_alone and state.timeout_s > LONG_WAIT_S:
        yield scene.finding(
            "SemiSyncStall", Severity.WARNING,
            f"waits {state.timeout_s:g} s for an acknowledgement even if there is no replica: after a failover writes "
            "stand still for so long",
            "set rpl_semi_sync_master_wait_no_slave=0 (MySQL: rpl_semi_sync_source_wait_for_replica_count, timeout)",
            primary.name,
        )  # fmt: skip


def binlog_and_gtid(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        if not member.binlog or not member.logs_updates:
            what = "log_bin" if not member.binlog else "log_replica_updates (MariaDB: log_slave_updates)"
            yield scene.finding(
                "BinlogOff", Severity.WARNING, f"{what} is off: nobody can replicate from it, so it cannot take over",
                f"turn {what} on in the option file of {member.name} and restart it", member.name,
            )  # fmt: skip
        by_position = [channel for channel in member.channels if not channel.gtid]
        if not member.gtid or by_position:
            what = "replicates by file and position" if by_position else "gtid_mode is off"
            yield scene.finding(
                "GtidOff", Severity.WARNING, f"{what}: after a failover nobody knows where to go on",
                f"turn GTIDs on at {member.name} and replicate by them", member.name,
            )  # fmt: skip
        elif not member.strict:
            yield scene.finding(
                "GtidOff", Severity.WARNING, "gtid_strict_mode is off: writes at the wrong server go unnoticed",
                f"set gtid_strict_mode=1 on {member.name}", member.name,
            )  # fmt: skip


def filters(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        found = [text for channel in member.channels for text in channel.filters]
        if found:
            yield scene.finding(
                "FilterPresent", Severity.WARNING,
                f"replicates only a part ({', '.join(found)[:160]}): as primary it would miss the rest",
                f"remove the filter on {member.name} and copy it anew", member.name,
            )  # fmt: skip


def replication_user(scene: Scene) -> Iterator[Finding]:
    """Every server may have to serve a replica one day: the account must be there now."""
    user = wanted_user(scene)
    if user is None:
        return
    for member in scene.snapshot.members:
        if member.replicators is not None and user not in member.replicators:
            yield scene.finding(
                "ReplicationUserMissing", Severity.WARNING,
                f"user {user!r} may not replicate from here: after a failover it would stay without a replica",
                f"GRANT REPLICATION SLAVE ON *.* TO {user} on {member.name}", member.name,
            )  # fmt: skip


def wanted_user(scene: Scene) -> Optional[str]:
    """The replication user: as configured, else as a replica uses it."""
    used = [channel.user for member in scene.snapshot.members for channel in member.channels if channel.user]
    return scene.settings.replication_username or (used[0] if used else None)


def server_ids(scene: Scene) -> Iterator[Finding]:
    found = Counter(member.server_id for member in scene.snapshot.members)
    for number, times in found.items():
        if times > 1:
            names = " and ".join(member.name for member in scene.snapshot.members if member.server_id == number)
            yield scene.finding(
                "ServerIdClash", Severity.CRITICAL,
                f"{names} have the same server_id {number}: they ignore each other's writes",
                "give each server a server_id of its own, and restart replication",
            )  # fmt: skip


def version_mix(scene: Scene) -> Iterator[Finding]:
    source = scene.snapshot.source
    for member in scene.snapshot.members:
        if source is not None and member.version[:2] < source.version[:2]:
            yield scene.finding(
                "VersionMix", Severity.WARNING,
                f"runs {member.version_text}, its primary {source.version_text}: an older replica may not understand "
                "its primary",
                f"upgrade {member.name}", member.name,
            )  # fmt: skip


def config_drift(scene: Scene) -> Iterator[Finding]:
    """A replica that is set up otherwise than its primary behaves otherwise once it is primary."""
    source = scene.snapshot.source
    for member in scene.snapshot.members:
        if source is None or member is source:
            continue
        parts = _differences(member, source)
        if parts:
            yield scene.finding(
                "ConfigDrift", Severity.WARNING, f"differs from {source.name}: {', '.join(parts)}",
                f"make the option files of {member.name} and {source.name} alike", member.name,
            )  # fmt: skip
    for name, source_name in strangers(scene.snapshot):
        yield scene.finding(
            "ConfigDrift", Severity.WARNING, f"replicates from {source_name}, which is not configured here",
            "correct mysql.hosts of this deployment, or the replica", name,
        )  # fmt: skip


def _differences(member: Member, source: Member) -> list[str]:
    shared = sorted(member.variables.keys() & source.variables.keys())
    found = [f"{name} {member.variables[name]} against {source.variables[name]}" for name in shared
             if member.variables[name] != source.variables[name]]  # fmt: skip
    if member.semi_sync.source_enabled != source.semi_sync.source_enabled:
        found.append("semi-synchronous replication as a source is on at one of them only")
    return [text if len(text) <= 120 else text[:117] + "..." for text in found]


def starts_writable(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        if member.starts_writable:
            yield scene.finding(
                "WritableAfterRestart", Severity.WARNING,
                "its option files do not make it read-only: a primary that comes back after a failover takes writes "
                "at once",
                f"set read_only=1 (MySQL: super_read_only=1) in the option file of {member.name}", member.name,
            )  # fmt: skip


def privileges(scene: Scene) -> Iterator[Finding]:
    for member in scene.snapshot.members:
        if member.unread:
            names = sorted(member.unread)
            yield scene.finding(
                "PrivilegeMissing", Severity.UNKNOWN, f"we may not read {', '.join(names)} ({member.unread[names[0]]})",
                "grant the rights that docs/findings.md lists under MySQL", member.name,
            )  # fmt: skip


RULES = (
    semi_sync, binlog_and_gtid, filters, replication_user, server_ids, version_mix, config_drift, starts_writable,
    privileges,
)  # fmt: skip
