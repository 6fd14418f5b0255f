"""What is wrong with a cluster: pure rules over a Snapshot. No clock, no network; times and limits are arguments.

Each rule is a generator of findings in RULES; those about nodes are here, those about queues in assess_queues.py, those
about settings in assess_settings.py. UNKNOWN means that we could not see; it is never used for what we saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable, Optional

from st2ha.config import Host
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.rabbitmq import assess_queues, assess_settings
from st2ha.rabbitmq.facts import Denied, Node, Snapshot
from st2ha.rabbitmq.scene import Scene, is_mutual
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.report import Finding, Severity, by_weight


def assess(
    snapshot: Snapshot, settings: Rabbitmq, now: float, earlier: Optional[Snapshot] = None
) -> tuple[Finding, ...]:
    """All findings, the worst first. `earlier` (a second older or more) tells a growing backlog from a full one."""
    scene = Scene(snapshot, settings, now, earlier)
    rules: Iterable[Callable[[Scene], Iterator[Finding]]] = (*RULES, *assess_queues.RULES, *assess_settings.RULES)
    return tuple(by_weight(finding for rule in rules for finding in rule(scene)))


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    queues = len(snapshot.content.queues) if snapshot.content else 0
    return f"{count(len(snapshot.nodes), 'node')}, {count(queues, 'queue')}"


def no_node(scene: Scene) -> Iterator[Finding]:
    snapshot = scene.snapshot
    if snapshot.nodes or any(True for _ in snapshot.of(Denied)) or snapshot.amqp_open:
        return
    kinds = {silent.kind for _, silent in snapshot.of(Silent)}
    if kinds <= {Silence.REFUSED, Silence.HUNG, Silence.UNREACHABLE}:
        yield scene.finding(
            "NoNode", Severity.CRITICAL, f"none of {count(len(snapshot.answers), 'node')} answers: no message moves",
            "start the node that was stopped last first, then the others",
        )  # fmt: skip


def silent_nodes(scene: Scene) -> Iterator[Finding]:
    """Down, hung, in maintenance or cut off from here? The port and the other nodes' view tell."""
    for host, silent in scene.snapshot.of(Silent):
        yield _silent_node(scene, host, silent)


def _silent_node(scene: Scene, host: Host, silent: Silent) -> Finding:
    snapshot = scene.snapshot
    name = snapshot.name_of(host)
    views = snapshot.views_of(name)
    seeing = [observer for observer, view in views if view.running]
    if silent.kind is Silence.TLS:
        return scene.finding(
            "TlsFailed", Severity.UNKNOWN, f"no trusted connection: {silent.reason}",
            f"renew the certificate of {name}, or correct rabbitmq.tls.ca_file", name,
        )  # fmt: skip
    if silent.kind is Silence.BROKEN:
        return scene.finding(
            "NodeUnreadable", Severity.UNKNOWN, f"answers, but not as a management API: {silent.reason}",
            f"does rabbitmq.hosts name the management port of {host.name}, and tls.enabled what it speaks?", name,
        )  # fmt: skip
    if snapshot.in_maintenance(name):
        return scene.finding(
            "NodeInMaintenance", Severity.WARNING,
            f"its listeners are closed, but {' and '.join(seeing)} work with it: it was drained, or is just starting",
            f"when the work is done: rabbitmq_revive_node node={name}", name,
        )  # fmt: skip
    if silent.kind is Silence.HUNG:
        blocked = [node.name or str(node.host) for node in snapshot.nodes if node.blocked]
        also = f"; {' and '.join(blocked)} wait for it until net_ticktime (60 s by default)" if blocked else ""
        return scene.finding(
            "NodeHung", Severity.CRITICAL, f"{silent.reason}{also}",
            f"look at disk and load of {name}; if it stays, kill its beam.smp and start it again", name,
        )  # fmt: skip
    return _closed_node(scene, host, silent, name, seeing)


