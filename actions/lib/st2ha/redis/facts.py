"""What is known of a Redis primary, its replicas and its Sentinels: frozen, typed, parsed once from their own replies.

Each server and each Sentinel speaks for itself; what one says of the others stays apart, as its views. Replies are
those of INFO, CONFIG GET and SENTINEL (redis.io, checked on 7.0.15).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.config import Host
from st2ha.probe import Silent

Reply = Mapping[str, Any]


@dataclass(frozen=True)
class Follower:
    """A replica as its primary sees it."""

    address: str
    state: str
    offset: int
    lag_s: int

    @classmethod
    def from_reply(cls, row: Reply) -> Follower:
        host = str(row["ip"])
        address = f"[{host}]:{row['port']}" if ":" in host else f"{host}:{row['port']}"
        return cls(address, str(row["state"]), int(row["offset"]), int(row["lag"]))


@dataclass(frozen=True)
class Persistence:
    """How data outlive the process. `saves`: whether snapshots are made by themselves."""

    append_only: bool
    saves: Optional[bool]  # None: CONFIG is not ours to read
    write_error: Optional[str] = None


@dataclass(frozen=True)
class Server:
    """A server that let us in. `offset` is how much of the replication stream it has."""

    host: Host
    version: tuple[int, ...]
    role: str  # master or slave, as Redis says
    replid: str
    offset: int
    uptime_s: int
    loading: bool = False
    source: Optional[str] = None  # host:port that it replicates from
    link_up: bool = True
    link_down_s: int = 0
    syncing: bool = False
    followers: tuple[Follower, ...] = ()
    memory_bytes: int = 0
    memory_limit_bytes: int = 0  # 0: none
    policy: str = "noeviction"
    evicted: int = 0
    persistence: Persistence = Persistence(True, None)
    clients: int = 0
    clients_limit: int = 0
    guard: Optional[tuple[int, int]] = None  # min-replicas-to-write, min-replicas-max-lag; None: not readable
    read_only: Optional[bool] = None  # replica-read-only
    priority: int = 100
    announced: Optional[str] = None  # replica-announce-ip
    latency_s: float = 0.0
    protected: Optional[bool] = None  # whether it asks for a login
    tls_expires_at: Optional[float] = None

    @property
    def name(self) -> str:
        return str(self.host)

    @property
    def is_primary(self) -> bool:
        return self.role == "master"

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


@dataclass(frozen=True)
class Denied:
    """A server or Sentinel that does not let us in, or not ask what we must."""

    host: Host
    reason: str


@dataclass(frozen=True)
class Sentinel:
    """A Sentinel that let us in, and what it knows of our primary. `primary` None: it watches no such name."""

    host: Host
    primary: Optional[str] = None
    flags: tuple[str, ...] = ()
    quorum: int = 0
    others: int = 0  # Sentinels besides itself
    replicas: Mapping[str, int] = field(default_factory=dict)  # host:port to priority, of those that are not down
    down_after_s: float = 30.0
    quorum_error: Optional[str] = None  # what SENTINEL CKQUORUM complained of
    known: tuple[str, ...] = ()  # other names that it watches

    @property
    def name(self) -> str:
        return str(self.host)


ServerAnswer = Union[Server, Denied, Silent]
SentinelAnswer = Union[Sentinel, Denied, Silent]


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds). `addresses`: the IPs of the configured names."""

    master_name: str
    answers: Mapping[Host, ServerAnswer]
    sentinel_answers: Mapping[Host, SentinelAnswer]
    at: float
    addresses: Mapping[Host, tuple[str, ...]] = field(default_factory=dict)

    @property
    def servers(self) -> tuple[Server, ...]:
        return tuple(answer for answer in self.answers.values() if isinstance(answer, Server))

    @property
    def sentinels(self) -> tuple[Sentinel, ...]:
        return tuple(answer for answer in self.sentinel_answers.values() if isinstance(answer, Sentinel))

    def of(self, kind: type) -> Iterator[tuple[Host, Any]]:
        """The servers whose answer is a `kind`, with their answers."""
        return ((host, answer) for host, answer in self.answers.items() if isinstance(answer, kind))

    @property
    def primaries(self) -> tuple[Server, ...]:
        """Those that take writes by their own word; the one that most replicas follow first."""
        found = [server for server in self.servers if server.is_primary]
        return tuple(sorted(found, key=lambda server: -len(self.replicas_of(server))))

    @property
    def primary(self) -> Optional[Server]:
        """The one primary; None if there is none or more than one."""
        found = self.primaries
        return found[0] if len(found) == 1 else None

    @property
    def elected(self) -> Optional[str]:
        """The server that most Sentinels send clients to, by its configured name; None without any."""
        votes = Counter(self.name_of(each.primary) for each in self.sentinels if each.primary)
        return votes.most_common(1)[0][0] if votes else None

    def replicas_of(self, primary: Server) -> tuple[Server, ...]:
        """The servers that are set up to replicate from it, working or not."""
        return tuple(each for each in self.servers if each.source and self.name_of(each.source) == primary.name)

    def name_of(self, address: str) -> str:
        """The configured name of an address that Redis tells; the address itself if there is none."""
        host, _, port = address.rpartition(":")
        for each in self.answers:
            if str(each.port) == port and host.strip("[]") in (each.name, *self.addresses.get(each, ())):
                return str(each)
        return address

    def server(self, name: str) -> Optional[Server]:
        return next((server for server in self.servers if server.name == name), None)

    def behind(self, server: Server) -> Optional[int]:
        """Bytes of the primary's stream that a replica had not when it was asked; None without a primary.

        The servers are asked at once, not at the same instant: it may be a little wrong.
        """
        primary = self.primary
        if primary is None or server.is_primary or server.replid != primary.replid:
            return None
        return max(0, primary.offset - server.offset)

    def rows(self) -> list[dict[str, Any]]:
        """The topology as a table: one flat row a host."""
        servers = [_server_row(self, host, answer) for host, answer in self.answers.items()]
        return servers + [_sentinel_row(self, host, answer) for host, answer in self.sentinel_answers.items()]


def _state(answer: Union[ServerAnswer, SentinelAnswer]) -> str:
    return answer.kind.value if isinstance(answer, Silent) else "denied"


def _server_row(snapshot: Snapshot, host: Host, answer: ServerAnswer) -> dict[str, Any]:
    row: dict[str, Any] = {"host": str(host), "state": "", "source": None, "behind_bytes": None, "version": None}
    if not isinstance(answer, Server):
        return {**row, "state": _state(answer)}
    state = "PRIMARY" if answer.is_primary else "REPLICA" if answer.link_up else "REPLICA, link down"
    source = snapshot.name_of(answer.source) if answer.source else None
    return {
        **row, "state": state, "source": source, "behind_bytes": snapshot.behind(answer),
        "version": answer.version_text,
    }  # fmt: skip


def _sentinel_row(snapshot: Snapshot, host: Host, answer: SentinelAnswer) -> dict[str, Any]:
    row: dict[str, Any] = {"host": str(host), "state": "", "source": None, "behind_bytes": None, "version": None}
    if not isinstance(answer, Sentinel):
        return {**row, "state": f"sentinel, {_state(answer)}"}
    return {**row, "state": "sentinel", "source": snapshot.name_of(answer.primary) if answer.primary else None}
