"""The layer `sensors` of the configuration: the sensor nodes, and how sensors are partitioned among them today."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from st2ha.config import Section
from st2ha.errors import BadInput
from st2ha.hosts import Door, door, parse_prefix
from st2ha.partition.fleet import Node, Wish
from st2ha.partition.providers import PROVIDERS, Container

PARTITION_FILE = "/etc/st2/sensor_partition.yaml"
ST2_CONF = "/etc/st2/st2.conf"
STOP = "systemctl stop st2sensorcontainer"
START = "systemctl start st2sensorcontainer"


@dataclass(frozen=True)
class SensorsLimits:
    """From where a healthy number is a finding."""

    imbalance: float = 1.5  # load of the fullest node against the mean
    duplicate_s: float = 5.0  # between two reports of one event
    settle_s: float = 20.0  # after the start of a container its sensors may still be starting


@dataclass(frozen=True)
class Place:
    """Where a sensor node is. `prefix` leads inside, None: we may not look there; `host` is its name in the registry.

    `stop` and `start` are run inside the node. `{name}` and `{host}` in them and in the prefix are the node's.
    """

    name: str
    host: Optional[str] = None
    prefix: Optional[tuple[str, ...]] = None
    config_file: str = ST2_CONF
    stop: tuple[str, ...] = tuple(STOP.split())
    start: tuple[str, ...] = tuple(START.split())

    @property
    def names(self) -> dict[str, str]:
        return {"name": self.name, "host": self.host or self.name}

    def door(self) -> Door:
        """The way in; only for a node that has a prefix."""
        return door(self.prefix or (), self.names)

    def words(self, command: tuple[str, ...]) -> list[str]:
        """A command with this node's names in its places."""
        return [word.format(**self.names) for word in command]


@dataclass(frozen=True)
class Takeover:
    """When a silent node's sensors may go to the others.

    `witness` is run inside the other nodes and fails if they do not reach the lost one; `fence` is run here and makes
    sure that it is off.
    """

    grace_s: float = 60.0
    max_nodes: int = 1
    witness: Optional[tuple[str, ...]] = None
    fence: Optional[tuple[str, ...]] = None


OWN = tuple(f"ha.{name}Sensor" for name in ("Content", "Edge", "Mongodb", "Mysql", "Partition", "Rabbitmq"))
"""This pack's sensors, all of which are under its lease where one is configured."""


@dataclass(frozen=True)
class Sensors:
    """One fleet. `hash_ranges` are those that the nodes' st2.conf hold today, by node, where we may not look inside."""

    nodes: tuple[Node, ...]
    provider: Optional[str] = None  # not said: what runs today is not known
    hash_ranges: Mapping[str, str] = field(default_factory=dict)
    partition_file: str = PARTITION_FILE
    preferred: tuple[Wish, ...] = ()
    never: tuple[Wish, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    leased: tuple[str, ...] = ()  # sensors that run on several nodes, and work on one of them
    limits: SensorsLimits = SensorsLimits()
    places: tuple[Place, ...] = ()
    takeover: Takeover = Takeover()
    timeout_s: float = 10.0
    stop_s: float = 60.0
    start_s: float = 60.0

    def with_own_leased(self) -> Sensors:
        """With this pack's sensors among those that may be on several nodes."""
        return replace(self, leased=tuple(dict.fromkeys((*self.leased, *OWN))))

    def place(self, name: str) -> Place:
        """Where a node is; only for a name of `nodes`."""
        return next((place for place in self.places if place.name == name), Place(name))

    def told_by_config(self) -> Optional[tuple[Container, ...]]:
        """What the containers are told, where the configuration alone says it (providers default and hash)."""
        if self.provider == "default":
            return tuple(Container(node.name) for node in self.nodes)
        if self.provider == "hash" and self.hash_ranges:
            return tuple(Container(node.name, "hash", self.hash_ranges.get(node.name)) for node in self.nodes)
        return None


def parse(section: Section) -> Sensors:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "provider", "partition_file", "nodes", "costs", "leased", "limits", "command", "config_file", "stop_command",
        "start_command", "takeover", "timeout_s", "stop_s", "start_s",
    )  # fmt: skip
    parts = section.sections("nodes")
    if not parts:
        raise BadInput(f"{section.at('nodes')} is empty: list the sensor nodes by their sensor_node_name")
    nodes: list[Node] = []
    ranges: dict[str, str] = {}
    preferred: list[Wish] = []
    never: list[Wish] = []
    for part in parts:
        part.known(
            "name", "weight", "hash_ranges", "preferred", "never", "host", "command", "config_file", "stop_command",
            "start_command",
        )  # fmt: skip
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
        leased=tuple(_texts(section, "leased")),
        limits=_limits(section),
        places=tuple(_place(section, part) for part in parts),
        takeover=_takeover(section),
        timeout_s=section.number("timeout_s", 10.0, low=0.05, high=600),
        stop_s=section.number("stop_s", 60.0, low=1, high=3600),
        start_s=section.number("start_s", 60.0, low=1, high=3600),
    )


def _place(parent: Section, section: Section) -> Place:
    """A node's own settings before those of the layer."""

    def own(name: str) -> Section:
        return section if section.optional_text(name) is not None else parent

    path = own("config_file").optional_text("config_file") or ST2_CONF
    if not path.startswith("/"):
        raise BadInput(f"{own('config_file').at('config_file')} is {path[:60]!r}: give an absolute path")
    return Place(
        name=section.text("name"),
        host=section.optional_text("host"),
        prefix=parse_prefix(own("command"), "command"),
        config_file=path,
        stop=_command(own("stop_command"), "stop_command") or tuple(STOP.split()),
        start=_command(own("start_command"), "start_command") or tuple(START.split()),
    )


def _takeover(parent: Section) -> Takeover:
    section, defaults = parent.optional_section("takeover"), Takeover()
    if section is None:
        return defaults
    section.known("grace_s", "max_nodes", "witness_command", "fence_command")
    return Takeover(
        grace_s=section.number("grace_s", defaults.grace_s, low=0, high=3600),
        max_nodes=int(section.number("max_nodes", defaults.max_nodes, low=1, high=1000)),
        witness=_command(section, "witness_command"),
        fence=_command(section, "fence_command"),
    )


def _command(section: Section, name: str) -> Optional[tuple[str, ...]]:
    """A command's words with their places {name} and {host} still open."""
    text = section.optional_text(name)
    try:
        words = tuple(shlex.split(text or ""))
        for word in words:
            word.format(name="", host="")
    except (ValueError, KeyError, IndexError, AttributeError):
        raise BadInput(
            f"{section.at(name)} cannot be read: write it as in a shell, with {{name}} or {{host}} for the node"
        ) from None
    return words or None


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
