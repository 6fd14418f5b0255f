"""The layer `sensors` of the configuration: the sensor nodes, and how sensors are partitioned among them today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from st2ha.config import Section
from st2ha.errors import BadInput
from st2ha.partition.fleet import Node, Wish
from st2ha.partition.providers import PROVIDERS, Container

PARTITION_FILE = "/etc/st2/sensor_partition.yaml"


@dataclass(frozen=True)
class SensorsLimits:
    """From where a healthy number is a finding."""

    imbalance: float = 1.5  # load of the fullest node against the mean
    duplicate_s: float = 5.0  # between two reports of one event


@dataclass(frozen=True)
class Sensors:
    """One fleet. `hash_ranges` are those that the nodes' st2.conf hold today, by node."""

    nodes: tuple[Node, ...]
    provider: Optional[str] = None  # not said: what runs today is not known
    hash_ranges: Mapping[str, str] = field(default_factory=dict)
    partition_file: str = PARTITION_FILE
    preferred: tuple[Wish, ...] = ()
    never: tuple[Wish, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    limits: SensorsLimits = SensorsLimits()

    def told_by_config(self) -> Optional[tuple[Container, ...]]:
        """What the containers are told, where the configuration alone says it (providers default and hash)."""
        if self.provider == "default":
            return tuple(Container(node.name) for node in self.nodes)
        if self.provider == "hash" and self.hash_ranges:
            return tuple(Container(node.name, "hash", self.hash_ranges.get(node.name)) for node in self.nodes)
        return None


def parse(section: Section) -> Sensors:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known("provider", "partition_file", "nodes", "costs", "limits")
    parts = section.sections("nodes")
    if not parts:
        raise BadInput(f"{section.at('nodes')} is empty: list the sensor nodes by their sensor_node_name")
    nodes: list[Node] = []
    ranges: dict[str, str] = {}
    preferred: list[Wish] = []
    never: list[Wish] = []
    for part in parts:
        part.known("name", "weight", "hash_ranges", "preferred", "never")
        node = Node(part.text("name"), part.number("weight", 1.0, low=1e-6, high=1e9))
        if node.name in {each.name for each in nodes}:
            raise BadInput(f"{part.at('name')} is {node.name!r}, which is used twice: give each node a name of its own")
        nodes.append(node)
        text = part.optional_text("hash_ranges")
        if text is not None:
            ranges[node.name] = text
        preferred += [Wish(what, node.name) for what in _texts(part, "preferred")]
        never += [Wish(what, node.name) for what in _texts(part, "never")]
    return Sensors(
        nodes=tuple(nodes),
        provider=_provider(section),
        hash_ranges=ranges,
        partition_file=section.optional_text("partition_file") or PARTITION_FILE,
        preferred=tuple(preferred),
        never=tuple(never),
        costs=_costs(section),
        limits=_limits(section),
    )


def _limits(parent: Section) -> SensorsLimits:
    section, defaults = parent.optional_section("limits"), SensorsLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    return SensorsLimits(**{n: section.number(n, default, low=0, high=1e9) for n, default in vars(defaults).items()})


def _provider(section: Section) -> Optional[str]:
    value = section.optional_text("provider")
    if value is not None and value not in PROVIDERS:
        raise BadInput(f"{section.at('provider')} is {value!r}: use one of {', '.join(PROVIDERS)}")
    return value


def _texts(section: Section, name: str) -> list[str]:
    value: Any = section.values.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise BadInput(f"{section.at(name)} must be a list of references or packs, for example [linux.FileWatchSensor]")
    return value


def _costs(parent: Section) -> dict[str, float]:
    section = parent.optional_section("costs")
    if section is None:
        return {}
    return {str(ref): section.number(ref, 1.0, low=1e-6, high=1e9) for ref in section.values}
