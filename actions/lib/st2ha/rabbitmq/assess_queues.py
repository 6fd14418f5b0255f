"""Rules about queues: whether they work, survive the next failure, and are read. Pure, as assess.py.

A finding is about all queues of a vhost with the same fault, so that 10,000 queues make one line.
"""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.naming import count
from st2ha.rabbitmq.content import Content, Queue
from st2ha.rabbitmq.scene import Scene, by_vhost, critical_for, listed, sole_copies
from st2ha.report import Finding, Severity

WELL = ("running", "idle", "flow", "syncing")
WATCHES = ("st2.sensor.watch.", "st2.preinit", "st2.trigger.watch.")


def unknown(scene: Scene) -> Iterator[Finding]:
    """A node told of its peers but not of its queues."""
    reasons = [node.content_missing for node in scene.snapshot.sighted if node.content_missing]
    if reasons and scene.snapshot.content is None:
        yield scene.finding(
            "QueuesUnknown", Severity.UNKNOWN, f"the queues could not be read: {reasons[0]}",
            "raise rabbitmq.timeout_s, or check again when all nodes answer",
        )  # fmt: skip


def not_working(scene: Scene) -> Iterator[Finding]:
    content = scene.snapshot.content
    if content is None:
        return
    alive = _alive(scene)
    headless = [
        q for q in content.queues if q.kind != "classic" and (q.leader not in alive or _online(q, alive) < q.majority)
    ]
    down = [q for q in content.queues if q not in headless and (q.state not in WELL or q.leader not in alive)]
    for vhost, queues in by_vhost(headless).items():
        yield scene.finding(
            "QueueWithoutLeader", Severity.CRITICAL,
            f"{listed(queues)} without a leader or a majority of replicas: they neither take nor give messages",
            f"bring back {_absent(queues, alive)}", f"vhost/{vhost}",
        )  # fmt: skip
    for vhost, queues in by_vhost(down).items():
        states = ", ".join(sorted({q.state for q in queues}))
        yield scene.finding(
            "QueueDown", Severity.CRITICAL, f"{listed(queues)} {states}: what is published to them vanishes or waits",
            f"bring back {_absent(queues, alive)}", f"vhost/{vhost}",
        )  # fmt: skip


def _alive(scene: Scene) -> frozenset[str]:
    sides = scene.snapshot.sides
    return sides[0] if sides else frozenset()


def _online(queue: Queue, alive: frozenset[str]) -> int:
    return sum(member in alive for member in queue.online)


def _absent(queues: list[Queue], alive: frozenset[str]) -> str:
    absent = sorted({member for queue in queues for member in queue.members if member not in alive})
    return " and ".join(absent) or "its node; read the log there"


def _lacking(queues: tuple[Queue, ...]) -> str:
    """The nodes whose replicas are not online."""
    return " and ".join(sorted({m for queue in queues for m in queue.members if m not in queue.online})) or "a node"


def quorum_critical(scene: Scene) -> Iterator[Finding]:
    """Which nodes may not go now."""
    content = scene.snapshot.content
    if content is None:
        return
    for name in sorted(_alive(scene)):
        queues = critical_for(content, name, _alive(scene))
        if queues:
            yield scene.finding(
                "QuorumCritical", Severity.WARNING, f"may not go: {listed(queues)} would lose the majority",
                f"bring back {_lacking(queues)} first; with two nodes add a third", name,
            )  # fmt: skip


def mirrors(scene: Scene) -> Iterator[Finding]:
    content = scene.snapshot.content
    if content is None:
        return
    mirrored = [queue for queue in content.queues if queue.kind == "classic" and queue.mirrors]
    behind = [queue for queue in mirrored if set(queue.mirrors) - set(queue.synced)]
    for vhost, queues in by_vhost(behind).items():
        waiting = sum(queue.messages for queue in queues)
        yield scene.finding(
            "MirrorUnsynchronised", Severity.WARNING,
            f"{listed(queues)} with mirrors that lack messages ({count(waiting, 'message')} in these queues)",
            "rabbitmq_sync_queues", f"vhost/{vhost}",
        )  # fmt: skip
    for name in sorted({queue.leader for queue in mirrored if queue.leader}):
        queues = list(sole_copies(content, name))
        if queues:
            yield scene.finding(
                "MirrorSyncCritical", Severity.WARNING,
                f"may not go: it alone has all messages of {listed(queues)}", "rabbitmq_sync_queues first", name,
            )  # fmt: skip