def _closed_node(scene: Scene, host: Host, silent: Silent, name: str, seeing: list[str]) -> Finding:
    if host in scene.snapshot.amqp_open:
        return scene.finding(
            "ManagementClosed", Severity.UNKNOWN, f"{silent.reason}, but AMQP accepts: it runs, that is all we know",
            f"on {name}: rabbitmq-plugins enable rabbitmq_management", name,
        )  # fmt: skip
    if seeing and silent.kind is not Silence.REFUSED:
        return scene.finding(
            "NodeUnreachableFromHere", Severity.WARNING, f"{silent.reason}, but {', '.join(seeing)} work with it",
            f"mend the network or firewall between this host and {name}", name,
        )  # fmt: skip
    views = scene.snapshot.views_of(name)
    known = f"{count(len(views) - len(seeing), 'other node')} lost it, too" if views else "nobody confirms it"
    return scene.finding(
        "NodeDown", Severity.WARNING, f"{silent.reason}; {known}; it is down, or paused in a minority",
        f"look at the network of {name}; systemctl start rabbitmq-server on it", name,
    )  # fmt: skip


def unasked_nodes(scene: Scene) -> Iterator[Finding]:
    """Nodes of the cluster that are not configured here: what is not asked is not seen, but the others tell."""
    snapshot = scene.snapshot
    ours = {snapshot.name_of(host) for host in snapshot.answers}
    unnamed = [host for host in snapshot.answers if snapshot.name_of(host) == str(host)]
    strangers = [name for name in snapshot.members if name not in ours]
    if len(strangers) <= len(unnamed):
        return  # they may be the ones behind hosts that do not answer
    yield scene.finding(
        "ConfigDrift", Severity.WARNING, f"{', '.join(strangers)} of the cluster is not in rabbitmq.hosts",
        "correct rabbitmq.hosts of this deployment, or rabbitmq_forget_node",
    )  # fmt: skip


def lost_members(scene: Scene) -> Iterator[Finding]:
    """A member that all others call down, while we have no host for it and so did not ask."""
    snapshot = scene.snapshot
    ours = {snapshot.name_of(host) for host in snapshot.answers}
    for name in snapshot.members:
        views = snapshot.views_of(name)
        if name not in ours and views and not any(view.running for _, view in views):
            yield scene.finding(
                "NodeDown", Severity.WARNING, f"{count(len(views), 'node')} lost it",
                "start it, or rabbitmq_forget_node", name,
            )  # fmt: skip


def denied_nodes(scene: Scene) -> Iterator[Finding]:
    for host, answer in scene.snapshot.of(Denied):
        yield scene.finding(
            "AuthFailed", Severity.UNKNOWN, f"does not let us in ({answer.reason}): nothing more is known of it",
            "correct rabbitmq.username and password, and give the user the tag monitoring",
            scene.snapshot.name_of(host),
        )  # fmt: skip


def partitioned(scene: Scene) -> Iterator[Finding]:
    """Two nodes answer us and neither works with the other. During the split `partitions` is empty on both."""
    nodes = scene.snapshot.sighted
    pairs = [(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :] if is_mutual(a, b)]
    past = {
        node.name: own.partitions for node in nodes if node.name and (own := node.view(node.name)) and own.partitions
    }
    if pairs:
        seen = "; ".join(f"{n.name} works with {_others(n)}" for n in nodes)
        yield scene.finding(
            "Partitioned", Severity.CRITICAL,
            f"{count(len(scene.snapshot.sides), 'side')}: {seen}; messages taken on the smaller side may be lost",
            "mend the network; then restart the nodes of the smaller side (stop_app, start_app)",
        )  # fmt: skip
    elif past:
        seen = "; ".join(f"{name} was parted from {', '.join(others)}" for name, others in past.items())
        yield scene.finding(
            "Partitioned", Severity.CRITICAL, f"{seen}, and the two sides have not been joined since",
            f"restart the nodes of the side whose messages you can lose, for example {min(past)}: stop_app, start_app",
        )  # fmt: skip


def _others(node: Node) -> str:
    return ", ".join(sorted(node.running - {node.name})) or "nobody"


