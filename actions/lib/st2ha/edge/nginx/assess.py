"""Rules: what of a snapshot of the edge is not as it should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Optional, Union

from st2ha.edge import assess as shared
from st2ha.edge.assess import NAMED, finding
from st2ha.edge.content import Reply, amiss
from st2ha.edge.nginx.decide import unloaded
from st2ha.edge.nginx.facts import Disk, Snapshot, Unread
from st2ha.edge.nginx.render import stamp
from st2ha.edge.settings import Edge, Nginx
from st2ha.naming import count
from st2ha.probe import Silent
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds."""

    snapshot: Snapshot
    edge: Edge
    nginx: Nginx
    now: float


def assess(snapshot: Snapshot, edge: Edge, nginx: Nginx, now: float) -> tuple[Finding, ...]:
    """All findings; order is that of the rules."""
    scene = Scene(snapshot, edge, nginx, now)
    return tuple(finding for rule in RULES for finding in rule(scene))


def healthy_words(snapshot: Snapshot, edge: Edge) -> str:
    """What holds when nothing was found."""
    groups = sorted({marker.group for name in edge.addresses if (marker := snapshot.marker(name))})
    to = f" to {' and '.join(groups)}" if groups else ""
    vip = f", the VIP is on {', '.join(snapshot.holders)}" if snapshot.holders else ""
    return f"{count(len(edge.balancers), 'balancer')} pass{to}, all paths answer{vip}"


def _unread(scene: Scene) -> Iterator[Finding]:
    for name, seen in scene.snapshot.disks.items():
        if isinstance(seen, Unread):
            message = f"its files and processes are unknown: {seen.why}"
            remedy = "correct edge.command: it must lead to root on the balancer, without a question"
            yield finding("BalancerUnread", Severity.UNKNOWN, message, remedy, name)


def _not_serving(scene: Scene) -> Iterator[Finding]:
    snapshot = scene.snapshot
    running = [name for name, disk in _disks(scene).items() if disk.master is not None]
    yield from shared.not_serving(_public(scene), scene.edge, snapshot.holders, running, "nginx")


def _tls(scene: Scene) -> Iterator[Finding]:
    yield from shared.tls(_public(scene), scene.edge, scene.now, "nginx")


def _paths(scene: Scene) -> Iterator[Finding]:
    yield from shared.paths(_public(scene), "nginx")


def _members(scene: Scene) -> Iterator[Finding]:
    """Each node behind each upstream, asked by way of the balancers, else directly."""
    told = {
        upstream: {node: _first_wrong(upstream, replies) for node, replies in nodes.items()}
        for upstream, nodes in _asked(scene).items()
    }
    yield from shared.members(told, "nginx")


def _files(scene: Scene) -> Iterator[Finding]:
    for name, disk in _disks(scene).items():
        if disk.refusal is not None:
            yield finding(
                "ConfigInvalid", Severity.CRITICAL, f"the next start or reload fails: {disk.refusal}",
                f"mend it, then nginx -t on {name}", name,
            )  # fmt: skip
            continue
        if not disk.includes(scene.nginx.upstreams_file):
            message = f"nginx does not read {scene.nginx.upstreams_file}: a switch would change nothing"
            yield finding("UpstreamsNotIncluded", Severity.WARNING, message, "include it in the block http", name)
        unused = [upstream for upstream in scene.edge.upstreams if upstream not in scene.snapshot.passed[name]]
        if unused:
            message = f"nothing is passed to {', '.join(unused)}: a switch would not move its clients"
            remedy = (
                f"write `proxy_pass http://{unused[0]}` in the site's file, or name that file as edge.nginx.site_file "
                "and let nginx_switch do it; or correct edge.upstreams"
            )
            yield finding("UpstreamUnused", Severity.WARNING, message, remedy, name)


