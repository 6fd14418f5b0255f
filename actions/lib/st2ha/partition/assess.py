"""What is wrong with a sensor fleet: pure rules over a Snapshot. No clock, no network; limits are arguments.

Rules about what nodes are told are here, those about what runs and what came of it in assess_running.py. UNKNOWN means
that we could not see; where a node's settings are not known, nobody is accused of what that node may do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Callable

from st2ha.naming import count
from st2ha.partition import assess_running
from st2ha.partition.facts import Snapshot
from st2ha.partition.hash import sensor_hash
from st2ha.partition.providers import Ownership, key_of
from st2ha.partition.ranges import gaps, overlaps
from st2ha.partition.settings import SensorsLimits
from st2ha.report import Finding, Severity, by_weight

SHOWN = 5
"""Sensors that a message names; the rest is a number."""


@dataclass(frozen=True)
class Scene:
    """A snapshot with what every rule asks of it."""

    snapshot: Snapshot
    limits: SensorsLimits
    fleet: Ownership
    owners: dict[str, tuple[str, ...]]
    """Each enabled sensor's owners, by what the nodes are told."""

    def finding(self, code: str, severity: Severity, message: str, remedy: str, node: str = "") -> Finding:
        """A finding about the fleet, or about one of its nodes."""
        return Finding(code, severity, "sensors" + (f"/{node}" if node else ""), message, remedy)

    @property
    def all_read(self) -> bool:
        return len(self.snapshot.read) == len(self.snapshot.nodes)


def assess(snapshot: Snapshot, limits: SensorsLimits) -> tuple[Finding, ...]:
    """All findings, the worst first."""
    fleet = snapshot.ownership()
    owners = {each.ref: fleet.owners(each.ref, sensor_hash(each.ref)) for each in snapshot.enabled}
    scene = Scene(snapshot, limits, fleet, owners)
    rules: Iterable[Callable[[Scene], Iterator[Finding]]] = (*RULES, *assess_running.RULES)
    return tuple(by_weight(finding for rule in rules for finding in rule(scene)))


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    return f"{count(len(snapshot.enabled), 'sensor')} on {count(len(snapshot.nodes), 'node')}, each on one"


def named(refs: list[str]) -> str:
    """The first references of many."""
    more = f" and {len(refs) - SHOWN} more" if len(refs) > SHOWN else ""
    return ", ".join(refs[:SHOWN]) + more


def sensors_unread(scene: Scene) -> Iterator[Finding]:
    if scene.snapshot.unread is not None:
        yield scene.finding(
            "SensorsUnread", Severity.UNKNOWN, f"which sensors there are is not known: {scene.snapshot.unread}",
            "make StackStorm's API answer, or correct the layer `stackstorm`",
        )  # fmt: skip


def node_unread(scene: Scene) -> Iterator[Finding]:
    for node in scene.snapshot.nodes:
        if node.container is None:
            yield scene.finding(
                "NodeUnread", Severity.UNKNOWN, f"what it runs is not known: {node.unread or 'nobody asked'}",
                "make its st2.conf readable to the reader, or give its ranges in the layer `sensors`", node.name,
            )  # fmt: skip


def unowned(scene: Scene) -> Iterator[Finding]:
    """Nobody runs it; while a node is unread that one may."""
    refs = sorted(ref for ref, nodes in scene.owners.items() if not nodes)
    if refs and scene.all_read:
        yield scene.finding(
            "SensorUnowned", Severity.CRITICAL, f"{count(len(refs), 'sensor')} on no node: {named(refs)}",
            "run partition_plan and write what it says",
        )  # fmt: skip


def owned_twice(scene: Scene) -> Iterator[Finding]:
    twice = (ref for ref, nodes in scene.owners.items() if len(nodes) > 1)
    refs = sorted(ref for ref in twice if ref not in scene.snapshot.leased)
    if refs:
        where = " and ".join(scene.owners[refs[0]])
        yield scene.finding(
            "SensorOwnedTwice", Severity.CRITICAL,
            f"{count(len(refs), 'sensor')} on several nodes: {named(refs)} ({where}); each event comes several times",
            "run partition_plan and write what it says",
        )  # fmt: skip


def empty_list(scene: Scene) -> Iterator[Finding]:
    for node, share in scene.fleet.shares.items():
        if share.trap is not None:
            yield scene.finding(
                "EmptyListRunsAll", Severity.CRITICAL, f"{share.trap}: {count(len(scene.owners), 'sensor')}",
                "write the list that partition_plan provider=file gives, then restart its container", node,
            )  # fmt: skip


def missing_from_map(scene: Scene) -> Iterator[Finding]:
    for node in scene.snapshot.read:
        told = node.container
        if told is not None and told.provider in ("kvstore", "file") and told.refs is None:
            key = f"the key {key_of(told.node)}"
            what = key if told.provider == "kvstore" else f"the list of {told.node} in the file"
            yield scene.finding(
                "NodeMissingFromMap", Severity.CRITICAL, f"{what} is missing: its container ends at its start",
                f"write {what} as partition_plan gives it, then start its container", node.name,
            )  # fmt: skip


