"""What is known of a primary and its replicas: frozen, typed, parsed once from the servers' own replies.

Each server speaks for itself; what a replica believes of its source stays apart, as its `channels`. The replies (see
gather.py) are plain JSON, so that recorded ones are test cases; parse.py makes a Member of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.config import Host
from st2ha.mysql.gtid import Gtids
from st2ha.probe import Silent

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Channel:
    """A replica's connection to its source. `io` and `sql` are Yes, No, Connecting or Preparing."""

    source: str  # host:port as the replica knows it
    source_id: int
    user: str
    io: str
    sql: str
    io_error: str = ""
    io_errno: int = 0
    sql_error: str = ""
    behind_s: Optional[float] = None
    gtid: bool = True
    received: Gtids = field(default_factory=Gtids)
    drained: bool = False  # all that was received is applied
    filters: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        return self.io == "Yes" and self.sql == "Yes"


@dataclass(frozen=True)
class SemiSync:
    """Both halves of semi-synchronous replication on one server."""

    source_enabled: bool = False
    source_active: bool = False
    clients: int = 0
    replica_enabled: bool = False
    replica_active: bool = False
    timeout_s: float = 0.0
    waits_alone: bool = False  # waits for an acknowledgement even when no replica is there


@dataclass(frozen=True)
class Failover:
    """The latest forced failover, as the servers themselves remember it; `at` in epoch seconds."""

    at: float
    former: str
    current: str


@dataclass(frozen=True)
class Member:
    """A server as it describes itself, named by its address. None: it did not say, `unread` tells why."""

    host: Host
    name: str
    dialect: str
    version: Version
    server_id: int
    read_only: bool
    binlog: bool = True
    logs_updates: bool = True
    gtid: bool = True
    strict: bool = True
    gtids: Gtids = field(default_factory=Gtids)
    purged: Gtids = field(default_factory=Gtids)
    channels: tuple[Channel, ...] = ()
    semi_sync: SemiSync = field(default_factory=SemiSync)
    connections: Optional[tuple[int, int]] = None  # used, limit
    oldest_transaction_s: Optional[float] = None
    disk_used: Optional[float] = None  # share, 0 to 1
    replicators: Optional[frozenset[str]] = None  # users with the right to replicate
    variables: Mapping[str, str] = field(default_factory=dict)  # those that should be the same everywhere
    failover: Optional[Failover] = None
    starts_writable: bool = False  # after a restart it would take writes at once
    tls_expires_at: Optional[float] = None
    unread: Mapping[str, str] = field(default_factory=dict)

    @property
    def writable(self) -> bool:
        return not self.read_only

    @property
    def channel(self) -> Optional[Channel]:
        return self.channels[0] if self.channels else None

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))

    @property
    def reachable_gtids(self) -> Gtids:
        """What it has once its relay log is applied."""
        gtids = self.gtids
        for channel in self.channels:
            gtids = gtids.union(channel.received)
        return gtids


@dataclass(frozen=True)
class Denied:
    """A server that speaks but does not let us in: whether it is writable is unknown."""

    host: Host
    name: str
    reason: str


Answer = Union[Member, Denied, Silent]


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds), one answer per configured host.

    `addresses`: the IPs of each configured host; `aliases`: those of other names by which replicas know their source.
    """

    cluster: str
    answers: Mapping[Host, Answer]
    at: float
    addresses: Mapping[Host, tuple[str, ...]] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(answer for answer in self.answers.values() if isinstance(answer, Member))

    def of(self, kind: type) -> Iterator[tuple[Host, Any]]:
        """The hosts whose answer is a `kind`, with their answers."""
        return ((host, answer) for host, answer in self.answers.items() if isinstance(answer, kind))

    def member(self, name: str) -> Optional[Member]:
        return next((member for member in self.members if member.name == name), None)

    @property
    def writable(self) -> tuple[Member, ...]:
        """Members that accept writes of ordinary users; those that others replicate from come first."""
        return tuple(sorted((m for m in self.members if m.writable), key=lambda m: -len(self.replicas_of(m.name))))

    @property
    def primary(self) -> Optional[Member]:
        """The one writable member; None if there is none or more than one."""
        writable = self.writable
        return writable[0] if len(writable) == 1 else None

    @property
    def source(self) -> Optional[Member]:
        """The primary, or else the one read-only member that is no replica and that others replicate from."""
        if self.writable:
            return self.primary
        heads = [m for m in self.members if not m.channels and self.replicas_of(m.name)]
        return heads[0] if len(heads) == 1 else None

    def source_name(self, channel: Channel) -> str:
        """The configured name of a channel's source: by address, by IP, by server id; else the address as it is.

        The server id is that of the last connection, which after a change of the source was to another server.
        """
        name, _, port = channel.source.rpartition(":")
        names = {name, *self.aliases.get(name, ())}
        for host in self.answers:
            same = str(host.port) == port and not names.isdisjoint(self.addresses.get(host, ()))
            if same or channel.source == str(host):
                return str(host)
        known = [member.name for member in self.members if member.server_id == channel.source_id]
        return known[0] if len(known) == 1 and channel.io == "Yes" else channel.source

    def replicas_of(self, name: str) -> tuple[Member, ...]:
        """The members that are set up to replicate from `name`, working or not."""
        return tuple(m for m in self.members if any(self.source_name(channel) == name for channel in m.channels))

    def seeing(self, name: str) -> tuple[str, ...]:
        """The replicas of `name` that are connected to it."""
        return tuple(
            member.name for member in self.replicas_of(name)
            if any(channel.io == "Yes" and self.source_name(channel) == name for channel in member.channels)
        )  # fmt: skip

    @property
    def followed(self) -> Optional[str]:
        """The server that all replicas which answer replicate from; None if they disagree or there is none."""
        sources = {self.source_name(channel) for member in self.members for channel in member.channels}
        return sources.pop() if len(sources) == 1 else None

    def behind(self, member: Member) -> Optional[int]:
        """Transactions of the source that `member` has not applied; None if there is no source that answers."""
        source = self.source
        return None if source is None or source is member else member.gtids.behind(source.gtids)

    def errant(self, member: Member) -> Gtids:
        """What `member` has and its source has not; nothing if there is no source that answers."""
        source = self.source
        return Gtids() if source is None or source is member else member.gtids.beyond(source.gtids)

    @property
    def failover(self) -> Optional[Failover]:
        """The latest failover that any member remembers."""
        return max((m.failover for m in self.members if m.failover), key=lambda each: each.at, default=None)

    def rows(self) -> list[dict[str, Any]]:
        """The topology as a table: one flat row a host."""
        return [_row(self, host, answer) for host, answer in self.answers.items()]


def role(snapshot: Snapshot, member: Member) -> str:
    """PRIMARY (writable), REPLICA, or what else it is."""
    if member.writable:
        return "WRITABLE REPLICA" if member.channels else "PRIMARY"
    return "REPLICA" if member.channels else "READ ONLY"


def _row(snapshot: Snapshot, host: Host, answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("state", "behind", "lag_s", "source", "semi_sync", "version"))
    if isinstance(answer, Member):
        channel = answer.channel
        row.update(
            state=role(snapshot, answer),
            behind=snapshot.behind(answer) if channel else None,
            lag_s=channel.behind_s if channel else None,
            source=snapshot.source_name(channel) if channel else None,
            semi_sync=answer.semi_sync.source_active if answer.writable else answer.semi_sync.replica_active,
            version=f"{answer.dialect} {answer.version_text}",
        )
    else:
        row["state"] = answer.kind.value if isinstance(answer, Silent) else "denied"
    return {"host": str(host), **row}
