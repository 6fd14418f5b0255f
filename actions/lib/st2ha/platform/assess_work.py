"""From facts to findings: executions, events, rules and sensors that StackStorm has lost sight of."""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.naming import count
from st2ha.platform.facts import Backlog, Execution, Unread
from st2ha.platform.scene import Scene, some, span
from st2ha.report import Finding, Severity

CHANGING = ("pausing", "resuming", "canceling")
ORPHAN_S = 60.0
"""A runner that has just started may not be in the registry yet, as we have read it."""
UNPROCESSED, FAILED = ("pending", "processing"), "processing_failed"
WHY = {
    "requested": "no scheduler takes it, or a policy holds it back",
    "scheduled": "no action runner takes it",
    "delayed": "a policy holds it back",
    "running": "it hangs, or its runner died",
    "paused": "somebody forgot it",
}


def stuck(scene: Scene) -> Iterator[Finding]:
    for status, backlog in scene.snapshot.backlogs.items():
        if isinstance(backlog, Unread):
            continue
        limit_s: float = getattr(scene.limits, f"{'changing' if status in CHANGING else status}_s")
        lost = {each.id for each in orphaned(scene)}
        old = [each for each in backlog.oldest if scene.now - each.since > limit_s and each.id not in lost]
        if old:
            first = min(old, key=lambda each: each.since)
            least = "" if len(backlog.oldest) >= backlog.total else "at least "
            yield scene.finding(
                "ExecutionsStuck", Severity.WARNING,
                f"{least}{count(len(old), 'execution')} {_be(old)} {status} for more than {span(limit_s)}, the "
                f"oldest ({first.action} {first.id}) for {span(scene.now - first.since)}: "
                f"{WHY.get(status, 'whoever should end it is gone')}",
                f"st2 execution get {first.id}; end it with st2 execution cancel {first.id}", f"executions/{status}",
            )  # fmt: skip


def orphans(scene: Scene) -> Iterator[Finding]:
    """kill -9 of a runner leaves its executions running for ever, and in the count of a concurrency policy."""
    lost = orphaned(scene)
    if lost:
        runners = sorted({str(each.runner) for each in lost})
        yield scene.finding(
            "ExecutionsOrphaned", Severity.CRITICAL,
            f"{count(len(lost), 'execution')} {_be(lost)} running on {some(runners, 3)}, no runner of the registry: "
            f"nobody ends them, and they hold their places in concurrency policies ({some(each.id for each in lost)})",
            f"see whether their processes live on there, then: st2 execution cancel {lost[0].id}", "executions",
        )  # fmt: skip


def orphaned(scene: Scene) -> list[Execution]:
    """Running without a living runner. A workflow needs none: the workflow engine goes on with it."""
    runners, backlog = scene.snapshot.members("actionrunner"), scene.snapshot.backlogs.get("running")
    if not scene.snapshot.registry or runners is None or not isinstance(backlog, Backlog):
        return []
    return [
        each
        for each in backlog.oldest
        if each.runner is not None and not each.workflow and each.runner not in runners
        and scene.now - each.since > ORPHAN_S
    ]  # fmt: skip


def triggers(scene: Scene) -> Iterator[Finding]:
    instances = scene.snapshot.triggers
    if isinstance(instances, Unread) or not instances:
        return
    limit_s = scene.limits.trigger_s
    waiting = [each for each in instances if each.status in UNPROCESSED and scene.now - each.at > limit_s]
    failed = [instance for instance in instances if instance.status == FAILED]
    seen = f"of the last {len(instances)} before the last {span(limit_s)}"
    if waiting:
        oldest = min(waiting, key=lambda each: each.at)
        yield scene.finding(
            "TriggersUnprocessed", Severity.CRITICAL if len(waiting) == len(instances) else Severity.WARNING,
            f"{count(len(waiting), 'event')} {seen} wait for a rules engine, the oldest ({oldest.trigger}) for "
            f"{span(scene.now - oldest.at)}: no rule has seen them",
            f"look at st2rulesengine; when it runs again: st2 trigger-instance re-emit {oldest.id}", "triggers",
        )  # fmt: skip
    if failed:
        yield scene.finding(
            "TriggersFailed", Severity.WARNING,
            f"{count(len(failed), 'event')} {seen} failed in the rules engine ({some({i.trigger for i in failed}, 3)})",
            f"read st2rulesengine's log, then: st2 trigger-instance re-emit {failed[0].id}", "triggers",
        )  # fmt: skip


def rules_without_action(scene: Scene) -> Iterator[Finding]:
    rules, actions = scene.snapshot.rules, scene.snapshot.actions
    if isinstance(rules, Unread) or isinstance(actions, Unread):
        return
    lost = [rule for rule in rules if rule.action and rule.action not in actions]
    if lost:
        yield scene.finding(
            "RuleActionGone", Severity.WARNING,
            f"{count(len(lost), 'enabled rule')} name an action that is gone "
            f"({some((f'{rule.ref} -> {rule.action}' for rule in lost), 3)}): their events come to nothing",
            f"install the action's pack again, or st2 rule disable {lost[0].ref}", "rules",
        )  # fmt: skip


def rules_without_trigger(scene: Scene) -> Iterator[Finding]:
    rules, types = scene.snapshot.rules, scene.snapshot.trigger_types
    if isinstance(rules, Unread) or isinstance(types, Unread):
        return
    lost = [rule for rule in rules if rule.trigger_type is None or rule.trigger_type not in types]
    if lost:
        yield scene.finding(
            "RuleTriggerGone", Severity.WARNING,
            f"{count(len(lost), 'enabled rule')} wait for a trigger that is gone "
            f"({some((f'{rule.ref} <- {rule.trigger_type or rule.trigger}' for rule in lost), 3)}): they never fire",
            f"register its pack again: st2ctl reload --register-all; or st2 rule disable {lost[0].ref}", "rules",
        )  # fmt: skip


def sensors_without_node(scene: Scene) -> Iterator[Finding]:
    """By the processes on the nodes, if every node that may run sensors was looked into. Else ServiceGone tells."""
    sensors = scene.snapshot.sensors
    if isinstance(sensors, Unread) or "sensors" in scene.elsewhere or not scene.settings.nodes:
        return
    running: set[str] = set()
    for node in scene.settings.nodes:
        if "sensorcontainer" not in node.services:
            continue
        inside = dict((each.name, found) for each, found in scene.insides()).get(node.name)
        if inside is None or inside.running is None:
            return
        running |= inside.running
    lost = [ref for ref in sensors if ref not in running]
    if lost:
        yield scene.finding(
            "SensorNotRunning", Severity.CRITICAL,
            f"{count(len(lost), 'enabled sensor')} run on no node ({some(lost)}): what they would see is lost",
            "read the end of st2sensorcontainer's log: after two respawns it gives a sensor up",
            "sensors",
        )  # fmt: skip


def _be(things: list[Execution]) -> str:
    return "is" if len(things) == 1 else "are"


RULES = (
    stuck, orphans, triggers, rules_without_action, rules_without_trigger, sensors_without_node,
)  # fmt: skip
