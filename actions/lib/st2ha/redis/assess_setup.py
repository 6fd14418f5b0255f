"""Rules about how servers are set up, and how StackStorm is told of them. Pure, as assess.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional
from urllib.parse import parse_qs, urlsplit

from st2ha.config import parse_host
from st2ha.errors import BadInput
from st2ha.redis.facts import Server
from st2ha.redis.scene import Scene
from st2ha.redis.settings import PORT, SENTINEL_PORT
from st2ha.report import Finding, Severity

DAY_S = 86_400
GIBIBYTE = 2**30


def persistence(scene: Scene) -> Iterator[Finding]:
    """A primary that restarts empty empties its replicas, too (redis.io, Replication)."""
    for server in scene.snapshot.servers:
        kept = server.persistence
        if kept.write_error:
            severity = Severity.CRITICAL if server.is_primary else Severity.WARNING
            yield scene.finding(
                "PersistenceFailing", severity, f"{kept.write_error}: it refuses writes, or loses them at a restart",
                f"look at the disk and the log of {server.name}", server.name,
            )  # fmt: skip
        elif not kept.append_only and kept.saves is False:
            yield scene.finding(
                "PersistenceOff", Severity.WARNING,
                "neither appendonly nor save: if it restarts as primary it is empty, and empties its replicas",
                f"CONFIG SET appendonly yes on {server.name}, and in its redis.conf", server.name,
            )  # fmt: skip


def eviction(scene: Scene) -> Iterator[Finding]:
    """Locks and leases are keys like others, and locks have an expiry: all policies but one may drop them."""
    for server in scene.snapshot.servers:
        if server.policy == "noeviction" or not server.memory_limit_bytes:
            continue
        dropped = f"; {server.evicted} keys were dropped since it started" if server.evicted else ""
        yield scene.finding(
            "EvictionDropsLocks", Severity.CRITICAL if server.evicted and server.is_primary else Severity.WARNING,
            f"maxmemory-policy {server.policy}: when memory is short it drops locks, and two work at once{dropped}",
            f"CONFIG SET maxmemory-policy noeviction on {server.name}, and in its redis.conf", server.name,
        )  # fmt: skip


def memory(scene: Scene) -> Iterator[Finding]:
    for server in scene.snapshot.servers:
        limit = server.memory_limit_bytes
        if limit and server.memory_bytes > scene.limits.memory_used * limit:
            yield scene.finding(
                "MemoryNearLimit", Severity.WARNING,
                f"{server.memory_bytes / limit:.0%} of {limit / GIBIBYTE:.2f} GiB: at the limit it refuses writes",
                f"raise maxmemory of {server.name}, or find what fills it: redis-cli --bigkeys", server.name,
            )  # fmt: skip


def clients(scene: Scene) -> Iterator[Finding]:
    for server in scene.snapshot.servers:
        if server.clients_limit and server.clients > scene.limits.clients_used * server.clients_limit:
            yield scene.finding(
                "ConnectionsNearLimit", Severity.WARNING,
                f"{server.clients} of {server.clients_limit} clients: then new ones are refused",
                f"raise maxclients of {server.name}, or find who connects: CLIENT LIST", server.name,
            )  # fmt: skip


def latency(scene: Scene) -> Iterator[Finding]:
    for server in scene.snapshot.servers:
        if server.latency_s > scene.limits.latency_s:
            yield scene.finding(
                "LatencyHigh", Severity.WARNING,
                f"a PING took {server.latency_s * 1000:.0f} ms: everything waits for a slow command, fork or disk",
                f"redis-cli -h {server.host.name} -p {server.host.port} LATENCY DOCTOR, SLOWLOG GET", server.name,
            )  # fmt: skip


def unguarded(scene: Scene) -> Iterator[Finding]:
    """Without min-replicas-to-write a primary that is cut off goes on handing out locks."""
    primary = scene.snapshot.primary
    if primary is not None and len(scene.settings.hosts) > 1 and primary.guard and not primary.guard[0]:
        yield scene.finding(
            "UnguardedPrimary", Severity.WARNING,
            "min-replicas-to-write is 0: cut off from all others it still gives locks, as the new primary does",
            "CONFIG SET min-replicas-to-write 1 on all servers, and in redis.conf", primary.name,
        )  # fmt: skip


def writable_replicas(scene: Scene) -> Iterator[Finding]:
    for server in scene.snapshot.servers:
        if not server.is_primary and server.read_only is False:
            yield scene.finding(
                "ReplicaWritable", Severity.WARNING, "replica-read-only is no: what is written there is lost",
                f"CONFIG SET replica-read-only yes on {server.name}, and in its redis.conf", server.name,
            )  # fmt: skip


def no_password(scene: Scene) -> Iterator[Finding]:
    if scene.settings.password is None:
        for server in scene.snapshot.servers:
            if server.protected is False:
                yield scene.finding(
                    "PasswordMissing", Severity.WARNING, "it asks for no password: whoever reaches it may change all",
                    "set requirepass and masterauth, `sentinel auth-pass`, and the url of [coordination]", server.name,
                )  # fmt: skip


def versions(scene: Scene) -> Iterator[Finding]:
    told = {server.name: server.version_text for server in scene.snapshot.servers}
    if len(set(told.values())) > 1:
        yield scene.finding(
            "VersionMix", Severity.WARNING,
            "different versions: " + ", ".join(f"{name} {version}" for name, version in told.items()),
            "finish the upgrade: replicas first, then redis_switchover",
        )  # fmt: skip


def certificates(scene: Scene) -> Iterator[Finding]:
    for server in scene.snapshot.servers:
        days = _days_left(server, scene.now)
        if days is not None and days < scene.limits.tls_days:
            yield scene.finding(
                "TlsExpiring", Severity.WARNING, f"its certificate ends in {days:.0f} days: then nobody connects",
                f"renew the certificate of {server.name}", server.name,
            )  # fmt: skip


def _days_left(server: Server, now: float) -> Optional[float]:
    return None if server.tls_expires_at is None else (server.tls_expires_at - now) / DAY_S


def coordination(scene: Scene) -> Iterator[Finding]:
    """What StackStorm's library (tooz) makes of its url; the url is never shown, it may hold a password."""
    if scene.settings.coordination_url is None:
        return
    parts = urlsplit(scene.settings.coordination_url)
    options, about = parse_qs(parts.query), "coordination"
    if parts.scheme not in ("redis", "rediss"):
        yield scene.finding(
            "CoordinationElsewhere", Severity.CRITICAL, f"its scheme is {parts.scheme or 'missing'}, not redis",
            "correct redis.coordination_url, or the url of [coordination] in st2.conf", about,
        )  # fmt: skip
        return
    database = parts.path.strip("/")
    if database and "db" not in options:
        yield scene.finding(
            "WrongDatabase", Severity.WARNING,
            f"the url ends in /{database[:20]}, which StackStorm's library ignores: it uses database 0",
            f"write ?db={database[:20]} instead in [coordination] url, on all nodes at once", about,
        )  # fmt: skip
    yield from _where(scene, parts.hostname, _port(parts.netloc), options, about)


