"""What is known of a cluster: frozen, typed, parsed once from the nodes' own replies.

Each node speaks for itself: `Snapshot.answers` holds one answer per configured host, and what a node says of the
others stays apart, as its `views`. The `Content` (queues, vhosts, ...) is the same on all nodes of one side of a
partition, so one node of each side is asked for it. Replies are those of the management API (its own documentation,
checked on 3.10.8 and 4.0.5), asked without statistics: those are collected from all nodes and seconds old.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.config import Host
from st2ha.probe import Silence, Silent
from st2ha.rabbitmq.content import Content, parse_content

Reply = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """What one node believes of another, or knows of itself; numbers only of nodes that it reaches."""

    name: str
    running: bool
    partitions: tuple[str, ...] = ()
    draining: bool = False
    memory_alarm: bool = False
    disk_alarm: bool = False
    disk_free_bytes: Optional[int] = None
    disk_limit_bytes: Optional[int] = None
    memory_used_bytes: Optional[int] = None
    memory_limit_bytes: Optional[int] = None
    descriptors: Optional[tuple[int, int]] = None  # used, limit
    sockets: Optional[tuple[int, int]] = None
    uptime_s: Optional[float] = None

    @classmethod
    def from_reply(cls, row: Reply) -> View:
        return cls(
            name=str(row["name"]),
            running=bool(row.get("running")),
            partitions=tuple(map(str, row.get("partitions") or ())),
            draining=bool(row.get("being_drained")),
            memory_alarm=row.get("mem_alarm") is True,
            disk_alarm=row.get("disk_free_alarm") is True,
            disk_free_bytes=_number(row.get("disk_free")),
            disk_limit_bytes=_number(row.get("disk_free_limit")),
            memory_used_bytes=_number(row.get("mem_used")),
            memory_limit_bytes=_number(row.get("mem_limit")),
            descriptors=_pair(row, "fd_used", "fd_total"),
            sockets=_pair(row, "sockets_used", "sockets_total"),
            uptime_s=row["uptime"] / 1000 if _number(row.get("uptime")) is not None else None,
        )


@dataclass(frozen=True)
class Node:
    """A node that let us in. Without `views` its API waits for another node: `blocked` says for how long it did."""

    host: Host
    name: Optional[str]
    version: Optional[str] = None
    erlang: Optional[str] = None
    cluster: Optional[str] = None
    tags: tuple[str, ...] = ()
    views: tuple[View, ...] = ()
    alarms: tuple[str, ...] = ()  # its own: memory, disk
    content: Optional[Content] = None
    content_missing: Optional[str] = None  # why it could not tell it
    blocked: Optional[str] = None
    amqp: Optional[Silent] = None  # what its AMQP port does if it does not accept
    tls_expires_at: Optional[float] = None  # epoch seconds

    @property
    def running(self) -> frozenset[str]:
        """The nodes that it works with, itself among them."""
        return frozenset(view.name for view in self.views if view.running)

    def view(self, name: str) -> Optional[View]:
        return next((view for view in self.views if view.name == name), None)


@dataclass(frozen=True)
class Denied:
    """A node that does not let us in."""

    host: Host
    reason: str


Answer = Union[Node, Denied, Silent]


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds), one answer per configured host."""

    answers: Mapping[Host, Answer]
    at: float
    amqp_open: frozenset[Host] = frozenset()  # hosts without an API whose AMQP port accepts
    known: Mapping[Host, str] = field(default_factory=dict)  # names from an earlier snapshot

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(answer for answer in self.answers.values() if isinstance(answer, Node))

    @property
    def sighted(self) -> tuple[Node, ...]:
        """Nodes that told whom they work with."""
        return tuple(node for node in self.nodes if node.views)

    def of(self, kind: type) -> Iterator[tuple[Host, Any]]:
        return ((host, answer) for host, answer in self.answers.items() if isinstance(answer, kind))

    @property
    def members(self) -> tuple[str, ...]:
        """Every node of the cluster, by the word of any of them."""
        return tuple(dict.fromkeys(view.name for node in self.sighted for view in node.views))

    @property
    def sides(self) -> tuple[frozenset[str], ...]:
        """Groups of nodes that work together; more than one: a partition. The largest first."""
        groups = dict.fromkeys(node.running for node in self.sighted)
        return tuple(sorted(groups, key=lambda group: (-len(group), sorted(group))))

    @property
    def content(self) -> Optional[Content]:
        """The content of the largest side."""
        for side in self.sides:
            for node in self.sighted:
                if node.running == side and node.content is not None:
                    return node.content
        return None

    def node(self, name: str) -> Optional[Node]:
        return next((node for node in self.nodes if node.name == name), None)

    def views_of(self, name: str) -> tuple[tuple[str, View], ...]:
        """What nodes believe of `name`, each with the believer's name; its own word is left out."""
        return tuple((n.name or "?", v) for n in self.sighted for v in n.views if v.name == name != n.name)

    def view(self, name: str) -> Optional[View]:
        """The best word on `name`: its own, else that of a node that reaches it, else of anybody."""
        own = self.node(name)
        views = [view for _, view in self.views_of(name)]
        candidates = [own.view(name)] if own else []
        return next(filter(None, [*candidates, *sorted(views, key=lambda view: not view.running)]), None)

    def in_maintenance(self, name: str) -> bool:
        """Drained: its listeners are closed and yet the others work with it. 3.10's API has no word for it.

        A node that has just begun to start or to stop looks the same for a moment.
        """
        view = self.view(name)
        if view is not None and view.draining:
            return True
        host = self.host_of(name)
        answer = self.answers.get(host) if host else None
        closed = isinstance(answer, Silent) and answer.kind is Silence.REFUSED and host not in self.amqp_open
        return closed and any(view.running for _, view in self.views_of(name))

    def name_of(self, host: Host) -> str:
        """The node behind `host`: its own word, else what the others' listeners or the host's name tell."""
        answer = self.answers.get(host)
        if isinstance(answer, Node) and answer.name:
            return answer.name
        if host in self.known:
            return self.known[host]
        unnamed = [name for name in self.members if self.node(name) is None]
        silent = [each for each, answer in self.answers.items() if not (isinstance(answer, Node) and answer.name)]
        by_host = [name for name in unnamed if _same_host(name, host.name)]
        if len(by_host) == 1:
            return by_host[0]
        return unnamed[0] if len(unnamed) == len(silent) == 1 else str(host)

    def host_of(self, name: str) -> Optional[Host]:
        return next((host for host in self.answers if self.name_of(host) == name), None)

    def rows(self) -> list[dict[str, Any]]:
        """The topology as a table: one flat row a host."""
        return [_row(self, host, answer) for host, answer in self.answers.items()]


