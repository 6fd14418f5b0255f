"""From facts to findings: which services run, and whether they answer."""

from __future__ import annotations

from collections.abc import Iterator

from st2ha.platform.facts import Answer, Group, Sick
from st2ha.platform.scene import Scene, some
from st2ha.platform.settings import SERVICES, SINGLETONS
from st2ha.probe import Silent
from st2ha.report import Finding, Severity

VIP = "vip"
UNITS = {"workflow_engine": "st2workflowengine", "timer_engine": "st2timersengine"}
"""Groups of the registry whose systemd unit has another name than `st2<group>`."""


def unit(service: str) -> str:
    return UNITS.get(service, f"st2{service}")


def api_silent(scene: Scene) -> Iterator[Finding]:
    """Nothing at all was told: one finding in place of one for each list."""
    silent = scene.snapshot.silent
    if silent is not None and silent.status in (401, 403):
        yield scene.finding(
            "ApiDenied", Severity.UNKNOWN, silent.reason[:300], "use an API key of an administrator: st2 apikey create",
            "api",
        )  # fmt: skip
    elif silent is not None:
        yield scene.finding(
            "ApiDown", Severity.CRITICAL, silent.reason[:300], "look at st2api and at nginx before it", "api"
        )


def api_incomplete(scene: Scene) -> Iterator[Finding]:
    unread = scene.snapshot.unread()
    if unread and scene.snapshot.silent is None:
        first = next(iter(unread.values()))
        denied = any(part.status in (401, 403) for part in unread.values())
        yield scene.finding(
            "ApiIncomplete", Severity.UNKNOWN, f"not told: {some(unread, 4)}; {first.reason[:240]}",
            "use an API key of an administrator" if denied else "look at st2api's log, and at what it needs", "api",
        )  # fmt: skip


def registry_off(scene: Scene) -> Iterator[Finding]:
    if scene.snapshot.registry is False:
        yield scene.finding(
            "RegistryOff", Severity.WARNING,
            "no service is in StackStorm's registry: which of them run cannot be told, nor who lost an execution",
            "set url and service_registry = True under [coordination] in st2.conf of all nodes, restart all services",
        )  # fmt: skip


def node_gone(scene: Scene) -> Iterator[Finding]:
    for node in scene.settings.nodes if scene.snapshot.registry else ():
        if node.hostname in _gone(scene):
            yield scene.finding(
                "NodeGone", Severity.WARNING,
                f"no service of {node.hostname} is in the registry: the node is down, cut off, or of another name",
                "start it; or set its hostname as the registry has it (`facts.services`)", node.name,
            )  # fmt: skip


def _gone(scene: Scene) -> set[str]:
    """Configured hosts without any member, where all groups were read."""
    snapshot = scene.snapshot
    if not snapshot.registry or any(snapshot.members(service) is None for service in SERVICES):
        return set()
    there = {member.host for service in SERVICES for member in snapshot.members(service) or ()}
    return {node.hostname for node in scene.settings.nodes} - there


def service_down(scene: Scene) -> Iterator[Finding]:
    """A service that runs nowhere, or not on a node where it should."""
    snapshot = scene.snapshot
    wanted = {service for node in scene.settings.nodes for service in node.services} or set(SERVICES)
    for service in SERVICES if snapshot.registry else ():
        members = snapshot.members(service)
        if members is None or service not in (*wanted, *SINGLETONS) or _told_by_sensors(scene, service):
            continue
        hosts = {member.host for member in members}
        lost = [n for n in scene.settings.nodes if service in n.services and n.hostname not in hosts | _gone(scene)]
        if not members:
            yield scene.finding(
                "ServiceGone", Severity.CRITICAL, f"no {unit(service)} is in the registry: {CONSEQUENCES[service]}",
                f"systemctl start {unit(service)}, and look why it ended", service,
            )  # fmt: skip
        elif lost:
            yield scene.finding(
                "ServiceDown", Severity.WARNING,
                f"{unit(service)} is missing on {some(node.name for node in lost)}, {len(hosts)} left: "
                f"without those {CONSEQUENCES[service]}",
                f"systemctl start {unit(service)} there", service,
            )  # fmt: skip


CONSEQUENCES = {
    "api": "no request is served",
    "auth": "nobody signs in",
    "stream": "st2web and ChatOps see no change",
    "actionrunner": "no action runs",
    "scheduler": "executions stay requested",
    "workflow_engine": "workflows stand still",
    "rulesengine": "events wait, no rule fires",
    "notifier": "nobody is notified, no retry happens",
    "sensorcontainer": "no sensor runs, events are lost",
    "timer_engine": "no timer fires",
    "garbagecollector": "the database grows, lost workflows are never ended",
}


