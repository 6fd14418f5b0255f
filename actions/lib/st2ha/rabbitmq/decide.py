"""From a Snapshot and a goal about nodes and queue leaders to a Plan or a Refusal. Pure. decide_vhost.py has the rest.

Invariant of a drain: no queue that works before loses its majority or its last complete copy by it, unless forced; the
node's process goes on, so that a revive undoes everything.
"""

from __future__ import annotations

from typing import Optional

from st2ha.errors import BadInput
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silence, Silent
from st2ha.rabbitmq.content import Content, Queue
from st2ha.rabbitmq.facts import Denied, Snapshot
from st2ha.rabbitmq.scene import critical_for, listed, sole_copies, unmirrored
from st2ha.rabbitmq.settings import Rabbitmq

LONG_SYNC = 100_000
"""Messages in one queue from which on a synchronisation, during which the queue stands still, wants a `force`."""


def drain(snapshot: Snapshot, settings: Rabbitmq, node: str, force: bool = False) -> Decision:
    """Take `node` out of service: no clients, no leaders, its process goes on."""
    if not snapshot.sighted:
        return Refused(f"drain of {node}", tuple(blind_spots(snapshot, besides=node)))
    name = named(snapshot, node)
    goal = f"drain of {name}"
    if snapshot.in_maintenance(name):
        return Plan(f"{goal}: it is drained already", ())
    hard = [*blind_spots(snapshot, besides=name), *_no_tool(settings, f"rabbitmq-upgrade drain on {name}")]
    own = snapshot.node(name)
    if own is None or not own.views:
        hard.append(f"{name} does not tell its state: start it or wait for it first")
    others = _running(snapshot) - {name}
    if not others:
        hard.append(f"{name} is the only running node: nobody could take over")
    content = snapshot.content
    if hard or content is None:
        return Refused(goal, tuple(hard))
    soft = _at_risk(snapshot, name)
    if soft and not force:
        return Refused(goal, (), soft)
    expect = {"running": sorted(_running(snapshot))}
    return Plan(
        goal,
        (
            Step("drain", name, "its listeners close, its clients reconnect elsewhere, leaders move away", expect),
            Step("leaderless", name, "no quorum queue may be led by it when it stops", {"forced": bool(soft)}),
            Step("safe", name, "no queue may depend on it any more", {"forced": bool(soft)}),
        ),
    )


def _at_risk(snapshot: Snapshot, name: str) -> tuple[str, ...]:
    content, running = snapshot.content, _running(snapshot)
    if content is None:
        return ()
    reasons = []
    if critical := critical_for(content, name, running):
        reasons.append(f"{name} is quorum-critical: {listed(critical)} would lose the majority without it")
    if alone := sole_copies(content, name):
        reasons.append(f"{name} is mirror-critical: only it has all messages of {listed(alone)}: rabbitmq_sync_queues")
    if single := unmirrored(content, name):
        reasons.append(f"{listed(single)} have their one copy on {name} and are gone while it is down")
    absent = [each for each in snapshot.members if each not in running]
    if absent:
        reasons.append(f"{', '.join(absent)} of the cluster is not running")
    return tuple(reasons)


def revive(snapshot: Snapshot, settings: Rabbitmq, node: str) -> Decision:
    """End the maintenance of `node`."""
    if not snapshot.sighted:
        return Refused(f"revival of {node}", tuple(blind_spots(snapshot, besides=node)))
    name = named(snapshot, node)
    goal = f"revival of {name}"
    view = snapshot.view(name)
    if view is None or not view.running:
        return Refused(goal, (f"{name} is not running as far as the others can tell: start it",))
    if not snapshot.in_maintenance(name):
        return Plan(f"{goal}: it is not in maintenance", ())
    if missing := _no_tool(settings, f"rabbitmq-upgrade revive on {name}"):
        return Refused(goal, tuple(missing))
    because = "its listeners open, clients may connect and leaders may come back"
    return Plan(goal, (Step("revive", name, because), Step("serves", name, "its own API and AMQP must answer again")))