def not_mirrored(scene: Scene) -> Iterator[Finding]:
    """StackStorm's durable queues with one copy: with the node they are gone, and confirmed publishes with them."""
    content = scene.snapshot.content
    if content is None or len(scene.snapshot.members) < 2:
        return
    single = [q for q in _stackstorm(scene, content) if q.durable and not q.transient_owner and len(q.members) < 2]
    if single:
        policy = "a policy with ha-mode all and ha-sync-mode automatic; or rabbitmq_quorum_plan"
        new = any((node.version or "").split(".")[0] >= "4" for node in scene.snapshot.nodes)
        yield scene.finding(
            "NotMirrored", Severity.WARNING, f"{listed(single)} with one copy: they are gone while its node is down",
            "rabbitmq_quorum_plan" if new else policy, f"vhost/{scene.settings.vhost}",
        )  # fmt: skip


def consumers(scene: Scene) -> Iterator[Finding]:
    content = scene.snapshot.content
    if content is None or content.consumers is None:
        return
    counts = content.consumers
    unread = [q for q in _stackstorm(scene, content) if q.ready and not counts.get((q.vhost, q.name)) and not _watch(q)]
    if unread:
        yield scene.finding(
            "ConsumersMissing", Severity.WARNING,
            f"{listed(unread)} with {count(sum(q.ready for q in unread), 'message')} and no consumer",
            "start the StackStorm service that reads them: st2ctl status", f"vhost/{scene.settings.vhost}",
        )  # fmt: skip
    orphans = [q for q in _stackstorm(scene, content) if _watch(q) and not counts.get((q.vhost, q.name))]
    if len(orphans) > scene.limits.watch_queues:
        yield scene.finding(
            "OrphanWatchQueues", Severity.WARNING,
            f"{count(len(orphans), 'watch queue')} without a consumer: each takes a copy of every change",
            "delete them when StackStorm's sensor containers run; a policy with `expires` keeps them away",
            f"vhost/{scene.settings.vhost}",
        )  # fmt: skip


def backlog(scene: Scene) -> Iterator[Finding]:
    """More messages than a healthy system holds, and more than a moment ago."""
    content, earlier = scene.snapshot.content, scene.earlier.content if scene.earlier else None
    if content is None or earlier is None:
        return
    before = {(queue.vhost, queue.name): queue.ready for queue in earlier.queues}
    growing = [q for q in _deep(scene, content) if q.ready > before.get((q.vhost, q.name), q.ready)]
    for vhost, queues in by_vhost(growing).items():
        worst = max(queues, key=lambda queue: queue.ready)
        yield scene.finding(
            "BacklogGrowing", Severity.WARNING,
            f"{listed(queues)} growing beyond {scene.limits.backlog:g} messages, {worst.name} has {worst.ready}",
            "look at the services that read them: st2ctl status, their logs", f"vhost/{vhost}",
        )  # fmt: skip


def deep_queues(scene: Scene) -> bool:
    """Whether a second look could find a growing backlog."""
    return scene.snapshot.content is not None and bool(_deep(scene, scene.snapshot.content))


def leaders(scene: Scene) -> Iterator[Finding]:
    """Uneven leaders make one node do the work of all; a cluster with few queues is never even."""
    content, alive = scene.snapshot.content, _alive(scene)
    if content is None or len(alive) < 2:
        return
    replicated = [queue for queue in content.queues if len(queue.members) > 1 and queue.leader in alive]
    mean = len(replicated) / len(alive)
    counts = {name: sum(queue.leader == name for queue in replicated) for name in sorted(alive)}
    if mean >= 4 and max(counts.values()) > scene.limits.imbalance * mean:
        shares = ", ".join(f"{name} {number}" for name, number in counts.items())
        yield scene.finding(
            "LeadersUnbalanced", Severity.WARNING, f"leaders of replicated queues: {shares}", "rabbitmq_rebalance"
        )


def _deep(scene: Scene, content: Content) -> list[Queue]:
    return [queue for queue in content.queues if queue.ready > scene.limits.backlog]


def _stackstorm(scene: Scene, content: Content) -> list[Queue]:
    return [
        q
        for q in content.in_vhost(scene.settings.vhost)
        if q.name.startswith("st2.") and q.name != scene.settings.canary_queue
    ]


def _watch(queue: Queue) -> bool:
    return queue.name.startswith(WATCHES)


RULES = (unknown, not_working, quorum_critical, mirrors, not_mirrored, consumers, backlog, leaders)