def singletons(scene: Scene) -> Iterator[Finding]:
    for service in SINGLETONS:
        members = scene.snapshot.members(service) or ()
        if len(members) > 1 and not _told_by_sensors(scene, service):
            timers, apart = service == "timer_engine", len({member.host for member in members}) > 1
            effect = "each timer fires on each of them" if timers else "they delete the same records against each other"
            # One that was just killed stays in the registry for half a minute, beside its successor on the same node.
            yield scene.finding(
                "SingletonTwice", Severity.CRITICAL if timers and apart else Severity.WARNING,
                f"{len(members)} {unit(service)} run ({some(map(str, members))}): {effect}",
                f"keep one: systemctl disable --now {unit(service)} on the others", service,
            )  # fmt: skip


def _told_by_sensors(scene: Scene, service: str) -> bool:
    """The layer `sensors` knows more of these two."""
    return "sensors" in scene.elsewhere and service in ("timer_engine", "sensorcontainer")


def endpoints(scene: Scene) -> Iterator[Finding]:
    for (place, service), asked in scene.snapshot.endpoints.items():
        if isinstance(asked, Answer):
            continue
        how = f"{asked.kind.value}: {asked.reason}" if isinstance(asked, Silent) else asked.reason
        about = f"{place}/{service}"
        if place == VIP:
            yield scene.finding(
                "VipEndpointDown", Severity.CRITICAL, f"{unit(service)} does not answer where users go: {how[:240]}",
                "look who has the VIP, at nginx there, and at the nodes behind it", about,
            )  # fmt: skip
            continue
        yield scene.finding(
            "EndpointDown", Severity.WARNING, f"{unit(service)} does not answer on the node: {how[:240]}",
            f"journalctl -u {unit(service)} there" if isinstance(asked, Sick)
            else f"start {unit(service)} or nginx there, or correct the node's url", about,
        )  # fmt: skip


def versions(scene: Scene) -> Iterator[Finding]:
    """As each node's own st2api says, else what is installed there."""
    versions = {node.name: inside.version for node, inside in scene.insides() if inside.version}
    for (place, _), asked in scene.snapshot.endpoints.items():
        if place != VIP and isinstance(asked, Answer) and asked.version:
            versions[place] = asked.version
    told: dict[str, list[str]] = {}
    for place, version in versions.items():
        told.setdefault(version, []).append(place)
    if len(told) > 1:
        words = "; ".join(f"{version} on {some(places, 3)}" for version, places in sorted(told.items()))
        yield scene.finding(
            "VersionsDiffer", Severity.WARNING, f"StackStorm is {words}: what one writes another may not understand",
            "install the same version on all nodes, then restart all services",
        )  # fmt: skip


def clocks(scene: Scene) -> Iterator[Finding]:
    """By the Date of a node's answers, or its own word: only what is beyond doubt counts."""
    certain: dict[str, float] = {}
    for (place, _), asked in scene.snapshot.endpoints.items():
        if place != VIP and isinstance(asked, Answer) and asked.earliest_s is not None and asked.latest_s is not None:
            certain[place] = max(certain.get(place, 0.0), _least(asked.earliest_s, asked.latest_s), key=abs)
    for node, inside in scene.insides():
        if inside.clock_offset_s is not None:
            low, high = (inside.clock_offset_s + sign * inside.clock_error_s for sign in (-1, 1))
            certain[node.name] = max(certain.get(node.name, 0.0), _least(low, high), key=abs)
    for place, off_s in certain.items():
        if abs(off_s) > scene.limits.clock_skew_s:
            yield scene.finding(
                "ClockSkew", Severity.WARNING,
                f"its clock is {abs(off_s):.1f} s {'ahead of' if off_s > 0 else 'behind'} ours: schedules, tokens and "
                "the garbage collector go by it",
                "start chrony or systemd-timesyncd there", place,
            )  # fmt: skip


def _least(low: float, high: float) -> float:
    """The number nearest to 0 from low to high."""
    return low if low > 0 else min(high, 0.0)


def registered(scene: Scene) -> int:
    """How many processes the registry knows."""
    return sum(len(group.members) for group in scene.snapshot.groups.values() if isinstance(group, Group))


RULES = (
    api_silent, api_incomplete, registry_off, node_gone, service_down, singletons, endpoints, versions, clocks,
)  # fmt: skip
