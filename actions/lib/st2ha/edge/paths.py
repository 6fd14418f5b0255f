"""Paths to StackStorm that every kind of balancer has: as clients come, and directly to each node."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Optional, Union

from st2ha.edge.content import PROBES, Reply, amiss, service_of
from st2ha.edge.settings import Edge
from st2ha.edge.web import Question
from st2ha.errors import BadInput
from st2ha.probe import Silent


def known_group(edge: Edge, group: object) -> str:
    """The group that was named; an empty target is refused: st2web drops a value it does not understand."""
    names = ", ".join(edge.groups) or "none: add edge.groups to the configuration"
    if not isinstance(group, str) or not group.strip():
        raise BadInput(f"parameter `group` is {group!r}: name a group of nodes ({names})")
    if group.strip() not in edge.groups:
        raise BadInput(f"parameter `group` is {group.strip()[:60]!r}, which is not configured: use one of {names}")
    return group.strip()


def public_questions(edge: Edge, name: str, address: str) -> list[Question]:
    """What clients ask at one address."""
    found = []
    for upstream in edge.upstreams:
        probe, about = PROBES[service_of(upstream)], ("public", name, upstream)
        found.append(Question(about, address, edge.port, probe.public, probe.method, edge.host_name, edge.tls))
    return found


def of_group(edge: Edge, group: Optional[str]) -> set[tuple[str, str]]:
    """Upstream and `node:port` of each service of a group."""
    nodes = edge.groups.get(group or "", ())
    return {(upstream, f"{node}:{port}") for upstream, port in edge.upstreams.items() for node in nodes}


def node_questions(wanted: Iterable[tuple[str, str]]) -> list[Question]:
    """What services are asked directly; `wanted` as of_group has it."""
    found = []
    for upstream, address in sorted(wanted):
        host, _, port = address.rpartition(":")
        if host and port.isdigit():
            probe = PROBES[service_of(upstream)]
            found.append(Question(("node", upstream, address), host, int(port), probe.path, probe.method))
    return found


def unfit(edge: Edge, group: str, nodes: Mapping[tuple[str, str], Union[Reply, Silent]]) -> list[str]:
    """Services of the group's nodes that do not answer as they must."""
    found = []
    for upstream, address in sorted(of_group(edge, group)):
        why = amiss(upstream, nodes.get((upstream, address)))
        if why is not None:
            found.append(f"{upstream} of {address.rpartition(':')[0]} is not fit: {why}")
    return found


def context_of(edge: Edge) -> Optional[ssl.SSLContext]:
    """For questions to addresses that clients use."""
    return ssl.create_default_context(cafile=edge.ca_file) if edge.tls else None