def _running(scene: Scene) -> Iterator[Finding]:
    """What is on disk against what runs: a reload can fail in silence."""
    for name, disk in _disks(scene).items():
        if disk.refusal is not None or not disk.serving:
            continue
        owned, marker = disk.owned[scene.nginx.upstreams_file], scene.snapshot.marker(name)
        mark = stamp(owned.content)
        differs = mark is not None and (marker is None or marker.generation != mark.generation)
        late = unloaded(disk)
        if differs or late or (mark is None and marker is not None):
            runs = f"generation {marker.generation} ({marker.group})" if marker else "an earlier one"
            what = f"{', '.join(late)} changed after it was loaded" if late else f"{runs} runs, not the one on disk"
            remedy = f"nginx -t && nginx -s reload on {name}, then look for [emerg] in {scene.nginx.error_log}"
            yield finding("ConfigNotRunning", Severity.WARNING, f"{what}: a restart changes it", remedy, name)


def _differ(scene: Scene) -> Iterator[Finding]:
    """The balancers against each other: a fail-over must not change where clients go."""
    markers = {each.name: marker for each in scene.edge.balancers if (marker := scene.snapshot.marker(each.name))}
    groups = {name: marker.group for name, marker in markers.items()}
    if len(set(groups.values())) > 1:
        told = ", ".join(f"{name} to {group}" for name, group in groups.items())
        message = f"the balancers pass to different groups ({told}): a fail-over moves all clients"
        yield finding("GroupsDiffer", Severity.CRITICAL, message, "run nginx_switch to the group that is meant")
    disks = {name: disk for name, disk in _disks(scene).items() if disk.refusal is None}
    if len(disks) > 1:
        paths = sorted({file.path for disk in disks.values() for file in disk.files})
        different = [path for path in paths if len({_digest(disk, path) for disk in disks.values()}) > 1]
        if different:
            more = f" and {len(different) - NAMED} more" if len(different) > NAMED else ""
            message = f"{', '.join(different[:NAMED])}{more} differ between {', '.join(disks)}: a fail-over shows it"
            yield finding("BalancersDiffer", Severity.WARNING, message, "copy the right one, test, reload")


def _linger(scene: Scene) -> Iterator[Finding]:
    for name, disk in _disks(scene).items():
        since_s = min((worker.age_s for worker in disk.serving), default=0.0)
        if disk.closing and since_s > scene.edge.limits.linger_s:
            old = count(len(disk.closing), "old worker")
            message = f"{old} {since_s:.0f} s after the reload: their clients stay on the old nodes"
            remedy = "set worker_shutdown_timeout in nginx.conf; SIGTERM to these workers ends their clients now"
            yield finding("OldWorkersLinger", Severity.WARNING, message, remedy, name)


RULES: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    _not_serving, _tls, _paths, _members, _files, _running, _differ, _linger, _unread,
)  # fmt: skip


def _asked(scene: Scene) -> dict[str, dict[str, list[Union[Reply, Silent]]]]:
    """Upstream -> node -> what it answered to those who asked it on our behalf."""
    found: dict[str, dict[str, list[Union[Reply, Silent]]]] = {}
    for front in scene.snapshot.fronts.values():
        for (upstream, node), reply in front.members.items():
            found.setdefault(upstream, {}).setdefault(node, []).append(reply)
    for (upstream, address), reply in scene.snapshot.nodes.items():
        if upstream not in found or address.rpartition(":")[0] in found[upstream]:
            found.setdefault(upstream, {}).setdefault(address.rpartition(":")[0], []).append(reply)
    return found


def _first_wrong(upstream: str, replies: list[Union[Reply, Silent]]) -> Optional[str]:
    """A balancer that is away says nothing about a node."""
    told = [reply for reply in replies if not (isinstance(reply, Silent) and len(replies) > 1)]
    return next((why for reply in told or replies if (why := amiss(upstream, reply)) is not None), None)


def _public(scene: Scene) -> Mapping[str, shared.Answers]:
    return {name: front.public for name, front in scene.snapshot.fronts.items()}


def _disks(scene: Scene) -> Mapping[str, Disk]:
    return {name: disk for name in scene.snapshot.disks if (disk := scene.snapshot.disk(name)) is not None}


def _digest(disk: Disk, path: str) -> Optional[str]:
    return next((file.digest for file in disk.files if file.path == path), None)
