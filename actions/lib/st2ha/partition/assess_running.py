"""Rules about what runs, and what came of it: containers that are gone, processes, timers, events seen twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from st2ha.naming import count
from st2ha.partition.facts import Event, SensorNode
from st2ha.report import Finding, Severity

if TYPE_CHECKING:
    from st2ha.partition.assess import Scene


def node_silent(scene: Scene) -> Iterator[Finding]:
    """By host where hosts are known; else only how many are missing."""
    silent, members = scene.snapshot.silent(), scene.snapshot.members
    for node in silent:
        registry = f"no sensor container of {node.host} is in the service registry"
        yield scene.finding(
            "NodeSilent", Severity.CRITICAL, "no sensor container runs there" if node.is_down else registry,
            "start st2sensorcontainer there; nobody takes its sensors meanwhile, unless by sensor_takeover", node.name,
        )  # fmt: skip
    unplaced = [node for node in scene.snapshot.nodes if node.host is None and node.containers is None]
    if members is not None and unplaced and not silent and len(members) < len(scene.snapshot.nodes):
        missing = len(scene.snapshot.nodes) - len(members)
        yield scene.finding(
            "NodeSilent", Severity.CRITICAL,
            f"{len(members)} of {count(len(scene.snapshot.nodes), 'sensor container')} in the service registry, "
            f"{missing} missing; the registry does not tell which",
            "look for the node without st2sensorcontainer, and start it",
        )  # fmt: skip


def events_lost(scene: Scene) -> Iterator[Finding]:
    """Sensors that only silent nodes own."""
    silent = {node.name for node in scene.snapshot.silent()}
    refs = sorted(ref for ref, nodes in scene.owners.items() if nodes and silent.issuperset(nodes))
    if refs:
        yield scene.finding(
            "EventsLost", Severity.CRITICAL,
            f"{count(len(refs), 'sensor')} of {', '.join(sorted(silent))} run nowhere ({_some(refs)}): what they would "
            "have seen is lost",
            "start the container, or give its sensors to the others: sensor_takeover",
        )  # fmt: skip


def stale_map(scene: Scene) -> Iterator[Finding]:
    """Keys and the file are read once, when the container starts. One that runs what its map says is as good as new."""
    for node in scene.snapshot.read:
        if node.container is None or node.container.provider not in ("kvstore", "file"):
            continue
        if node.running == frozenset(ref for ref, nodes in scene.owners.items() if node.name in nodes):
            continue
        if node.started_at is not None and node.map_changed_at is not None and node.map_changed_at > node.started_at:
            later_s = node.map_changed_at - node.started_at
            yield scene.finding(
                "StaleMap", Severity.WARNING, f"its map changed {later_s:.0f} s after its container started",
                "restart st2sensorcontainer there", node.name,
            )  # fmt: skip


def disabled_but_running(scene: Scene) -> Iterator[Finding]:
    disabled = {sensor.ref for sensor in scene.snapshot.sensors if not sensor.enabled}
    for node in scene.snapshot.nodes:
        refs = sorted(disabled & (node.running or frozenset()))
        if refs:
            yield scene.finding(
                "DisabledButRunning", Severity.WARNING, f"runs {_some(refs)}, disabled: provider file ignores that",
                "restart st2sensorcontainer there", node.name,
            )  # fmt: skip


def given_up(scene: Scene) -> Iterator[Finding]:
    """Owned, the container is there, its processes were seen, and it is none of them: two respawns, then silence."""
    silent = {node.name for node in scene.snapshot.silent()}
    for node in scene.snapshot.nodes:
        if node.running is None or node.name in silent or _settles(scene, node):
            continue
        refs = sorted(r for r, nodes in scene.owners.items() if node.name in nodes and r not in node.running)
        if refs:
            yield scene.finding(
                "SensorGivenUp", Severity.CRITICAL,
                f"{_some(refs)} has no process: after two respawns a container gives up, the API still says enabled",
                "read the end of the container's log, mend the sensor, then disable and enable it", node.name,
            )  # fmt: skip


def _settles(scene: Scene, node: SensorNode) -> bool:
    """Its container has just been started: its sensors are on their way."""
    at, started_at = scene.snapshot.at, node.started_at
    return at is not None and started_at is not None and at - started_at < scene.limits.settle_s


def timers(scene: Scene) -> Iterator[Finding]:
    found = scene.snapshot.timers
    if found is None:
        return
    if len(found) > 1:
        hosts = ", ".join(sorted(member.host for member in found))
        yield scene.finding(
            "TimersOnManyNodes", Severity.CRITICAL, f"{len(found)} timer engines ({hosts}): each timer fires on each",
            "keep one: [timersengine] enable = False on the others",
        )  # fmt: skip
    if not found:
        yield scene.finding(
            "TimersOnNone", Severity.CRITICAL, "no timer engine in the service registry: no timer fires",
            "start st2timersengine on one node",
        )  # fmt: skip


def duplicate_triggers(scene: Scene) -> Iterator[Finding]:
    """The same trigger with the same content within the window, told once a trigger."""
    latest: dict[tuple[str, str], Event] = {}
    twice: dict[str, list[tuple[Event, Event]]] = {}
    for event in sorted(scene.snapshot.events, key=lambda each: each.at):
        before = latest.get((event.trigger, event.content))
        if before is not None and event.at - before.at <= scene.limits.duplicate_s:
            twice.setdefault(event.trigger, []).append((before, event))
        latest[event.trigger, event.content] = event
    for trigger, pairs in sorted(twice.items()):
        one, two = pairs[-1]
        where = " by " + " and ".join(sorted({e.node for e in (one, two) if e.node})) if one.node and two.node else ""
        yield scene.finding(
            "DuplicateTriggers", Severity.WARNING,
            f"{count(len(pairs), 'event')} of {trigger} came twice{where}, the last {two.at - one.at:.2f} s apart",
            "see who runs its sensor: partition_lookup; then partition_plan", trigger,
        )  # fmt: skip


def _some(refs: list[str]) -> str:
    return ", ".join(refs[:5]) + (f" and {len(refs) - 5} more" if len(refs) > 5 else "")


RULES = (node_silent, events_lost, stale_map, disabled_but_running, given_up, timers, duplicate_triggers)