def blocked_api(scene: Scene) -> Iterator[Finding]:
    """Alive, but it cannot tell about the cluster, or they tell different things; a hung node explains the first."""
    snapshot = scene.snapshot
    nodes = snapshot.sighted
    if len(snapshot.sides) > 1 and not any(is_mutual(a, b) for i, a in enumerate(nodes) for b in nodes[i + 1 :]):
        seen = "; ".join(f"{node.name} works with {_others(node)}" for node in nodes)
        yield scene.finding(
            "TopologyUnknown", Severity.UNKNOWN, f"the nodes disagree: {seen}",
            "check again after net_ticktime (60 s by default); look at the network between the nodes",
        )  # fmt: skip
        return
    if any(silent.kind is Silence.HUNG for _, silent in snapshot.of(Silent)):
        return
    blocked = [snapshot.name_of(node.host) for node in snapshot.nodes if node.blocked]
    if blocked:
        yield scene.finding(
            "TopologyUnknown", Severity.UNKNOWN,
            f"{', '.join(blocked)} answers, but waits for a node that it has lost contact with",
            "check again after net_ticktime (60 s by default); look at the network between the nodes",
        )  # fmt: skip


def alarms(scene: Scene) -> Iterator[Finding]:
    """One node's alarm blocks publishers on all of them."""
    for name, kinds in _alarms(scene.snapshot).items():
        view = scene.snapshot.view(name)
        if "memory" in kinds:
            numbers = _megabytes(view.memory_used_bytes, view.memory_limit_bytes) if view else ""
            yield scene.finding(
                "MemoryAlarm", Severity.CRITICAL, f"uses too much memory{numbers}: publishers of all nodes are blocked",
                f"drain the queues led by {name}, or give it memory (vm_memory_high_watermark)", name,
            )  # fmt: skip
        if "disk" in kinds:
            numbers = _megabytes(view.disk_free_bytes, view.disk_limit_bytes) if view else ""
            yield scene.finding(
                "DiskAlarm", Severity.CRITICAL, f"has too little disk{numbers}: publishers of all nodes are blocked",
                f"free space on {name}", name,
            )  # fmt: skip


def _alarms(snapshot: Snapshot) -> dict[str, set[str]]:
    """By node: its own word, and where it does not answer the others'."""
    found: dict[str, set[str]] = {}
    for node in snapshot.nodes:
        if node.alarms:
            found.setdefault(snapshot.name_of(node.host), set()).update(node.alarms)
    for name in snapshot.members:
        view = snapshot.view(name)
        if view and view.memory_alarm:
            found.setdefault(name, set()).add("memory")
        if view and view.disk_alarm:
            found.setdefault(name, set()).add("disk")
    return found


def _megabytes(one: Optional[int], other: Optional[int]) -> str:
    return "" if one is None or other is None else f" ({one / 1e6:,.0f} MB, limit {other / 1e6:,.0f} MB)"


def descriptors(scene: Scene) -> Iterator[Finding]:
    for name in scene.snapshot.members:
        view = scene.snapshot.view(name)
        for what, pair in (("file descriptors", view and view.descriptors), ("sockets", view and view.sockets)):
            if pair and pair[0] / pair[1] > scene.limits.descriptors_used:
                yield scene.finding(
                    "FileDescriptorsNearLimit", Severity.WARNING,
                    f"uses {pair[0]} of {pair[1]} {what}: at the limit it refuses clients",
                    f"raise LimitNOFILE of rabbitmq-server on {name}, or find out who keeps connections open", name,
                )  # fmt: skip
                break


def listeners(scene: Scene) -> Iterator[Finding]:
    """The management API answers, AMQP does not: clients cannot connect, and every other check says yes."""
    for node in scene.snapshot.nodes:
        if node.amqp is None:
            continue
        name = scene.snapshot.name_of(node.host)
        if scene.snapshot.in_maintenance(name):
            yield scene.finding(
                "NodeInMaintenance", Severity.WARNING, "is drained: it takes no clients and leads no queue",
                f"when the work is done: rabbitmq_revive_node node={name}", name,
            )  # fmt: skip
        else:
            yield scene.finding(
                "ListenerClosed", Severity.CRITICAL, f"AMQP: {node.amqp.reason}, while its management API answers",
                f"on {name}: rabbitmq-diagnostics listeners, rabbitmqctl resume_listeners; look at the firewall", name,
            )  # fmt: skip


RULES = (
    no_node, silent_nodes, unasked_nodes, lost_members, denied_nodes, partitioned, blocked_api, alarms, descriptors,
    listeners,
)  # fmt: skip
