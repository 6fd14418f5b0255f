"""Rules: what of a snapshot of the edge is not as it should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Optional, Union

from st2ha.edge.content import Reply, amiss
from st2ha.edge.nginx.decide import unloaded
from st2ha.edge.nginx.facts import Disk, Front, Snapshot, Unread
from st2ha.edge.nginx.render import stamp
from st2ha.edge.settings import Edge, Nginx
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity

DAY_S = 86400.0
NAMED = 4


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds."""

    snapshot: Snapshot
    edge: Edge
    nginx: Nginx
    now: float

    def finding(self, code: str, severity: Severity, message: str, remedy: str, about: str = "") -> Finding:
        """A finding about the edge, a balancer, `vip`, or an upstream."""
        return Finding(code, severity, "edge" + (f"/{about}" if about else ""), message, remedy)


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
            yield scene.finding("BalancerUnread", Severity.UNKNOWN, message, remedy, name)


def _not_serving(scene: Scene) -> Iterator[Finding]:
    """No connection at all: nobody listens, or the balancer is away."""
    dead = {name: front for name, front in scene.snapshot.fronts.items() if _mute(front)}
    balancers = [each.name for each in scene.edge.balancers]
    for name, front in dead.items():
        reason = next(reply.reason for reply in front.public.values() if isinstance(reply, Silent))
        if name == "vip":
            held = f"held by {', '.join(scene.snapshot.holders) or 'nobody we can read'}"
            yield scene.finding(
                "VipNotServing", Severity.CRITICAL, f"clients reach nothing: {reason}; it is {held}",
                "run ha.vrrp_check; start keepalived and nginx on a balancer", name,
            )  # fmt: skip
            continue
        severity = Severity.CRITICAL if all(each in dead for each in balancers) else Severity.WARNING
        disk = scene.snapshot.disk(name)
        running = "" if disk is None or disk.master is None else "; its nginx runs"
        yield scene.finding(
            "BalancerDown", severity, f"it serves nobody: {reason}{running}", f"start nginx on {name}", name
        )


def _tls(scene: Scene) -> Iterator[Finding]:
    for name, front in scene.snapshot.fronts.items():
        bad = next((each for each in front.public.values() if _kind(each) is Silence.TLS), None)
        if isinstance(bad, Silent):
            yield scene.finding(
                "CertificateUntrusted", Severity.CRITICAL, f"clients refuse it: {bad.reason}",
                "give nginx the whole chain for edge.host_name, or set edge.tls.ca_file to its authority", name,
            )  # fmt: skip
        ends = [each.tls_until for each in front.public.values() if isinstance(each, Reply) and each.tls_until]
        if ends and min(ends) - scene.now < scene.edge.limits.tls_days * DAY_S:
            days = (min(ends) - scene.now) / DAY_S
            yield scene.finding(
                "TlsExpiring", Severity.WARNING, f"its certificate ends in {days:.0f} days: then nobody gets in",
                "renew it on every balancer, then reload nginx", name,
            )  # fmt: skip


def _paths(scene: Scene) -> Iterator[Finding]:
    """What clients are told, by content; where nothing answers at all another rule speaks."""
    for name, front in scene.snapshot.fronts.items():
        if _mute(front) or any(_kind(reply) is Silence.TLS for reply in front.public.values()):
            continue
        for upstream, reply in front.public.items():
            why = amiss(upstream, reply)
            if why is not None:
                yield scene.finding(
                    "PathBroken", Severity.CRITICAL, f"clients of {upstream} get no StackStorm: {why}",
                    f"look at {upstream}'s nodes, or nginx_switch to another group", f"{name}/{upstream}",
                )  # fmt: skip


def _members(scene: Scene) -> Iterator[Finding]:
    """Each node behind each upstream, asked by way of the balancers, else directly."""
    for upstream, nodes in _asked(scene).items():
        bad = {node: why for node, replies in nodes.items() if (why := _first_wrong(upstream, replies)) is not None}
        if not bad:
            continue
        node, why = next(iter(bad.items()))
        names = f"{', '.join(list(bad)[:NAMED])} of {count(len(nodes), 'node')}"
        message = f"{names} gives no right answer: {node}: {why}"
        if len(bad) == len(nodes):
            remedy = f"start {upstream} there, or nginx_switch to another group"
            yield scene.finding("UpstreamDown", Severity.CRITICAL, message, remedy, upstream)
        else:
            yield scene.finding("UpstreamMemberDown", Severity.WARNING, message, f"start {upstream} there", upstream)


