"""The pack's RabbitMQ actions: gather, assess, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.errors import BadInput, HaError
from st2ha.naming import count
from st2ha.plan import Decision
from st2ha.rabbitmq import decide, decide_vhost
from st2ha.rabbitmq.assess import assess, healthy_words
from st2ha.rabbitmq.assess_queues import deep_queues
from st2ha.rabbitmq.facts import Snapshot
from st2ha.rabbitmq.gather import gather
from st2ha.rabbitmq.scene import Scene
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.report import Finding, Report, Severity

SECOND_LOOK_S = 1.0
CHANGE_TIMEOUT_S = 10.0
"""A change is worth waiting for a busy node."""


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Rabbitmq:
    """The deployment's RabbitMQ layer, with the timeout of this run if one is given."""
    settings: Rabbitmq = deployment.require("rabbitmq", timeout_s)
    return settings


def check(deployment: Deployment, timeout_s: Optional[float] = None, canary: bool = False) -> Report:
    """Look at every node; twice where a queue is deep, because one look cannot tell a growing backlog."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot = gather(settings)
    earlier = None
    if deep_queues(Scene(snapshot, settings, snapshot.at)):
        time.sleep(SECOND_LOOK_S)
        earlier, snapshot = snapshot, gather(settings)
    findings = assess(snapshot, settings, snapshot.at, earlier)
    facts = _facts(settings, snapshot)
    if canary:
        findings += _canary(settings, snapshot, facts)
    return Report("RabbitMQ", healthy_words(snapshot), findings, facts, time.monotonic() - began)


def _facts(settings: Rabbitmq, snapshot: Snapshot) -> dict[str, Any]:
    content = snapshot.content
    queues = content.in_vhost(settings.vhost) if content else ()
    return {
        "vhost": settings.vhost,
        "members": snapshot.rows(),
        "queues": len(queues) if content else None,
        "quorum_queues": sum(queue.kind == "quorum" for queue in queues) if content else None,
        "messages": sum(queue.messages for queue in queues) if content else None,
    }


def _canary(settings: Rabbitmq, snapshot: Snapshot, facts: dict[str, Any]) -> tuple[Finding, ...]:
    """Through the first node whose AMQP port accepts."""
    from st2ha.rabbitmq.canary import canary

    able = [node.host for node in snapshot.nodes if node.amqp is None and not node.blocked]
    able += [node.host for node in snapshot.nodes if node.host not in able]
    try:
        if not able:
            raise HaError("no node answers")
        facts["canary_s"] = round(canary(settings, settings.amqp_of(able[0]), len(snapshot.members)), 4)
    except HaError as error:
        remedy = f"run rabbitmq_check; the user needs permissions on {settings.canary_queue}.* in {settings.vhost}"
        message = f"a message did not come back: {error}"
        return (Finding("CanaryLost", Severity.CRITICAL, f"rabbitmq/vhost/{settings.vhost}", message, remedy),)
    return ()


def drain_node(
    deployment: Deployment, node: str, force: bool = False, dry_run: bool = False, deadline_s: float = 300.0
) -> dict[str, Any]:
    """Take a node out of service for maintenance; see decide.drain for the gates."""
    settings, name = settings_of(deployment), _given("node", node, "rabbit@mq1")
    return _change(settings, lambda snapshot: decide.drain(snapshot, settings, name, force), dry_run, deadline_s)


def revive_node(deployment: Deployment, node: str, dry_run: bool = False, deadline_s: float = 300.0) -> dict[str, Any]:
    """Put a drained node back into service."""
    settings, name = settings_of(deployment), _given("node", node, "rabbit@mq1")
    return _change(settings, lambda snapshot: decide.revive(snapshot, settings, name), dry_run, deadline_s)


def rebalance(
    deployment: Deployment, force: bool = False, dry_run: bool = False, deadline_s: float = 300.0
) -> dict[str, Any]:
    """Spread the leaders of replicated queues evenly."""
    return _change(settings_of(deployment), lambda snapshot: decide.rebalance(snapshot, force), dry_run, deadline_s)


def sync_queues(
    deployment: Deployment,
    vhost: Optional[str] = None,
    force: bool = False,
    dry_run: bool = False,
    deadline_s: float = 600.0,
) -> dict[str, Any]:
    """Synchronise the mirrors of a vhost's queues; without one those of StackStorm's vhost."""
    settings = settings_of(deployment)
    name = decide_vhost.checked_vhost(vhost or settings.vhost)
    return _change(settings, lambda snapshot: decide.sync_queues(snapshot, name, force), dry_run, deadline_s)


def forget_node(
    deployment: Deployment, node: str, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Strike a dead node from the cluster."""
    settings, name = settings_of(deployment), _given("node", node, "rabbit@mq1")
    return _change(settings, lambda snapshot: decide.forget(snapshot, settings, name, force), dry_run, deadline_s)


