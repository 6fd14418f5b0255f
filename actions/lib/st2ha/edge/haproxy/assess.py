"""Rules: what of haproxy, its file, and what clients are told is not as it should be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Callable, Optional

from st2ha.edge import assess as shared
from st2ha.edge.assess import NAMED, finding
from st2ha.edge.content import amiss
from st2ha.edge.haproxy.facts import Line, Seen, Server, World
from st2ha.edge.haproxy.parse import is_address
from st2ha.edge.settings import Edge, Haproxy
from st2ha.naming import count
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule."""

    world: World
    edge: Edge
    haproxy: Haproxy

    @property
    def public(self) -> Mapping[str, shared.Answers]:
        """By address what clients are told there."""
        found: dict[str, dict[str, object]] = {}
        for (name, upstream), reply in self.world.public.items():
            found.setdefault(name, {})[upstream] = reply
        return found  # type: ignore[return-value]


def assess(world: World, edge: Edge, haproxy: Haproxy) -> tuple[Finding, ...]:
    """All findings; order is that of the rules."""
    scene = Scene(world, edge, haproxy)
    return tuple(found for rule in RULES for found in rule(scene))


def healthy_words(world: World, edge: Edge) -> str:
    """What holds when nothing was found."""
    groups = sorted({group for seen in world.read.values() for group in groups_of(seen, edge)})
    to = f" to {' and '.join(groups)}" if groups else ""
    vip = f", the VIP is on {', '.join(world.holders)}" if world.holders else ""
    return f"{count(len(edge.balancers), 'balancer')} pass{to}, all paths answer{vip}"


def groups_of(seen: Seen, edge: Edge) -> tuple[str, ...]:
    """The groups whose nodes a balancer's slots have."""
    nodes = {slot.address.rpartition(":")[0] for slot in seen.slots if slot.address}
    return tuple(sorted({group for node in nodes if (group := edge.group_of(node)) is not None}))


def _clients(scene: Scene) -> Iterator[Finding]:
    running = list(scene.world.read)
    yield from shared.not_serving(scene.public, scene.edge, scene.world.holders, running, "haproxy")
    yield from shared.tls(scene.public, scene.edge, scene.world.at, "haproxy")
    yield from shared.paths(scene.public, "haproxy")


def _members(scene: Scene) -> Iterator[Finding]:
    """Nodes that serve: by haproxy's own health checks, and by content where they were asked."""
    yield from shared.members(_told(scene), "haproxy")


def _told(scene: Scene) -> dict[str, dict[str, Optional[str]]]:
    """Upstream -> node -> what is wrong there."""
    found: dict[str, dict[str, Optional[str]]] = {}
    for name, seen in scene.world.read.items():
        for server in seen.servers:
            if server.slot.address is None:
                continue
            node, _, _ = server.node.rpartition(":")
            reply = scene.world.nodes.get((server.slot.backend, server.node))
            why = f"{server.ill}, says {name}'s health check" if server.ill else None
            if why is None and reply is not None:
                why = amiss(server.slot.backend, reply)
            nodes = found.setdefault(server.slot.backend, {})
            nodes[node] = nodes.get(node) or why
    return found


def _backends(scene: Scene) -> Iterator[Finding]:
    told = _told(scene)
    for name, seen in scene.world.read.items():
        for upstream in scene.edge.upstreams:
            own = [server for server in seen.servers if server.slot.backend == upstream]
            about = f"{name}/{upstream}"
            if upstream not in seen.backends:
                yield finding(
                    "BackendMissing", Severity.WARNING, "haproxy has no such backend: no switch moves its clients",
                    f"name it in haproxy.cfg of {name}, or correct edge.upstreams", about,
                )  # fmt: skip
            elif not any(server.takes_clients for server in own):
                if own and all(told.get(upstream, {}).values()):
                    continue  # all of its nodes are down, which is told
                yield finding(
                    "BackendWithoutServers", Severity.CRITICAL, f"no server takes clients: {_states(own)}",
                    f"on {name}: set server {upstream}/<server> state ready, or haproxy_switch to another group", about,
                )  # fmt: skip
            elif idle := [server for server in own if _idle(server, own, scene.edge)]:
                yield finding(
                    "ServerDrained", Severity.WARNING, f"it takes no new clients: {_states(idle)}",
                    f"on {name}: set server {upstream}/{idle[0].slot.name} state ready", about,
                )  # fmt: skip


def _idle(server: Server, own: list[Server], edge: Edge) -> bool:
    """Drained, or in maintenance though its node is of the group that serves, and not spare since a switch."""
    if server.slot.address is not None or not edge.groups:
        return server.drained or server.slot.address is None
    node = server.node.rpartition(":")[0]
    serving = {each.node.rpartition(":")[0] for each in own if each.slot.address is not None}
    group = edge.group_of(node)
    return node not in serving and group is not None and group in {edge.group_of(each) for each in serving}