def _files(scene: Scene) -> Iterator[Finding]:
    for name, disk in _disks(scene).items():
        if disk.refusal is not None:
            yield scene.finding(
                "ConfigInvalid", Severity.CRITICAL, f"the next start or reload fails: {disk.refusal}",
                f"mend it, then nginx -t on {name}", name,
            )  # fmt: skip
            continue
        if not disk.includes(scene.nginx.upstreams_file):
            message = f"nginx does not read {scene.nginx.upstreams_file}: a switch would change nothing"
            yield scene.finding("UpstreamsNotIncluded", Severity.WARNING, message, "include it in the block http", name)
        unused = [upstream for upstream in scene.edge.upstreams if upstream not in scene.snapshot.passed[name]]
        if unused:
            message = f"nothing is passed to {', '.join(unused)}: a switch would not move its clients"
            remedy = f"write `proxy_pass http://{unused[0]}` in the site's file, or correct edge.upstreams"
            yield scene.finding("UpstreamUnused", Severity.WARNING, message, remedy, name)


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
            yield scene.finding("ConfigNotRunning", Severity.WARNING, f"{what}: a restart changes it", remedy, name)


def _differ(scene: Scene) -> Iterator[Finding]:
    """The balancers against each other: a fail-over must not change where clients go."""
    markers = {each.name: marker for each in scene.edge.balancers if (marker := scene.snapshot.marker(each.name))}
    groups = {name: marker.group for name, marker in markers.items()}
    if len(set(groups.values())) > 1:
        told = ", ".join(f"{name} to {group}" for name, group in groups.items())
        message = f"the balancers pass to different groups ({told}): a fail-over moves all clients"
        yield scene.finding("GroupsDiffer", Severity.CRITICAL, message, "run nginx_switch to the group that is meant")
    disks = {name: disk for name, disk in _disks(scene).items() if disk.refusal is None}
    if len(disks) > 1:
        paths = sorted({file.path for disk in disks.values() for file in disk.files})
        different = [path for path in paths if len({_digest(disk, path) for disk in disks.values()}) > 1]
        if different:
            more = f" and {len(different) - NAMED} more" if len(different) > NAMED else ""
            message = f"{', '.join(different[:NAMED])}{more} differ between {', '.join(disks)}: a fail-over shows it"
            yield scene.finding("BalancersDiffer", Severity.WARNING, message, "copy the right one, test, reload")


def _linger(scene: Scene) -> Iterator[Finding]:
    for name, disk in _disks(scene).items():
        since_s = min((worker.age_s for worker in disk.serving), default=0.0)
        if disk.closing and since_s > scene.edge.limits.linger_s:
            old = count(len(disk.closing), "old worker")
            message = f"{old} {since_s:.0f} s after the reload: their clients stay on the old nodes"
            remedy = "set worker_shutdown_timeout in nginx.conf; SIGTERM to these workers ends their clients now"
            yield scene.finding("OldWorkersLinger", Severity.WARNING, message, remedy, name)


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


def _mute(front: Front) -> bool:
    """Whether nothing that clients ask is answered: not even a certificate is shown."""
    kinds = {_kind(reply) for reply in front.public.values()}
    return bool(kinds) and kinds <= {Silence.REFUSED, Silence.UNREACHABLE, Silence.HUNG}


def _kind(reply: Union[Reply, Silent]) -> Optional[Silence]:
    return reply.kind if isinstance(reply, Silent) else None


def _disks(scene: Scene) -> Mapping[str, Disk]:
    return {name: disk for name in scene.snapshot.disks if (disk := scene.snapshot.disk(name)) is not None}


def _digest(disk: Disk, path: str) -> Optional[str]:
    return next((file.digest for file in disk.files if file.path == path), None)
