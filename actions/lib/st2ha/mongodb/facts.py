"""What is known of a replica set: frozen, typed, parsed once from the servers' own replies.

Each member speaks for itself: `Snapshot.answers` holds one answer per configured host, and what a member says of the
others stays apart, as its `views`. Replies are `hello` (serverStatus.repl), `replSetGetStatus`, `replSetGetConfig`,
`serverStatus` and `dbStats`; their meaning is the MongoDB manual's, checked on 6.0.5.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional, Union

from st2ha.config import Host
from st2ha.probe import Silent

Reply = Mapping[str, Any]


class OpTime(NamedTuple):
    """A position in the oplog; ordered as the server orders it: term first, then time."""

    term: int
    seconds: int
    increment: int

    @classmethod
    def from_reply(cls, reply: Optional[Reply]) -> Optional[OpTime]:
        timestamp = (reply or {}).get("ts")
        if timestamp is None or reply is None:
            return None
        return cls(int(reply.get("t", -1)), timestamp.time, timestamp.inc)


class View(NamedTuple):
    """What one member believes of another."""

    name: str
    state: str
    healthy: bool
    up_s: Optional[float] = None  # it has answered the believer's heartbeats for so long; of others only


@dataclass(frozen=True)
class ConfigMember:
    """A line of the set's configuration."""

    name: str
    votes: int
    priority: float
    arbiter: bool = False
    hidden: bool = False
    delay_s: float = 0.0  # it is meant to be behind by so much

    @property
    def electable(self) -> bool:
        return self.priority > 0 and self.votes > 0 and not self.arbiter


@dataclass(frozen=True)
class SetConfig:
    """The replica set's configuration, as one member holds it; times in seconds."""

    version: int
    term: int
    members: tuple[ConfigMember, ...]
    election_timeout_s: float

    @classmethod
    def from_reply(cls, config: Reply) -> SetConfig:
        members = tuple(
            ConfigMember(
                name=each["host"].lower(),
                votes=int(each.get("votes", 1)),
                priority=float(each.get("priority", 1)),
                arbiter=bool(each.get("arbiterOnly", False)),
                hidden=bool(each.get("hidden", False)),
                delay_s=float(each.get("secondaryDelaySecs", each.get("slaveDelay", 0))),
            )
            for each in config["members"]
        )
        timeout_ms = config.get("settings", {}).get("electionTimeoutMillis", 10_000)
        return cls(int(config["version"]), int(config.get("term", 0)), members, timeout_ms / 1000)

    @property
    def voters(self) -> tuple[ConfigMember, ...]:
        return tuple(member for member in self.members if member.votes)

    @property
    def majority(self) -> int:
        """Votes that an election, or a majority write, needs."""
        return len(self.voters) // 2 + 1

    def member(self, name: str) -> Optional[ConfigMember]:
        return next((member for member in self.members if member.name == name), None)


class Rollback(NamedTuple):
    """The last one in the server's log that undid writes. Its id rises with each rollback and with each crash."""

    id: int
    at: str  # ISO 8601, the member's clock
    writes: int
    directory: str  # on the member: the undone documents, as BSON

    @classmethod
    def from_log(cls, lines: Sequence[str]) -> Optional[Rollback]:
        """From the log's lines "Rollback summary"; most of them undo no more than a note of an election."""
        entries = [json.loads(line) for line in lines]
        found = [(entry, sum(entry["attr"].get("rollbackCommandCounts", {}).values())) for entry in entries]
        for entry, writes in reversed(found):
            if writes:
                attributes = entry["attr"]
                where = attributes.get("rollbackDataFileDirectory", "<dbpath>/rollback")
                return cls(int(attributes.get("rbid", 0)), str(entry["t"]["$date"]), writes, where)
        return None


@dataclass(frozen=True)
class Member:
    """A member of the set as it describes itself. None: it did not say (an arbiter holds no users, so says little)."""

    host: Host
    name: str
    state: str
    writable: bool
    version: Optional[str] = None
    term: Optional[int] = None
    optime: Optional[OpTime] = None
    sync_source: str = ""
    views: tuple[View, ...] = ()
    config: Optional[SetConfig] = None
    rollback: Optional[Rollback] = None
    oplog_window_s: Optional[float] = None
    oplog_wrapped: bool = False
    connections: Optional[tuple[int, int]] = None  # used, limit
    flow_limited: bool = False
    disk_used: Optional[float] = None  # share, 0 to 1
    disk_free_bytes: Optional[int] = None
    clock_offset_s: Optional[float] = None  # its clock minus ours, at one moment
    tls_expires_at: Optional[float] = None  # epoch seconds


@dataclass(frozen=True)
class Outsider:
    """A server that answers but is no member of the wanted set: `set_name` is another set's, or None."""

    host: Host
    set_name: Optional[str]
    reason: str


@dataclass(frozen=True)
class Denied:
    """A member that does not let us in. What it says to everybody (`hello`) is still known."""

    host: Host
    name: str
    writable: bool
    reason: str


