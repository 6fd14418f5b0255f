"""Read one cluster: each node is asked directly, all at once, and answers for itself.

A node's API waits for its peers: while one hangs, all others block for up to net_ticktime (60 s by default) in
everything but `whoami`, `policies` and the alarms. So these come first, each request has its share of the deadline, and
a node that only answers them is a fact. The first node of each side of a partition also tells queues and vhosts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional, Union

from st2ha.config import Host
from st2ha.probe import Attempt, Silence, Silent, Unanswered, ask_all, connect
from st2ha.rabbitmq.client import Api, ApiError, segment
from st2ha.rabbitmq.content import mirrors_wanted, parse_content
from st2ha.rabbitmq.facts import Answer, Denied, Node, Snapshot, parse_node
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.reach import reach

OVERVIEW = "node,cluster_name,rabbitmq_version,erlang_version,object_totals.queues"
NODES = (
    "name,running,partitions,being_drained,mem_alarm,disk_free_alarm,disk_free,disk_free_limit,mem_used,mem_limit,"
    "fd_used,fd_total,sockets_used,sockets_total,uptime"
)
QUEUES = (
    "vhost,name,type,state,node,leader,members,online,slave_nodes,synchronised_slave_nodes,policy,durable,exclusive,"
    "auto_delete,arguments,messages,messages_ready"
)
VHOSTS = "name,cluster_state,default_queue_type"
MIRRORS, SYNCED = "slave_nodes", "synchronised_slave_nodes"
SINGLY = 10
"""One queue of so many is asked for by itself, more of them by a list of all."""
SPARE_S, SPARE_SHARE = 0.25, 0.2
"""What is left of a node's time when the last request gives up, so that what it said before is not lost."""
WATCH_QUEUES = ("st2.sensor.watch.", "st2.preinit", "st2.trigger.watch.")

Replies = dict[str, Any]
Record = Callable[[Host, Replies], None]


def gather(
    settings: Rabbitmq,
    known: Optional[Mapping[Host, str]] = None,
    record: Optional[Record] = None,
    content: bool = True,
    connections: bool = False,
) -> Snapshot:
    """All facts of the cluster, within `settings.timeout_s`. `known` names nodes of an earlier snapshot.

    `record` is given each node's raw replies. Without `content` no queue is read; with
    `connections` those of each vhost are counted.
    """
    turns = Turns(connections) if content else None

    def ask(host: Host, attempt: Attempt) -> Union[Answer, Silent]:
        return _Asking(settings, host, attempt, turns, record).answer()

    at = time.time()
    answers = ask_all(settings.hosts, ask, settings.timeout_s)
    refused = {
        host for host, answer in answers.items() if isinstance(answer, Silent) and answer.kind is Silence.REFUSED
    }
    return Snapshot(answers, at, _open_amqp(settings, refused), dict(known or {}))


class Turns:
    """The first node of each side that comes is asked for the content."""

    def __init__(self, connections: bool) -> None:
        self.connections = connections
        self._lock = threading.Lock()
        self._taken: set[frozenset[str]] = set()

    def mine(self, side: frozenset[str]) -> bool:
        with self._lock:
            if side in self._taken:
                return False
            self._taken.add(side)
            return True