def _where(
    scene: Scene, name: Optional[str], port: Optional[int], options: dict[str, list[str]], about: str
) -> Iterator[Finding]:
    settings, wanted = scene.settings, options.get("sentinel")
    hosts, default = (settings.sentinels, SENTINEL_PORT) if wanted else (settings.hosts, PORT)
    kind = "Sentinels" if wanted else "servers"
    found = _names(scene, name or "", port or default)
    if found.isdisjoint(map(str, hosts)):
        yield scene.finding(
            "CoordinationElsewhere", Severity.CRITICAL,
            f"StackStorm coordinates through {name}:{port or default}, which is none of the configured {kind}",
            "correct the url of [coordination] in st2.conf, or redis.hosts and redis.sentinels", about,
        )  # fmt: skip
    if wanted and wanted[0] != settings.master_name:
        yield scene.finding(
            "CoordinationElsewhere", Severity.CRITICAL,
            f"StackStorm asks the Sentinels for {wanted[0][:40]}, they watch {settings.master_name}",
            f"write sentinel={settings.master_name} in [coordination] url", about,
        )  # fmt: skip
    elif not wanted and settings.sentinels:
        first, *others = settings.sentinels
        fallbacks = "".join(f"&sentinel_fallback={other}" for other in others)
        yield scene.finding(
            "CoordinationFixed", Severity.WARNING,
            f"StackStorm knows only {name}: after a failover it has no coordination, and executions overlap",
            f"[coordination] url = redis://:PASSWORD@{first}?sentinel={settings.master_name}{fallbacks}", about,
        )  # fmt: skip


def _port(netloc: str) -> Optional[int]:
    text = netloc.rpartition("@")[2].rpartition("]")[2].rpartition(":")[2]
    return int(text) if text.isdigit() else None


def _names(scene: Scene, name: str, port: int) -> set[str]:
    """The host of the url, as it is configured here."""
    try:
        host = parse_host(f"{name}:{port}" if ":" not in name else f"[{name}]:{port}", "url")
    except BadInput:
        return set()
    return {str(host), scene.snapshot.name_of(str(host))}


RULES = (
    persistence, eviction, memory, clients, latency, unguarded, writable_replicas, no_password, versions, certificates,
    coordination,
)  # fmt: skip
