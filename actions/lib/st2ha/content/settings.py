"""The layer `content` of the configuration: the nodes, the roots, and what is meant to be mounted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Optional

from st2ha.config import Section
from st2ha.errors import BadInput
from st2ha.hosts import Door, door, parse_prefix

ROOTS = {
    "packs": "/opt/stackstorm/packs",
    "configs": "/opt/stackstorm/configs",
    "virtualenvs": "/opt/stackstorm/virtualenvs",
}
NONE = "none"
SKIP = ("__pycache__", ".git")
CACHE = "/var/cache/st2ha"


@dataclass(frozen=True)
class ContentNode:
    """A StackStorm node. `read_only`: it mounts the content so on purpose."""

    name: str
    host: str
    prefix: tuple[str, ...]
    read_only: bool = False

    def door(self) -> Door:
        return door(self.prefix, {"name": self.name, "host": self.host})


@dataclass(frozen=True)
class Content:
    """`roots`: name to path. `mounts`: paths that must be mount points on every node."""

    nodes: tuple[ContentNode, ...]
    roots: dict[str, str]
    mounts: tuple[str, ...] = ()
    skip: tuple[str, ...] = SKIP
    system_packs: tuple[str, ...] = ("core", "packs")
    python: str = "python3"
    cache: str = CACHE
    mount_timeout_s: float = 3.0
    timeout_s: float = 60.0

    def node(self, name: str) -> ContentNode:
        return next(node for node in self.nodes if node.name == name)


def parse(section: Section) -> Content:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "nodes", "command", *ROOTS, "mounts", "skip", "system_packs", "python", "cache_directory", "mount_timeout_s",
        "timeout_s",
    )  # fmt: skip
    roots = {name: path for name in ROOTS if (path := _path(section, name, ROOTS[name])) is not None}
    if not roots:
        raise BadInput(f"{section.path} has {NONE} for packs, configs and virtualenvs: leave one of them in")
    return Content(
        nodes=_nodes(section),
        roots=roots,
        mounts=_mounts(section, roots),
        skip=words(section, "skip", SKIP),
        system_packs=words(section, "system_packs", ("core", "packs")),
        python=section.optional_text("python") or "python3",
        cache=_path(section, "cache_directory", CACHE) or CACHE,
        mount_timeout_s=section.number("mount_timeout_s", 3.0, low=0.1, high=600),
        timeout_s=section.number("timeout_s", 60.0, low=0.05, high=600),
    )


def _nodes(parent: Section) -> tuple[ContentNode, ...]:
    everywhere = parse_prefix(parent, "command")
    nodes: list[ContentNode] = []
    for section in parent.sections("nodes"):
        section.known("name", "host", "command", "read_only")
        name, own = section.text("name"), parse_prefix(section, "command")
        prefix = own if own is not None else everywhere
        if prefix is None:
            raise BadInput(
                f"{section.path} has no `command`: say how to run something there, `local` or for example "
                f"`ssh {{host}} sudo`, here or for all of {parent.path}"
            )
        if name in (node.name for node in nodes):
            raise BadInput(f"{section.at('name')} is {name!r}, which is used twice: give each node its own name")
        host = section.optional_text("host") or name
        nodes.append(ContentNode(name, host, prefix, section.flag("read_only", False)))
    if not nodes:
        raise BadInput(f"{parent.at('nodes')} is empty: list each StackStorm node with its name and command")
    return tuple(nodes)


def words(section: Section, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A list, or words separated by commas."""
    value = section.values.get(name)
    if value in (None, "", []):
        return default
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
        raise BadInput(f"{section.at(name)} cannot be read: give words, separated by commas, or a list of them")
    return tuple(item.strip() for item in items)


def _mounts(section: Section, roots: dict[str, str]) -> tuple[str, ...]:
    found = tuple(_absolute(path, section.at("mounts")) for path in words(section, "mounts", ()))
    for point in found:
        if not any(path == point or path.startswith(point + "/") for path in roots.values()):
            raise BadInput(
                f"{section.at('mounts')} holds {point[:60]!r}: no content lies there; name one of "
                f"{', '.join(roots.values())}, or a directory above"
            )
    return found


def _path(section: Section, name: str, default: str) -> Optional[str]:
    text = section.optional_text(name)
    return None if text == NONE else _absolute(text or default, section.at(name))


def _absolute(path: str, where: str) -> str:
    if not path.startswith("/") or "\0" in path or os.path.normpath(path) == "/":
        raise BadInput(f"{where} is {path[:60]!r}: give an absolute path below /")
    return os.path.normpath(path)