def rebalance(snapshot: Snapshot, force: bool = False) -> Decision:
    """Spread the leaders of replicated queues over the running nodes."""
    goal = "rebalance of queue leaders"
    hard, content, running = blind_spots(snapshot), snapshot.content, _running(snapshot)
    if hard or content is None:
        return Refused(goal, tuple(hard))
    counts = leader_counts(snapshot)
    if max(counts.values(), default=0) - min(counts.values(), default=0) <= 1:
        return Plan(f"{goal}: they are even", ())
    soft = [
        f"{each} is not running: its share would come back to it unevenly"
        for each in snapshot.members
        if each not in running
    ]
    if behind := unsynchronised(content.queues):
        soft.append(f"{listed(behind)} with mirrors that lack messages: rabbitmq_sync_queues first")
    if soft and not force:
        return Refused(goal, (), tuple(soft))
    because = ", ".join(f"{name} leads {number}" for name, number in counts.items())
    expect = {"running": sorted(running)}
    return Plan(
        goal, (Step("rebalance", "all queues", because, expect), Step("settled", "all queues", "leaders have moved"))
    )


def leader_counts(snapshot: Snapshot) -> dict[str, int]:
    """Leaders of replicated queues on each running node that is not in maintenance."""
    content = snapshot.content
    able = [name for name in sorted(_running(snapshot)) if not snapshot.in_maintenance(name)]
    queues = [queue for queue in content.queues if len(queue.members) > 1] if content else []
    return {name: sum(queue.leader == name for queue in queues) for name in able}


def sync_queues(snapshot: Snapshot, vhost: str, force: bool = False) -> Decision:
    """Have every mirror of a vhost's queues get what it lacks."""
    goal = f"synchronisation of the mirrors in {vhost}"
    hard, content = blind_spots(snapshot), snapshot.content
    if hard or content is None:
        return Refused(goal, tuple(hard))
    known_vhost(content, vhost)
    behind = unsynchronised(content.in_vhost(vhost))
    if not behind:
        return Plan(f"{goal}: all have everything", ())
    long = [queue for queue in behind if queue.messages > LONG_SYNC]
    if long and not force:
        return Refused(goal, (), (f"{listed(long)} with more than {LONG_SYNC} messages would stand still for long",))
    return Plan(goal, tuple(_sync_step(vhost, queue) for queue in behind))


def _sync_step(vhost: str, queue: Queue) -> Step:
    lacking = ", ".join(sorted(set(queue.mirrors) - set(queue.synced)))
    return Step("sync", f"{vhost}/{queue.name}", f"{lacking} behind", {"vhost": vhost, "queue": queue.name})


def unsynchronised(queues: tuple[Queue, ...]) -> tuple[Queue, ...]:
    return tuple(queue for queue in queues if queue.kind == "classic" and set(queue.mirrors) - set(queue.synced))


def forget(snapshot: Snapshot, settings: Rabbitmq, node: str, force: bool = False) -> Decision:
    """Take a dead node out of the cluster's membership; it can only come back empty."""
    if not snapshot.sighted:
        return Refused(f"forgetting of {node}", tuple(blind_spots(snapshot, besides=node)))
    name = named(snapshot, node)
    goal = f"forgetting of {name}"
    if snapshot.sighted and name not in snapshot.members:
        return Plan(f"{goal}: the cluster does not know it", ())
    hard = [*blind_spots(snapshot, besides=name), *_no_tool(settings, f"rabbitmqctl forget_cluster_node {name}")]
    hard += _alive_signs(snapshot, name)
    content = snapshot.content
    if hard or content is None:
        return Refused(goal, tuple(hard))
    lost = [queue for queue in content.queues if queue.members and set(queue.members) <= {name}]
    soft = (f"{listed(lost)} have their only copy on {name} and would be lost",) if lost else ()
    if soft and not force:
        return Refused(goal, (), soft)
    by = sorted(_running(snapshot))[0]
    expect = {"running": sorted(_running(snapshot)), "by": by}
    return Plan(goal, (Step("forget", name, f"{by} strikes it from the membership; its replicas are dropped", expect),))


