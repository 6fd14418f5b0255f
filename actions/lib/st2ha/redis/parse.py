"""From the replies of servers and Sentinels to facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from st2ha.config import Host
from st2ha.redis.facts import Follower, Persistence, Sentinel, Server

SETTINGS = (
    "save", "maxmemory-policy", "min-replicas-to-write", "min-replicas-max-lag", "replica-read-only", "requirepass",
    "replica-announce-ip", "replica-priority",
)  # fmt: skip
DOWN = {"s_down", "o_down", "disconnected"}


def server_of(host: Host, told: Mapping[str, Any]) -> Server:
    """A server from `info` (INFO, parsed by the driver), `config` (CONFIG GET; None: not readable), `latency_s` and
    `tls_expires_at`. Raises KeyError, ValueError."""
    info, config = told["info"], told["config"]
    replica, read = info["role"] == "slave", config or {}
    replicas = [info[f"slave{n}"] for n in range(int(info.get("connected_slaves", 0))) if f"slave{n}" in info]
    offset = info.get("slave_repl_offset") if replica else info.get("master_repl_offset")
    return Server(
        host=host,
        version=tuple(int(part) for part in str(info["redis_version"]).split(".")[:3]),
        role=str(info["role"]),
        replid=str(info["master_replid"]),
        offset=int(offset or 0),
        uptime_s=int(info["uptime_in_seconds"]),
        loading=bool(int(info.get("loading", 0))),
        source=f"{info['master_host']}:{info['master_port']}" if replica else None,
        link_up=not replica or info["master_link_status"] == "up",
        link_down_s=max(0, int(info.get("master_link_down_since_seconds", 0))),
        syncing=replica and bool(int(info.get("master_sync_in_progress", 0))),
        followers=tuple(Follower.from_reply(row) for row in replicas if isinstance(row, Mapping)),
        memory_bytes=int(info["used_memory"]),
        memory_limit_bytes=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy") or read.get("maxmemory-policy") or "noeviction"),
        evicted=int(info.get("evicted_keys", 0)),
        persistence=_persistence(info, config),
        clients=int(info["connected_clients"]),
        clients_limit=int(info.get("maxclients", 0)),
        guard=_guard(config),
        read_only=None if config is None else read.get("replica-read-only", "yes") == "yes",
        priority=int(info.get("slave_priority", read.get("replica-priority") or 100)),
        announced=read.get("replica-announce-ip") or None,
        latency_s=float(told["latency_s"]),
        protected=None if config is None else bool(read.get("requirepass")),
        tls_expires_at=told["tls_expires_at"],
    )


def _persistence(info: Mapping[str, Any], config: Optional[Mapping[str, str]]) -> Persistence:
    append_only = bool(int(info.get("aof_enabled", 0)))
    broken = None
    if append_only and info.get("aof_last_write_status", "ok") != "ok":
        broken = "the append-only file cannot be written"
    elif info.get("rdb_last_bgsave_status", "ok") != "ok":
        broken = "the last snapshot failed"
    return Persistence(append_only, None if config is None else bool(config.get("save")), broken)


def _guard(config: Optional[Mapping[str, str]]) -> Optional[tuple[int, int]]:
    if config is None or "min-replicas-to-write" not in config:
        return None
    return int(config["min-replicas-to-write"]), int(config.get("min-replicas-max-lag", 10))


def sentinel_of(host: Host, name: str, told: Mapping[str, Any]) -> Sentinel:
    """A Sentinel from `masters`, `replicas` (rows as mappings) and `quorum_error`. Raises KeyError, ValueError."""
    rows = {str(row["name"]): row for row in told["masters"]}
    row = rows.get(name)
    if row is None:
        return Sentinel(host, known=tuple(rows))
    alive = {
        f"{each['ip']}:{each['port']}": int(each.get("slave-priority", 100))
        for each in told["replicas"]
        if DOWN.isdisjoint(_flags(each))
    }
    return Sentinel(
        host=host,
        primary=f"{row['ip']}:{row['port']}",
        flags=_flags(row),
        quorum=int(row["quorum"]),
        others=int(row["num-other-sentinels"]),
        replicas=alive,
        down_after_s=int(row["down-after-milliseconds"]) / 1000,
        quorum_error=told["quorum_error"],
        known=tuple(rows),
    )


def _flags(row: Mapping[str, Any]) -> tuple[str, ...]:
    flags = row.get("flags", "")
    return tuple(flags.split(",")) if isinstance(flags, str) else tuple(map(str, flags))
