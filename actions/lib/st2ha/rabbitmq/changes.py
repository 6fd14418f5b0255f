"""Change a cluster: gather, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.errors import BadInput
from st2ha.naming import count
from st2ha.plan import Decision
from st2ha.rabbitmq import decide, decide_vhost
from st2ha.rabbitmq.act import Acting
from st2ha.rabbitmq.assess import assess
from st2ha.rabbitmq.facts import Snapshot
from st2ha.rabbitmq.gather import gather
from st2ha.rabbitmq.operations import settings_of
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.report import Report

CHANGE_TIMEOUT_S = 10.0
"""A change is worth waiting for a busy node."""


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