def _alive_signs(snapshot: Snapshot, name: str) -> list[str]:
    """Only a node that everybody has lost, and whose port is closed, is surely gone."""
    seeing = [observer for observer, view in snapshot.views_of(name) if view.running]
    signs = [f"{', '.join(seeing)} still works with {name}"] if seeing else []
    host = snapshot.host_of(name)
    answer = snapshot.answers.get(host) if host else None
    if isinstance(answer, Silent):
        if answer.kind is not Silence.REFUSED:
            signs.append(f"{name} is {answer.kind.value}, not down: stop it for good first")
        elif host in snapshot.amqp_open:
            signs.append(f"{name} still accepts AMQP")
    elif answer is not None:
        signs.append(f"{name} answers: stop it first")
    return signs


def blind_spots(snapshot: Snapshot, besides: str = "") -> list[str]:
    """What must be known before anything is moved; `besides` is the node that the change is about."""
    reasons = []
    if len(snapshot.sides) > 1:
        reasons.append("the nodes do not see each other (partition): mend that first, run rabbitmq_check")
    if not snapshot.sighted:
        reasons.append("no node tells the state of the cluster: run rabbitmq_check")
    for host, answer in snapshot.answers.items():
        name = snapshot.name_of(host)
        if name == besides or str(host) == besides:
            continue
        if isinstance(answer, Denied):
            reasons.append(f"{name} does not let us in: its state is unknown")
        elif isinstance(answer, Silent) and answer.kind is not Silence.REFUSED:
            reasons.append(f"{name} {answer.kind.value}: its state is unknown")
        elif not isinstance(answer, Silent) and answer.blocked:
            reasons.append(f"{name} waits for another node: its state is unknown")
    if snapshot.sighted and snapshot.content is None:
        reasons.append("the queues could not be read: what would be lost is unknown")
    return reasons


def known_vhost(content: Content, vhost: str, parameter: str = "vhost") -> None:
    """BadInput unless the cluster has it."""
    if content.vhost(vhost) is None:
        known = ", ".join(sorted(each.name for each in content.vhosts))
        raise BadInput(f"parameter `{parameter}` is {vhost!r}: there is no such vhost: use one of {known}")


def named(snapshot: Snapshot, wanted: str) -> str:
    """The node's name for `wanted`: its name, its part before the @, or its host as configured. BadInput otherwise."""
    names = list(dict.fromkeys([*snapshot.members, *(snapshot.name_of(host) for host in snapshot.answers)]))
    text = wanted.strip().lower()
    for name in names:
        host = snapshot.host_of(name)
        if text in (name.lower(), str(host)):
            return name
    short = [name for name in names if text == name.partition("@")[0].lower() or text == name.partition("@")[2].lower()]
    if len(short) == 1:
        return short[0]
    raise BadInput(f"parameter `node` is {wanted!r}, no node of this cluster: use one of {', '.join(names)}")


def _running(snapshot: Snapshot) -> frozenset[str]:
    return snapshot.sides[0] if snapshot.sides else frozenset()


def _no_tool(settings: Rabbitmq, command: str) -> list[str]:
    if settings.command is not None:
        return []
    return [f"the management API cannot do this and rabbitmq.command is not set: set it, or run {command} by hand"]


def limitation(queue: Queue) -> Optional[str]:
    """Why a queue cannot be a quorum queue; None if it can."""
    arguments = queue.arguments
    if queue.transient_owner:
        return "it is exclusive or auto-delete: it ends with its one client"
    if not queue.durable:
        return "it is not durable"
    if "x-max-priority" in arguments:
        return "it has priorities (x-max-priority), which quorum queues before 4.0 lack"
    if arguments.get("x-overflow") == "reject-publish-dlx":
        return "it rejects with reject-publish-dlx, which quorum queues lack"
    if queue.kind == "stream":
        return "it is a stream, which is replicated in its own way"
    return None
