"""From owners to what an operator writes: ranges, lines of st2.conf, the file, the keys."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Optional

import yaml

from st2ha.partition.assign import Owners
from st2ha.partition.fleet import Fleet, Node
from st2ha.partition.hash import SPACE
from st2ha.partition.providers import NOBODY, Container, Ownership, key_of, refs_of_key
from st2ha.partition.ranges import HashRange, show


def cut(owners: Owners, nodes: Sequence[Node], today: Optional[Ownership]) -> dict[str, str]:
    """Each node's range expression. Together they cover 0 to 2^32, each hash once.

    A cut lies between the hashes of two sensors: where today's is, if one is there; else in the middle, so that new
    sensors fall to both sides alike. Nodes without a sensor share the gap at which they stand, if they were given one.
    """
    ranges: dict[str, list[HashRange]] = {node.name: [] for node in nodes}
    hashes, indices = owners.items.hashes, owners.nodes
    if not hashes:
        return _even(nodes)
    bounds = _today_bounds(today)
    start = 0
    for place in range(1, len(hashes)):
        if indices[place] != indices[place - 1]:
            end = _between(hashes[place - 1], hashes[place], bounds)
            ranges[nodes[indices[place - 1]].name].append(HashRange(start, end))
            start = end
    ranges[nodes[indices[-1]].name].append(HashRange(start, SPACE))
    return {name: show(owned) for name, owned in ranges.items()}


def _even(nodes: Sequence[Node]) -> dict[str, str]:
    """No sensor yet: ranges in proportion to the weights."""
    whole, share, start = sum(node.weight for node in nodes), 0.0, 0
    ranges = {}
    for place, node in enumerate(nodes):
        share += node.weight
        end = SPACE if place == len(nodes) - 1 else max(start, min(SPACE, round(SPACE * share / whole)))
        ranges[node.name] = show([HashRange(start, end)])
        start = end
    return ranges


def _today_bounds(today: Optional[Ownership]) -> list[int]:
    return [arc.range.start for arc in today.arcs] if today is not None and today.uses_hash else []


def _between(before: int, after: int, bounds: Sequence[int]) -> int:
    """A bound above `before`, at most `after`: today's, else the middle."""
    place = bisect_right(bounds, before)
    if place < bisect_left(bounds, after + 1):
        return bounds[place]
    return (before + after + 1) // 2


def containers(fleet: Fleet, provider: str, owners: Owners, today: Optional[Ownership]) -> tuple[Container, ...]:
    """What each node's container has to be told."""
    if provider == "hash":
        ranges = cut(owners, fleet.nodes, today)
        return tuple(Container(node.name, provider, hash_ranges=ranges[node.name]) for node in fleet.nodes)
    lists: dict[str, list[str]] = {node.name: [] for node in fleet.nodes}
    for refs, node in zip(owners.items.refs, owners.nodes):
        lists[fleet.nodes[node].name] += refs
    return tuple(Container(name, provider, refs=tuple(sorted(refs)) or (NOBODY,)) for name, refs in lists.items())


def st2_conf(container: Container, file: str) -> str:
    """The lines of [sensorcontainer]; `file` is the partition file's path on the nodes."""
    lines = (f"{name} = {value}\n" for name, value in options(container, file).items())
    return "[sensorcontainer]\n" + "".join(lines)


def options(container: Container, file: str) -> dict[str, str]:
    """The options of [sensorcontainer] that tell a container its share."""
    more = {"hash": f", hash_ranges:{container.hash_ranges}", "file": f", partition_file:{file}"}
    provider = f"name:{container.provider}{more.get(container.provider, '')}"
    return {"sensor_node_name": container.node, "partition_provider": provider}


def file_text(told: Sequence[Container]) -> str:
    """The partition file of provider file. No list is empty: of an empty one StackStorm runs all sensors."""
    lists = {each.node: list(each.refs or ()) for each in told}
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(lists, Dumper=dumper, default_flow_style=False, sort_keys=False))


def keys(told: Sequence[Container]) -> dict[str, str]:
    """Name and value of each node's key in the datastore, scope system."""
    return {key_of(each.node): ",".join(each.refs or ()) for each in told}


def told_by_file(text: str, nodes: Sequence[str]) -> tuple[Container, ...]:
    """What the containers of `nodes` make of a partition file's text; ValueError if it is none."""
    try:
        loaded = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(loaded, Mapping):
        raise ValueError("it is no mapping of nodes to lists of references; every container ends at its start")
    for node, refs in loaded.items():
        if refs is not None and not (isinstance(refs, list) and all(isinstance(ref, str) for ref in refs)):
            raise ValueError(f"what it has for {node!r} is no list of references, and runs nothing")
    lists = {str(node): refs for node, refs in loaded.items()}
    return tuple(
        Container(node, "file", refs=None if lists.get(node) is None else tuple(lists[node])) for node in nodes
    )


def told_by_keys(values: Mapping[str, Optional[str]]) -> tuple[Container, ...]:
    """What the containers make of their keys' values; None: the key is missing."""
    return tuple(
        Container(node, "kvstore", refs=None if value is None else refs_of_key(value)) for node, value in values.items()
    )