Answer = Union[Member, Outsider, Denied, Silent]


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds), one answer per configured host."""

    replica_set: str
    answers: Mapping[Host, Answer]
    at: float

    @property
    def members(self) -> tuple[Member, ...]:
        """Each member once, even if two of the configured hosts are names of one."""
        members = {answer.name: answer for answer in self.answers.values() if isinstance(answer, Member)}
        return tuple(members.values())

    def of(self, kind: type) -> Iterator[tuple[Host, Any]]:
        """The hosts whose answer is a `kind`, with their answers."""
        return ((host, answer) for host, answer in self.answers.items() if isinstance(answer, kind))

    @property
    def primaries(self) -> tuple[Member, ...]:
        """Members that accept writes by their own word, the newest term first."""
        writable = [member for member in self.members if member.writable]
        return tuple(sorted(writable, key=lambda member: -(member.term or 0)))

    @property
    def primary(self) -> Optional[Member]:
        return self.primaries[0] if self.primaries else None

    @property
    def config(self) -> Optional[SetConfig]:
        """The newest configuration that any member holds: a forced one has no term (-1), then the version decides."""
        configs = [member.config for member in self.members if member.config]
        forced = any(config.term < 0 for config in configs)
        return max(configs, key=lambda config: (0 if forced else config.term, config.version), default=None)

    def member(self, name: str) -> Optional[Member]:
        return next((member for member in self.members if member.name == name), None)

    def name_of(self, host: Host) -> str:
        """The name by which the set knows `host`: its own word, else the address as configured."""
        answer = self.answers.get(host)
        return answer.name if isinstance(answer, (Member, Denied)) else str(host)

    def views_of(self, name: str) -> tuple[tuple[str, View], ...]:
        """What the members that answer believe of `name`, each with the believer's name; its own word is left out."""
        return tuple(
            (member.name, view) for member in self.members for view in member.views if view.name == name != member.name
        )

    def lag_s(self, member: Member) -> Optional[float]:
        """Seconds of oplog by which `member` is behind the primary; None if either is unknown.

        It includes the delay of a member that is meant to be behind.
        """
        primary = self.primary
        if primary is None or primary.optime is None or member.optime is None:
            return None
        if member.optime >= primary.optime:
            return 0.0
        return float(max(0, primary.optime.seconds - member.optime.seconds))

    def rows(self) -> list[dict[str, Any]]:
        """The topology as a table: one flat row a host."""
        return [_row(self, host, answer) for host, answer in self.answers.items()]


def _row(snapshot: Snapshot, host: Host, answer: Answer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "host": str(host),
        "state": "?",
        "term": None,
        "lag_s": None,
        "sync_source": None,
        "version": None,
    }
    if isinstance(answer, Member):
        lag_s = None if answer.writable else snapshot.lag_s(answer)
        row.update(
            state=answer.state,
            term=answer.term,
            lag_s=lag_s,
            sync_source=answer.sync_source or None,
            version=answer.version,
        )
    elif isinstance(answer, Silent):
        row["state"] = answer.kind.value
    else:
        row["state"] = "denied" if isinstance(answer, Denied) else "no member"
    return row


def parse_member(
    host: Host,
    replies: Mapping[str, Any],
    clock_offset_s: Optional[float] = None,
    tls_expires_at: Optional[float] = None,
) -> Member:
    """A Member from `hello`, `status`, `config`, `server`, `disk`, `rollbacks`; only `hello` must be there."""
    hello, status, server = replies["hello"], replies.get("status", {}), replies.get("server", {})
    mine: Reply = next((each for each in status.get("members", ()) if each.get("self")), {})
    config = replies.get("config", {}).get("config")
    connections, oplog = server.get("connections"), server.get("oplog", {})
    return Member(
        host=host,
        name=str(hello.get("me", host)).lower(),
        state=mine.get("stateStr") or _state_from(hello),
        writable=is_writable(hello),
        version=server.get("version"),
        term=int(status["term"]) if "term" in status else None,
        optime=OpTime.from_reply(mine.get("optime")),
        sync_source=status.get("syncSourceHost", ""),
        views=tuple(
            View(each["name"].lower(), each.get("stateStr", "?"), bool(each.get("health")), _up_s(each))
            for each in status.get("members", ())
        ),
        config=SetConfig.from_reply(config) if config else None,
        rollback=Rollback.from_log(replies.get("rollbacks", ())),
        oplog_window_s=_window_s(oplog),
        oplog_wrapped=server.get("oplogTruncation", {}).get("truncateCount", 0) > 0,
        connections=(connections["current"], connections["current"] + connections["available"])
        if connections
        else None,
        flow_limited=bool(server.get("flowControl", {}).get("isLagged", False)),
        disk_used=_share(replies.get("disk", {})),
        disk_free_bytes=_free_bytes(replies.get("disk", {})),
        clock_offset_s=clock_offset_s,
        tls_expires_at=tls_expires_at,
    )


def is_writable(hello: Reply) -> bool:
    """The member's own word, in today's and in the old spelling (serverStatus.repl before 5.0)."""
    return bool(hello.get("isWritablePrimary", hello.get("ismaster", False)))


def _state_from(hello: Reply) -> str:
    for key, state in (("isWritablePrimary", "PRIMARY"), ("secondary", "SECONDARY"), ("arbiterOnly", "ARBITER")):
        if hello.get(key):
            return state
    return "UNKNOWN"


def _up_s(view: Reply) -> Optional[float]:
    """A member's `uptime` of itself counts from its start, which is another thing."""
    return None if view.get("self") or "uptime" not in view else float(view["uptime"])


def _window_s(oplog: Reply) -> Optional[float]:
    if "earliestOptime" not in oplog:
        return None
    return float(oplog["latestOptime"].time - oplog["earliestOptime"].time)


def _free_bytes(disk: Reply) -> Optional[int]:
    total = disk.get("fsTotalSize")
    return int(total - disk["fsUsedSize"]) if total else None


def _share(disk: Reply) -> Optional[float]:
    total = disk.get("fsTotalSize")
    return disk["fsUsedSize"] / total if total else None