def _row(snapshot: Snapshot, host: Host, answer: Answer) -> dict[str, Any]:
    name = snapshot.name_of(host)
    row: dict[str, Any] = {"host": str(host), "node": name, "state": "?", "version": None, "sees": None}
    if snapshot.in_maintenance(name):
        row["state"] = "maintenance"
    elif isinstance(answer, Node):
        row["state"] = "waits for another node" if answer.blocked else "running"
    else:
        row["state"] = "denied" if isinstance(answer, Denied) else answer.kind.value
    if isinstance(answer, Node):
        row.update(version=answer.version, sees=", ".join(sorted(answer.running)) or None)
    content = snapshot.content
    row["leaders"] = sum(queue.leader == name for queue in content.queues) if content else None
    return row


def parse_node(host: Host, replies: Mapping[str, Any], **seen: Any) -> Node:
    """A Node from its replies: keys whoami, alarms, overview, nodes and those of parse_content; only whoami must be."""
    overview, alarms = replies.get("overview", {}), replies.get("alarms", {})
    return Node(
        host=host,
        name=overview.get("node"),
        version=overview.get("rabbitmq_version"),
        erlang=overview.get("erlang_version"),
        cluster=overview.get("cluster_name"),
        tags=_tags(replies["whoami"].get("tags")),
        views=tuple(View.from_reply(row) for row in replies.get("nodes", ())),
        alarms=tuple(sorted({str(row.get("resource")) for row in alarms.get("alarms", ())})),
        content=parse_content(replies) if "queues" in replies else None,
        **seen,
    )


def _same_host(node: str, host: str) -> bool:
    theirs = node.partition("@")[2].lower()
    return theirs != "localhost" and (theirs == host or theirs.split(".")[0] == host.split(".")[0])


def _tags(value: Any) -> tuple[str, ...]:
    """A list since 3.9, a comma-separated text before."""
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else tuple(map(str, value or ()))


def _pair(row: Reply, used: str, limit: str) -> Optional[tuple[int, int]]:
    one, two = _number(row.get(used)), _number(row.get(limit))
    return None if one is None or not two else (one, two)


def _number(value: Any) -> Optional[int]:
    """Some numbers come as words such as `disk_free_monitoring_disabled` or `unknown`."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
