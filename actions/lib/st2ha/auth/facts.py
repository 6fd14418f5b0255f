"""What is known of sign-in: each node, what it is configured to ask, each server of the directory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.probe import Silent

LDAP_BACKENDS = ("ldap3", "ldap")
"""Ours, and st2-auth-ldap, whose options ours takes."""
CREATED, UNAUTHORIZED = 201, 401


@dataclass(frozen=True)
class Answer:
    """What st2auth said to a request for a token. Without a test user nobody is named, and 401 is the right answer."""

    status: int
    latency_s: float
    user: Optional[str] = None  # whose token it is
    tls_expires_at: Optional[float] = None


@dataclass(frozen=True)
class Config:
    """[auth] and [rbac] of a node's st2.conf, as st2auth understands them. `options` hold passwords."""

    enabled: bool
    mode: str
    backend: str
    options: Mapping[str, Any] = field(repr=False)
    broken_options: bool = False  # backend_kwargs is no JSON object
    rbac: bool = False
    rbac_backend: str = "noop"
    role_sync: bool = False
    uids: Optional[tuple[int, ...]] = None  # of st2auth's processes; None: could not be told, (): none runs
    users_digest: Optional[str] = field(default=None, repr=False)  # of a flat file

    @property
    def asks_directory(self) -> bool:
        return self.mode == "standalone" and self.backend in LDAP_BACKENDS


@dataclass(frozen=True)
class Unread:
    """A node whose configuration should be read and could not be."""

    reason: str


@dataclass(frozen=True)
class Node:
    """One node. `config` is None where we may not look inside."""

    name: str
    answer: Union[Answer, Silent]
    config: Union[Config, Unread, None] = None

    @property
    def works(self) -> bool:
        return isinstance(self.answer, Answer) and self.answer.status in (CREATED, UNAUTHORIZED)


@dataclass(frozen=True)
class Group:
    """A configured group: the rule it is for (required, denied or optional), and whether the directory has it."""

    rule: str
    name: str
    exists: bool


@dataclass(frozen=True)
class Controller:
    """A directory server that spoke to us over verified TLS (or as its settings have it).

    `service` is None if the service account was let in, or there is none; else why not.
    """

    name: str
    latency_s: float
    tls_expires_at: Optional[float] = None
    skew_s: Optional[float] = None  # its clock less ours
    service: Optional[str] = None
    asked_service: bool = True  # not where another server had just refused it: each try counts towards lockout
    groups: tuple[Group, ...] = ()
    unread: Optional[str] = None  # why it would not be read

    @property
    def works(self) -> bool:
        return self.service is None and self.unread is None and self.asked_service


@dataclass(frozen=True)
class Directory:
    """What some nodes are configured to ask. `problems`: why these settings cannot be used, without any value."""

    backend: str
    nodes: tuple[str, ...]
    options: Mapping[str, Any] = field(repr=False, default_factory=dict)
    problems: tuple[str, ...] = ()
    controllers: Mapping[str, Union[Controller, Silent]] = field(default_factory=dict)
    addresses: int = 0  # of the only server's name; several: others are behind it
    require_all: bool = True

    @property
    def working(self) -> tuple[Controller, ...]:
        return tuple(each for each in self.controllers.values() if isinstance(each, Controller) and each.works)


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds)."""

    nodes: tuple[Node, ...]
    at: float
    vip: Union[Answer, Silent, None] = None
    directories: tuple[Directory, ...] = ()
    with_user: bool = False

    def rows(self) -> dict[str, Any]:
        """Flat tables for programs; nothing of `options`."""
        answers = [*((node.name, node.answer, node.config) for node in self.nodes), *self._vip_row()]
        return {
            "nodes": [_node_row(*each) for each in answers],
            "directories": [
                _controller_row(directory, name, each)
                for directory in self.directories
                for name, each in directory.controllers.items()
            ],
        }

    def _vip_row(self) -> list[tuple[str, Union[Answer, Silent], None]]:
        return [] if self.vip is None else [("vip", self.vip, None)]


def _node_row(name: str, answer: Union[Answer, Silent], config: Union[Config, Unread, None]) -> dict[str, Any]:
    row: dict[str, Any] = {"node": name, **dict.fromkeys(("answer", "latency_s", "mode", "backend", "runs_as"))}
    if isinstance(answer, Answer):
        row.update(answer=str(answer.status), latency_s=round(answer.latency_s, 4))
    else:
        row["answer"] = answer.kind.value
    if isinstance(config, Config):
        row.update(mode=config.mode, backend=config.backend)
        if config.uids is not None:
            row["runs_as"] = ", ".join("root" if uid == 0 else f"uid {uid}" for uid in config.uids) or "not running"
    return row


def _controller_row(directory: Directory, name: str, each: Union[Controller, Silent]) -> dict[str, Any]:
    row: dict[str, Any] = {"server": name, "backend": directory.backend}
    if isinstance(each, Silent):
        return {**row, "state": each.kind.value, "latency_s": None, "skew_s": None}
    state = "works" if each.works else "unread" if each.unread else "not asked"
    if each.service:
        state = "service account refused"
    skew = None if each.skew_s is None else round(each.skew_s, 1)
    return {**row, "state": state, "latency_s": round(each.latency_s, 4), "skew_s": skew}