def ranges_unreadable(scene: Scene) -> Iterator[Finding]:
    """A range that StackStorm cannot read, no ranges, or a provider that it does not have."""
    for container in scene.fleet.containers:
        ended = scene.fleet.shares[container.node].ended
        if ended is not None and container.provider not in ("kvstore", "file"):
            yield scene.finding(
                "RangesUnreadable",
                Severity.CRITICAL,
                ended,
                "correct partition_provider in its st2.conf",
                container.node,
            )


def mixed_providers(scene: Scene) -> Iterator[Finding]:
    providers: dict[str, list[str]] = {}
    for container in scene.fleet.containers:
        providers.setdefault(container.provider, []).append(container.node)
    if len(providers) > 1:
        told = "; ".join(f"{provider} on {', '.join(nodes)}" for provider, nodes in providers.items())
        yield scene.finding(
            "MixedProviders", Severity.WARNING, f"{told}: no plan for one of them holds for all",
            "choose one provider and run partition_plan for it",
        )  # fmt: skip


def ranges_gap(scene: Scene) -> Iterator[Finding]:
    """Only where ranges are meant to cover everything: all nodes are known, and use them."""
    if not scene.fleet.uses_hash or not scene.all_read or any(c.provider != "hash" for c in scene.fleet.containers):
        return
    found = gaps(scene.fleet.arcs)
    if found:
        size = sum(gap.size for gap in found)
        yield scene.finding(
            "RangesGap", Severity.WARNING,
            f"nobody owns {named([str(gap) for gap in found])} ({size} hashes): a sensor there runs nowhere",
            "ranges are half-open: end each where the next begins, the last with MAX",
        )  # fmt: skip


def ranges_overlap(scene: Scene) -> Iterator[Finding]:
    found = overlaps(scene.fleet.arcs)
    if found:
        told = [f"{arc.range} by {' and '.join(arc.nodes)}" for arc in found]
        yield scene.finding(
            "RangesOverlap", Severity.WARNING, f"owned by several: {named(told)}; a sensor there runs several times",
            "ranges are half-open: end each where the next begins",
        )  # fmt: skip


def range_clamped(scene: Scene) -> Iterator[Finding]:
    for node, share in scene.fleet.shares.items():
        parts = [misuse.part for misuse in share.misuses if misuse.kind == "clamped"]
        if parts:
            yield scene.finding(
                "RangeClamped", Severity.WARNING,
                f"{named(parts)} is beyond 0..4294967296; StackStorm takes the nearest bound and says nothing",
                "write MIN or MAX", node,
            )  # fmt: skip


def name_clash(scene: Scene) -> Iterator[Finding]:
    """By what st2.conf says, whatever we call the nodes."""
    by_name: dict[str, list[str]] = {}
    for node in scene.snapshot.read:
        if node.container is not None:
            by_name.setdefault(node.container.node, []).append(node.name)
    for name, nodes in by_name.items():
        if len(nodes) > 1:
            yield scene.finding(
                "NameClash", Severity.CRITICAL, f"{' and '.join(nodes)} have this sensor_node_name, and share a map",
                "give each its own sensor_node_name in st2.conf, then restart its container", name,
            )  # fmt: skip


def unbalanced(scene: Scene) -> Iterator[Finding]:
    """Where one owner each holds and a better assignment exists: one sensor fewer on the fullest, at least."""
    nodes = {node.name: node.weight for node in scene.snapshot.read}
    loads = dict.fromkeys(nodes, 0.0)
    for sensor in scene.snapshot.enabled:
        for node in scene.owners[sensor.ref]:
            loads[node] += sensor.cost
    if not nodes or not any(loads.values()) or not scene.all_read or scene.snapshot.silent():
        return
    fullest = max(nodes, key=lambda node: loads[node] / nodes[node])
    emptiest = min(nodes, key=lambda node: loads[node] / nodes[node])
    level, mean = loads[fullest] / nodes[fullest], sum(loads.values()) / sum(nodes.values())
    least = min(s.cost for s in scene.snapshot.enabled if fullest in scene.owners[s.ref])
    if level > scene.limits.imbalance * mean and (loads[emptiest] + least) / nodes[emptiest] < level:
        yield scene.finding(
            "Unbalanced", Severity.WARNING, f"carries {level / mean:.2f} x the mean, {emptiest} {loads[emptiest]:g}",
            "run partition_plan", fullest,
        )  # fmt: skip


RULES = (
    sensors_unread, node_unread, name_clash, empty_list, missing_from_map, ranges_unreadable, unowned, owned_twice,
    mixed_providers, ranges_gap, ranges_overlap, range_clamped, unbalanced,
)  # fmt: skip