def vhost_create(
    deployment: Deployment,
    vhost: str,
    user: str,
    more: Mapping[str, Any],
    dry_run: bool = False,
    deadline_s: float = 120.0,
) -> dict[str, Any]:
    """Make a vhost, its permissions and policies what they are to be; `more` as in decide_vhost.wanted_from."""
    settings = settings_of(deployment)
    wanted = decide_vhost.wanted_from(vhost, _given("user", user, "mquser"), more)
    return _change(settings, lambda snapshot: decide_vhost.create(snapshot, wanted), dry_run, deadline_s)


def vhost_delete(
    deployment: Deployment, vhost: str, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Remove a vhost and all that is in it."""
    settings, name = settings_of(deployment), decide_vhost.checked_vhost(vhost)
    return _change(
        settings, lambda snapshot: decide_vhost.delete(snapshot, settings, name, force), dry_run, deadline_s, True
    )


def quorum_plan(
    deployment: Deployment, vhost: Optional[str] = None, timeout_s: Optional[float] = None
) -> dict[str, Any]:
    """What becomes of every queue of a vhost when its classic queues become quorum queues; changes nothing."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    name = decide_vhost.checked_vhost(vhost or settings.vhost)
    snapshot = gather(settings)
    rows = decide_vhost.quorum_rows(snapshot, name)
    numbers = {word: sum(row["verdict"] == word for row in rows) for word in ("becomes", "is", "cannot")}
    able = f"{count(numbers['becomes'], 'queue')} of {name} can become quorum queues"
    findings = assess(snapshot, settings, snapshot.at)
    report = Report("RabbitMQ", "", findings, {"vhost": name, **numbers}, time.monotonic() - began)
    summary = f"PLAN {able}, {numbers['is']} are, {numbers['cannot']} cannot"
    steps = _quorum_steps(settings, name, len(snapshot.members))
    return {**report.result(), "summary": summary, "queues": rows, "steps": steps}


def _quorum_steps(settings: Rabbitmq, vhost: str, members: int) -> list[str]:
    """The way by a new vhost: a queue's type cannot be changed, and StackStorm declares its queues without one."""
    few = [] if members >= 3 else [f"first add nodes: quorum queues on {count(members, 'node')} survive no failure"]
    user = settings.stackstorm_user or "<user>"
    return [
        *few,
        f"rabbitmq_vhost_create vhost={vhost.removesuffix('_q')}_q user={user} default_queue_type=quorum",
        "stop StackStorm's services when no action runs (ha.platform tells), so that the old queues are empty",
        "set the new vhost in [messaging] url of st2.conf on every node and start them: they declare quorum queues",
        f"rabbitmq_vhost_delete vhost={vhost}, when it has neither connections nor messages",
    ]


def _change(
    settings: Rabbitmq,
    decision_from: Callable[[Snapshot], Decision],
    dry_run: bool,
    deadline_s: float,
    connections: bool = False,
) -> dict[str, Any]:
    from st2ha.rabbitmq.act import Acting

    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    patient = replace(settings, timeout_s=max(settings.timeout_s, CHANGE_TIMEOUT_S))
    names: dict[Any, str] = {}

    def look() -> Snapshot:
        snapshot = gather(patient, names, connections=connections)
        names.update({host: name for host in snapshot.answers if (name := snapshot.name_of(host)) != str(host)})
        return snapshot

    return change(
        look,
        decision_from,
        lambda snapshot: Acting(patient, snapshot).verbs(),
        lambda snapshot: assess(snapshot, patient, snapshot.at),
        dry_run,
        deadline_s,
    )


def _given(parameter: str, value: Any, example: str) -> str:
    """An empty target is refused: st2web drops a value it does not understand and runs the action without it."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"parameter `{parameter}` is {value!r}: name it, for example {example}")
    return value.strip()
