"""The layer `upgrade` of the configuration: the nodes of both sides, and the way into them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

from st2ha.config import Section
from st2ha.errors import BadInput
from st2ha.hosts import Door, door, parse_prefix
from st2ha.upgrade.names import parse_version

EDGE = "edge"
CONF = "/etc/st2/st2.conf"
INFLOW = ("st2sensorcontainer", "st2timersengine")
WORK = (
    "st2api", "st2auth", "st2stream", "st2actionrunner", "st2scheduler", "st2workflowengine", "st2rulesengine",
    "st2notifier",
)  # fmt: skip
LATE = ("st2garbagecollector",)
STREAMS = ("st2stream",)


@dataclass(frozen=True)
class Node:
    """A StackStorm node. `conf` is its st2.conf; `services` those of the upgrade's that it runs, None: all."""

    name: str
    host: str
    conf: str
    side: str
    services: Optional[tuple[str, ...]] = None

    def of(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the services that run on this node."""
        return tuple(name for name in names if self.services is None or name in self.services)


@dataclass(frozen=True)
class Side:
    """`old` or `new`. `api_url` asks this side past the balancers; `group` is its name under edge.groups."""

    name: str
    version: tuple[int, ...]
    nodes: tuple[Node, ...]
    api_url: Optional[str] = None
    group: Optional[str] = None


@dataclass(frozen=True)
class Upgrade:
    """Both sides. `inflow` are the services that bring events in, `work` those that do the rest, `late` those that
    would touch what is only a copy, `streams` those whose clients stay connected over a switch; all are started and
    stopped by `<service_command> start|stop NAME`. `switch` is run for each of `balancers`, the standby first, with
    {balancer} and {side} filled in; where both sides have a `group`, the layer `edge` does that."""

    old: Side
    new: Side
    command: tuple[str, ...]
    database: Optional[str] = None
    vhost: Optional[str] = None
    inflow: tuple[str, ...] = INFLOW
    work: tuple[str, ...] = WORK
    late: tuple[str, ...] = LATE
    streams: tuple[str, ...] = STREAMS
    service_command: tuple[str, ...] = ("systemctl",)
    migrate: tuple[str, ...] = ()
    balancers: tuple[str, ...] = ()
    switch: tuple[str, ...] = ()
    vip_api_url: Optional[str] = None
    drain_s: float = 120.0
    soak_s: float = 86_400.0
    lease_s: float = 15.0
    timeout_s: float = 10.0

    @property
    def switched(self) -> tuple[str, ...]:
        """What is switched, one after the other: balancers, or all of the layer `edge` at once."""
        return (EDGE,) if self.old.group else self.balancers

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*self.old.nodes, *self.new.nodes)

    @property
    def hosts_of_old(self) -> frozenset[str]:
        """Names by which a URL means the old side: its nodes', and that of its API."""
        api = urlsplit(self.old.api_url or "").hostname
        return frozenset(name.lower() for node in self.old.nodes for name in (node.name, node.host, api) if name)

    def node(self, name: Any) -> Node:
        """The node that a parameter names; BadInput if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise BadInput(f"parameter `node` is {name!r}, no node of upgrade.old or upgrade.new: use one of {names}")

    def door(self, node: Node) -> Door:
        return door(self.command, {"name": node.name, "host": node.host})


def parse(section: Section) -> Upgrade:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "old", "new", "command", "conf", "database", "vhost", "inflow", "work", "late", "streams",
        "service_command", "migrate", "balancers", "switch", "vip_api_url", "drain_s", "soak_s", "lease_s", "timeout_s",
    )  # fmt: skip
    command = parse_prefix(section, "command")
    if command is None:
        raise BadInput(
            f"{section.at('command')} is missing: say how to get into a node, for example ssh st2ha@{{name}}"
        )
    conf = section.optional_text("conf") or CONF
    old, new = (_side(section, name, conf) for name in ("old", "new"))
    both = {node.name for node in old.nodes} & {node.name for node in new.nodes}
    if both:
        raise BadInput(f"{section.path}: {', '.join(sorted(both))} is listed on both sides: a node is of one version")
    switch, balancers = _words(section, "switch"), _names(section, "balancers", ())
    if bool(old.group) != bool(new.group) or (old.group and (old.group == new.group or switch)):
        raise BadInput(f"{section.path}: `group` is for both sides, another one each, and in place of `switch`")
    if bool(switch) != bool(balancers):
        raise BadInput(f"{section.path} needs both `balancers` and `switch`, or neither")
    return Upgrade(
        old=old,
        new=new,
        command=command,
        database=section.optional_text("database"),
        vhost=section.optional_text("vhost"),
        inflow=_names(section, "inflow", INFLOW),
        work=_names(section, "work", WORK),
        late=_names(section, "late", LATE),
        streams=_names(section, "streams", STREAMS),
        service_command=_words(section, "service_command") or ("systemctl",),
        migrate=_words(section, "migrate"),
        balancers=balancers,
        switch=switch,
        vip_api_url=section.optional_text("vip_api_url"),
        drain_s=section.number("drain_s", 120.0, low=1, high=86_400),
        soak_s=section.number("soak_s", 86_400.0, low=0, high=1e7),
        lease_s=section.number("lease_s", 15.0, low=1, high=600),
        timeout_s=section.number("timeout_s", 10.0, low=0.05, high=600),
    )


def _side(parent: Section, name: str, conf: str) -> Side:
    section = parent.optional_section(name)
    if section is None:
        raise BadInput(f"{parent.at(name)} is missing: give its version and its nodes")
    section.known("version", "nodes", "api_url", "group")
    version = parse_version(section.text("version"), section.at("version"))
    nodes: list[Node] = []
    value = section.values.get("nodes")
    items = [each.strip() for each in value.split(",")] if isinstance(value, str) else value or []
    if not isinstance(items, list) or not items:
        raise BadInput(f"{section.at('nodes')} is empty: list the names of the nodes of that version")
    for number, item in enumerate(items):
        part = Section({"name": item} if isinstance(item, str) else item, f"{section.at('nodes')}[{number}]")
        part.known("name", "host", "conf", "services")
        node = part.text("name")
        if node in [each.name for each in nodes]:
            raise BadInput(f"{part.at('name')} is {node!r}, which is listed twice: name each node once")
        own = _names(part, "services", ()) or None
        host = part.optional_text("host") or node
        nodes.append(Node(node, host, part.optional_text("conf") or conf, name, own))
    return Side(name, version, tuple(nodes), section.optional_text("api_url"), section.optional_text("group"))


def _words(section: Section, name: str) -> tuple[str, ...]:
    text = section.optional_text(name)
    try:
        return tuple(shlex.split(text)) if text else ()
    except ValueError:
        raise BadInput(f"{section.at(name)} cannot be read: write it as in a shell") from None


def _names(section: Section, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    value = section.values.get(name)
    if value is None:
        return default
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadInput(f"{section.at(name)} is no list of names: write them separated by commas")
    return tuple(item.strip() for item in items if item.strip())
