"""Look at a cluster: gather, assess, report. Entry files and the top check call `check`."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.config import Deployment
from st2ha.errors import HaError
from st2ha.rabbitmq.assess import assess, healthy_words
from st2ha.rabbitmq.assess_queues import deep_queues
from st2ha.rabbitmq.facts import Snapshot
from st2ha.rabbitmq.gather import gather
from st2ha.rabbitmq.scene import Scene
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.report import Finding, Report, Severity

SECOND_LOOK_S = 1.0


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