class _Asking:
    """One node being asked."""

    def __init__(
        self, settings: Rabbitmq, host: Host, attempt: Attempt, turns: Optional[Turns], record: Optional[Record]
    ) -> None:
        self._settings, self._host, self._attempt, self._turns, self._record = settings, host, attempt, turns, record
        self._spare_s = min(SPARE_S, settings.timeout_s * SPARE_SHARE)
        self._api = Api(settings, host)
        attempt.afterwards(self._api.close)

    def answer(self) -> Answer:
        expires_at = reach(self._host, self._settings.tls, self._attempt)
        replies: Replies = {}
        try:
            replies["whoami"] = self._get("/api/whoami")
            replies["alarms"] = self._local_alarms()
        except ApiError as error:
            if error.status in (401, 403):
                return Denied(self._host, error.reason)
            raise Unanswered(Silence.BROKEN, f"{error}: is this the management API?") from None
        seen: dict[str, Any] = {"tls_expires_at": expires_at, "amqp": self._amqp()}
        try:
            replies["overview"] = self._get("/api/overview", disable_stats="true", columns=OVERVIEW)
            replies["nodes"] = self._get("/api/nodes", columns=NODES)
        except ApiError as error:
            return self._denied_or_broken(error)
        except Unanswered as silent:
            seen["blocked"] = silent.reason
            return self._parsed(replies, seen)
        node = self._parsed(replies, seen)
        if self._turns is not None and self._turns.mine(node.running):
            node = self._with_content(node, replies)
        return node

    def _denied_or_broken(self, error: ApiError) -> Denied:
        """A login without the tag `monitoring` is told so only here."""
        if error.status in (401, 403):
            return Denied(self._host, f"{error.reason}: the user needs the tag monitoring")
        raise Unanswered(Silence.BROKEN, str(error))

    def _parsed(self, replies: Replies, seen: dict[str, Any]) -> Node:
        if self._record is not None:
            self._record(self._host, replies)
        try:
            return parse_node(self._host, replies, **seen)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise Unanswered(Silence.BROKEN, f"its answer is no RabbitMQ's ({type(error).__name__} {error})") from None

    def _with_content(self, node: Node, replies: Replies) -> Node:
        try:
            replies["policies"] = self._get("/api/policies")
            replies["queues"] = self._queues(replies["overview"], replies["policies"], len(node.running))
            replies["vhosts"] = self._get("/api/vhosts", disable_stats="true", columns=VHOSTS)
            self._for_administrators(node, replies)
            if self._turns is not None and self._turns.connections:
                replies["connections"] = self._get("/api/connections", columns="vhost")
            if self._consumers_matter(replies["queues"]):
                vhost = self._settings.vhost
                rows = self._get("/api/consumers", columns="queue.name,queue.vhost")
                replies["consumers"] = [row for row in rows if row["queue"]["vhost"] == vhost]
        except (Unanswered, ApiError) as error:
            return replace(node, content_missing=str(error))
        if self._record is not None:
            self._record(self._host, replies)
        return replace(node, content=parse_content(replies))

    def _for_administrators(self, node: Node, replies: Replies) -> None:
        if "administrator" in node.tags:
            replies["permissions"] = self._get("/api/permissions")
            replies["users"] = [
                row if row.get("name") == "guest" else {"name": row.get("name")}
                for row in self._get("/api/users", columns="name,hashing_algorithm,password_hash")
            ]

    def _queues(self, overview: Any, policies: Any, running: int) -> list[Any]:
        """Without statistics the API leaves out queues without a leader; its own total gives them away.

        That total leaves out those with a single copy on a node that is down, which the list has (3.10.8; in 4.0.5 it
        is the other way round). With totals the API asks each queue's process: only so the state is the real one. It
        is asked for all columns, which is faster.
        """
        rows = self._rows(disable_stats="true", enable_queue_totals="true")
        total = (overview.get("object_totals") or {}).get("queues")
        if isinstance(total, int) and total > sum(row.get("state") != "down" for row in rows):
            seen = {_key(row) for row in rows}
            rows += [row for row in self._rows(columns=QUEUES) if _key(row) not in seen]
        return self._with_mirrors(rows, policies, running)

    def _rows(self, **query: Any) -> list[Any]:
        """In one reply: 10,000 queues are 2 MB and 1 to 2 s, and each page of 500 would take half a second as well."""
        rows: list[Any] = self._get("/api/queues", **query)
        return rows

    def _with_mirrors(self, rows: list[Any], policies: Any, running: int) -> list[Any]:
        """Ask again where mirrors lack: without statistics one that was started anew is missing or behind (3.10.8)."""
        wanted = {_key(policy): mirrors_wanted(policy["definition"], running) for policy in policies}
        doubtful = [row for row in rows if _doubtful(row, wanted)]
        if not doubtful:
            return rows
        if len(rows) < SINGLY * len(doubtful):
            told = {_key(row): row for row in self._rows(columns=f"vhost,name,{MIRRORS},{SYNCED}")}
        else:
            told = {_key(row): self._mirrors(row) for row in doubtful}
        for row in doubtful:
            now = told.get(_key(row), row)
            row[MIRRORS], row[SYNCED] = now.get(MIRRORS), now.get(SYNCED)
        return rows

    def _mirrors(self, row: Any) -> Any:
        path = f"/api/queues/{segment(row['vhost'])}/{segment(row['name'])}"
        try:
            return self._get(path, columns=f"{MIRRORS},{SYNCED}")
        except ApiError as error:
            if error.status != 404:
                raise
            return row  # deleted since

    def _consumers_matter(self, queues: list[Any]) -> bool:
        """Consumers are collected from all nodes, so they are asked for only where something waits for one."""
        mine = [row for row in queues if row.get("vhost") == self._settings.vhost]
        return any(row.get("messages_ready") for row in mine) or any(
            str(row.get("name")).startswith(WATCH_QUEUES) for row in mine
        )

    def _local_alarms(self) -> Any:
        """503 is its way of saying that there are some; the reply names them."""
        try:
            return self._get("/api/health/checks/local-alarms")
        except ApiError as error:
            if error.status != 503:
                raise
            return {"alarms": [{"resource": word} for word in ("memory", "disk") if word in error.detail]}

    def _amqp(self) -> Optional[Silent]:
        """Whether its AMQP port accepts; the management API says nothing of a firewall."""
        patience = Attempt(time.monotonic(), min(1.0, self._left_s()))
        try:
            connect(self._settings.amqp_of(self._host), patience).close()
        except Unanswered as silent:
            return Silent(silent.kind, silent.reason)
        return None

    def _get(self, path: str, **query: Any) -> Any:
        return self._api.get(path, self._left_s(), **query)

    def _left_s(self) -> float:
        left_s = self._attempt.left_s() - self._spare_s
        if left_s <= 0:
            raise Unanswered(Silence.HUNG, f"{self._settings.timeout_s:g} s were not enough for all questions")
        return left_s


def _key(row: Any) -> tuple[str, str]:
    return row["vhost"], row["name"]


def _doubtful(row: Any, wanted: Mapping[tuple[str, str], int]) -> bool:
    mirrors = set(row.get(MIRRORS) or ())
    lacking = len(mirrors) < wanted.get((row["vhost"], row.get("policy")), 0) and not row.get("exclusive")
    return lacking or bool(mirrors - set(row.get(SYNCED) or ()))


def _open_amqp(settings: Rabbitmq, refused: set[Host]) -> frozenset[Host]:
    """Of the hosts without a management API those whose AMQP port accepts: the plugin is off, the node is not down."""
    if not refused:
        return frozenset()

    def ask(host: Host, attempt: Attempt) -> bool:
        connect(settings.amqp_of(host), attempt).close()
        return True

    answers = ask_all(refused, ask, min(1.0, settings.timeout_s))
    return frozenset(host for host, answer in answers.items() if answer is True)