def _states(servers: list[Server]) -> str:
    words = [f"{each.slot.name} ({each.node}) {_state(each)}" for each in servers]
    return ", ".join(words[:NAMED]) or "it has none"


def _state(server: Server) -> str:
    if server.slot.address is None:
        return "in maintenance"
    return "drained" if server.drained else f"down: {server.ill}" if server.ill else "up"


def _unchecked(scene: Scene) -> Iterator[Finding]:
    for name, seen in scene.world.read.items():
        blind = sorted({each.slot.backend for each in seen.servers if not each.checked})
        if blind:
            yield finding(
                "HealthCheckMissing", Severity.WARNING,
                f"servers of {', '.join(blind)} are not checked: a dead node goes on getting clients",
                f"add `check` to their server lines in haproxy.cfg of {name}, then reload haproxy", name,
            )  # fmt: skip


def _files(scene: Scene) -> Iterator[Finding]:
    """What is on disk: refused, or other than what runs."""
    for name, seen in scene.world.read.items():
        if seen.refusal is not None:
            yield finding(
                "ConfigInvalid", Severity.CRITICAL, f"the next start or reload fails: {seen.refusal}",
                f"mend it, then {scene.haproxy.program} -c -f {scene.haproxy.config_file} on {name}", name,
            )  # fmt: skip
        elif why := _unclear(scene, seen):
            message = f"{scene.haproxy.config_file} {why}: what a reload would change is unknown"
            remedy = "name haproxy's own file as edge.haproxy.config_file; edge.command must lead to root"
            yield finding("ConfigUnclear", Severity.WARNING, message, remedy, name)
        elif lost := [words for backend in scene.edge.upstreams for words in _lost(seen, backend)]:
            more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
            remedy = f"write what runs into {scene.haproxy.config_file} of {name} before the next reload"
            message = f"a reload changes where clients go: {'; '.join(lost[:NAMED])}{more}"
            yield finding("ConfigNotRunning", Severity.WARNING, message, remedy, name)


def _unclear(scene: Scene, seen: Seen) -> Optional[str]:
    if seen.conf is None:
        return "cannot be read"
    found = set(scene.edge.upstreams) & set(seen.conf)
    return None if found or not seen.servers else "has none of the backends that run"


def _lost(seen: Seen, backend: str) -> Iterator[str]:
    """What a reload would change of a backend. A `server-state-file` gives back no address, only ports and states."""
    assert seen.conf is not None
    own = {each.slot.name: each for each in seen.servers if each.slot.backend == backend}
    lines = seen.conf.get(backend)
    if lines is None:
        return  # it is in a second file
    for name in sorted({*own, *lines}):
        why = _differs(own.get(name), lines.get(name))
        if why:
            yield f"{backend}/{name} {why}"


def _differs(server: Optional[Server], line: Optional[Line]) -> Optional[str]:
    if server is None or line is None:
        return "is in the file and does not run" if server is None else "runs and is not in the file"
    runs, off = server.slot.address, server.slot.address is None
    if off != line.off:
        return "is in maintenance, not in the file" if off else "runs and is `disabled` in the file"
    if server.drained:
        return "is drained, not in the file"
    if line.address is None or off or not is_address(line.address):
        return None
    return None if runs == line.address else f"passes to {runs}, {line.address} in the file"


def _differ(scene: Scene) -> Iterator[Finding]:
    """The balancers against each other: a fail-over must not change where clients go."""
    groups = {name: found for name, seen in scene.world.read.items() if (found := groups_of(seen, scene.edge))}
    if len(set(groups.values())) > 1:
        told = ", ".join(f"{name} to {' and '.join(found)}" for name, found in groups.items())
        message = f"the balancers pass to different groups ({told}): a fail-over moves all clients"
        yield finding("GroupsDiffer", Severity.CRITICAL, message, "run haproxy_switch to the group that is meant")


def _unread(scene: Scene) -> Iterator[Finding]:
    for name, seen in scene.world.seen.items():
        if isinstance(seen, Seen):
            continue
        if seen.inside:
            remedy = f"start haproxy on {name}; its `stats socket` must be edge.haproxy.socket; apt-get install socat"
            yield finding("RuntimeSocketSilent", Severity.UNKNOWN, seen.why, remedy, name)
        else:
            message = f"its files and processes are unknown: {seen.why}"
            remedy = "correct edge.command: it must lead to root on the balancer, without a question"
            yield finding("BalancerUnread", Severity.UNKNOWN, message, remedy, name)


RULES: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    _clients, _members, _backends, _unchecked, _files, _differ, _unread,
)  # fmt: skip
