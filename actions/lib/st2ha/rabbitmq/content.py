"""Queues and what governs them: vhosts, policies, permissions, as one node of a side tells it. See facts.py."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

Reply = Mapping[str, Any]
MIRRORING = (
    "ha-mode",
    "ha-params",
    "ha-sync-mode",
    "ha-sync-batch-size",
    "ha-promote-on-failure",
    "ha-promote-on-shutdown",
)


@dataclass(frozen=True)
class Queue:
    """A queue as its side of the cluster knows it. `members` hold a copy (mirrors, replicas), the leader among them."""

    vhost: str
    name: str
    kind: str  # classic, quorum or stream
    state: str
    leader: Optional[str]
    members: tuple[str, ...] = ()
    online: tuple[str, ...] = ()
    synced: tuple[str, ...] = ()  # mirrors that have everything, without the leader
    policy: Optional[str] = None
    durable: bool = True
    transient_owner: bool = False  # exclusive or auto-delete: it ends with its user
    messages: int = 0
    ready: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_reply(cls, row: Reply) -> Queue:
        kind = str(row.get("type", "classic"))
        leader = row.get("leader") or row.get("node")
        mirrors = tuple(map(str, row.get("slave_nodes") or ()))
        copies = tuple(map(str, row.get("members") or ())) or tuple(filter(None, (leader, *mirrors)))
        return cls(
            vhost=str(row["vhost"]),
            name=str(row["name"]),
            kind=kind,
            state=str(row.get("state", "unknown")),
            leader=str(leader) if leader else None,
            members=copies,
            online=tuple(map(str, row.get("online") or ())) if kind != "classic" else copies,
            synced=tuple(map(str, row.get("synchronised_slave_nodes") or ())),
            policy=row.get("policy"),
            durable=bool(row.get("durable", True)),
            transient_owner=bool(row.get("exclusive")) or bool(row.get("auto_delete")),
            messages=int(row.get("messages") or 0),
            ready=int(row.get("messages_ready") or 0),
            arguments=dict(row.get("arguments") or {}),
        )

    @property
    def mirrors(self) -> tuple[str, ...]:
        return tuple(name for name in self.members if name != self.leader)

    @property
    def majority(self) -> int:
        """Replicas of a quorum queue that must be online."""
        return len(self.members) // 2 + 1


@dataclass(frozen=True)
class Policy:
    """A line of a vhost's policies."""

    vhost: str
    name: str
    pattern: str
    apply_to: str
    priority: int
    definition: Mapping[str, Any]

    @classmethod
    def from_reply(cls, row: Reply) -> Policy:
        return cls(
            str(row["vhost"]), str(row["name"]), str(row["pattern"]), str(row.get("apply-to", "all")),
            int(row.get("priority") or 0), dict(row.get("definition") or {}),
        )  # fmt: skip

    @property
    def mirrors(self) -> bool:
        return "ha-mode" in self.definition

    def body(self, without: tuple[str, ...] = ()) -> dict[str, Any]:
        """The policy as the API takes it."""
        definition = {key: value for key, value in self.definition.items() if key not in without}
        return {
            "pattern": self.pattern,
            "apply-to": self.apply_to,
            "priority": self.priority,
            "definition": definition,
        }


@dataclass(frozen=True)
class Permission:
    """What a user may do in a vhost: three regular expressions over names."""

    vhost: str
    user: str
    configure: str
    write: str
    read: str


@dataclass(frozen=True)
class Vhost:
    """A virtual host; `down_on` are running nodes on which it does not work."""

    name: str
    default_queue_type: Optional[str] = None
    down_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Content:
    """Queues and what governs them, as one node tells it. None: not to be had with this login, or not asked."""

    queues: tuple[Queue, ...]
    vhosts: tuple[Vhost, ...]
    policies: tuple[Policy, ...]
    permissions: Optional[tuple[Permission, ...]] = None
    users: Optional[tuple[str, ...]] = None
    default_login: Optional[bool] = None  # user guest still has the password guest
    consumers: Optional[Mapping[tuple[str, str], int]] = None  # (vhost, queue) -> number; no entry: none
    connections: Optional[Mapping[str, int]] = None  # vhost -> number; no entry: none

    def in_vhost(self, vhost: str) -> tuple[Queue, ...]:
        return tuple(queue for queue in self.queues if queue.vhost == vhost)

    def vhost(self, name: str) -> Optional[Vhost]:
        return next((vhost for vhost in self.vhosts if vhost.name == name), None)

    def policy_of(self, queue: Queue) -> Optional[Policy]:
        return next((p for p in self.policies if p.vhost == queue.vhost and p.name == queue.policy), None)


def mirrors_wanted(definition: Reply, running: int) -> int:
    """Mirrors that a policy gives each of its queues while so many nodes run; 0 if it mirrors nothing."""
    mode, params = definition.get("ha-mode"), definition.get("ha-params")
    copies = {"all": running, "exactly": params, "nodes": len(params) if isinstance(params, list) else 0}.get(str(mode))
    return max(0, min(int(copies or 0), running) - 1)


def parse_content(replies: Mapping[str, Any]) -> Content:
    """Keys queues, vhosts, policies; where the login may see them also permissions, users, consumers."""
    rights, users, consumers = replies.get("permissions"), replies.get("users"), replies.get("consumers")
    return Content(
        queues=tuple(Queue.from_reply(row) for row in replies["queues"]),
        vhosts=tuple(_vhost(row) for row in replies.get("vhosts", ())),
        policies=tuple(Policy.from_reply(row) for row in replies.get("policies", ())),
        permissions=None
        if rights is None
        else tuple(Permission(r["vhost"], r["user"], r["configure"], r["write"], r["read"]) for r in rights),
        users=None if users is None else tuple(str(row["name"]) for row in users),
        default_login=None if users is None else any(_is_guest(row) for row in users),
        consumers=None if consumers is None else _counted(consumers),
        connections=None if replies.get("connections") is None else _by_vhost(replies["connections"]),
    )


def _vhost(row: Reply) -> Vhost:
    kind = row.get("default_queue_type")
    down = tuple(
        sorted(n for n, state in (row.get("cluster_state") or {}).items() if state not in ("running", "nodedown"))
    )
    return Vhost(str(row["name"]), None if kind in (None, "undefined") else str(kind), down)


def _is_guest(row: Reply) -> bool:
    """Whether this is guest with the password guest: the hash is 4 bytes of salt and SHA-256(salt, password)."""
    if row.get("name") != "guest" or row.get("hashing_algorithm") != "rabbit_password_hashing_sha256":
        return False
    try:
        raw = base64.b64decode(str(row.get("password_hash")))
    except binascii.Error:
        return False
    return hashlib.sha256(raw[:4] + b"guest").digest() == raw[4:]


def _by_vhost(rows: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[str(row.get("vhost"))] = counts.get(str(row.get("vhost")), 0) + 1
    return counts


def _counted(rows: Any) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (str(row["queue"]["vhost"]), str(row["queue"]["name"]))
        counts[key] = counts.get(key, 0) + 1
    return counts
