"""What the rules look at, and the few inferences that several of them (and decide.py) share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from st2ha.naming import count
from st2ha.rabbitmq.content import Content, Queue
from st2ha.rabbitmq.facts import Node, Snapshot
from st2ha.rabbitmq.settings import Rabbitmq, RabbitmqLimits
from st2ha.report import Finding, Severity

NAMED = 4
"""So many queues a message names; it counts the others."""


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds, `earlier` a second older or more."""

    snapshot: Snapshot
    settings: Rabbitmq
    now: float
    earlier: Optional[Snapshot] = None

    @property
    def limits(self) -> RabbitmqLimits:
        return self.settings.limits

    def finding(self, code: str, severity: Severity, message: str, remedy: str, about: str = "") -> Finding:
        """A finding about the cluster, one of its nodes, or a vhost (`vhost/<name>`)."""
        return Finding(code, severity, "rabbitmq" + (f"/{about}" if about else ""), message, remedy)


def critical_for(content: Content, name: str, alive: Iterable[str]) -> tuple[Queue, ...]:
    """Quorum queues (and streams) that work now and would lose their majority without node `name`."""
    up = set(alive)

    def needed(queue: Queue) -> bool:
        online = [member for member in queue.online if member in up]
        return name in online and len(online) >= queue.majority > len(online) - 1

    return tuple(queue for queue in content.queues if queue.kind != "classic" and needed(queue))


def sole_copies(content: Content, name: str) -> tuple[Queue, ...]:
    """Mirrored queues led by `name` none of whose mirrors has everything: without it messages are lost."""
    return tuple(
        queue for queue in content.queues
        if queue.kind == "classic" and queue.leader == name and queue.mirrors and not queue.synced
    )  # fmt: skip


def unmirrored(content: Content, name: str) -> tuple[Queue, ...]:
    """Durable classic queues with one copy, which is on `name`."""
    return tuple(
        queue for queue in content.queues
        if queue.kind == "classic" and queue.durable and not queue.transient_owner
        and queue.leader == name and not queue.mirrors
    )  # fmt: skip


def is_mutual(one: Node, other: Node) -> bool:
    """Whether both nodes answer us and neither works with the other."""
    return one.name not in other.running and other.name not in one.running


def listed(queues: Iterable[Queue]) -> str:
    """`3 queues (a, b, c)`; the vhost is in the finding's subject."""
    names = sorted(queue.name for queue in queues)
    more = ", ..." if len(names) > NAMED else ""
    return f"{count(len(names), 'queue')} ({', '.join(names[:NAMED])}{more})"


def by_vhost(queues: Iterable[Queue]) -> dict[str, list[Queue]]:
    grouped: dict[str, list[Queue]] = {}
    for queue in queues:
        grouped.setdefault(queue.vhost, []).append(queue)
    return grouped
