"""Frozen facts of the content on each node, parsed once from what the program on the node tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.errors import HostError

DIRECTORY, KIND = 0o040000, 0o170000


@dataclass(frozen=True)
class Entry:
    """A file, link or directory: `path` is below its root, `digest` stands for all that is in it."""

    path: str
    mode: int
    digest: str
    modified_ns: int

    @property
    def is_directory(self) -> bool:
        return self.mode & KIND == DIRECTORY

    @property
    def same(self) -> tuple[int, str]:
        """What must be alike on all nodes."""
        return self.mode, self.digest


@dataclass(frozen=True)
class Mount:
    """The mount in which a root lies."""

    point: str
    kind: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]

    @property
    def read_only(self) -> bool:
        """A bind mount is read-only by itself, a file system by its super options."""
        return "ro" in self.options or "ro" in self.super_options

    @property
    def server(self) -> Optional[str]:
        """Who serves it, with the address if it tells; None for a local file system."""
        if self.kind.split(".")[0] not in NETWORK:
            return None
        address = next((each[5:] for each in self.super_options if each.startswith("addr=")), "")
        return f"{self.source} ({address})" if address else self.source


NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "fuse",
    "glusterfs",
    "lustre",
    "gpfs",
    "9p",
    "virtiofs",
    "ocfs2",
    "gfs2",
)


@dataclass(frozen=True)
class Root:
    """packs, configs or virtualenvs on one node. `state`: read, absent, hung or error; `reason` says more."""

    name: str
    state: str = "read"
    reason: str = ""
    digest: str = ""
    files: int = 0
    bytes: int = 0
    read_bytes: int = 0
    unreadable: int = 0
    samples: tuple[tuple[str, str], ...] = ()
    mount: Optional[Mount] = None
    tops: Mapping[str, Entry] = field(default_factory=dict)
    rows: Mapping[str, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class Pack:
    """A pack's own words. `required_ns`: when its requirements.txt was changed; 0 if it requires nothing."""

    directory: str
    ref: str
    version: str
    required_ns: int


@dataclass(frozen=True)
class Virtualenv:
    """`broken` says why its python cannot be run; `made_for` and `runs` are versions such as 3.11."""

    name: str
    broken: str
    made_for: str
    runs: str
    made_ns: int


@dataclass(frozen=True)
class Unread:
    """A node that we could not look into."""

    reason: str


@dataclass(frozen=True)
class Node:
    """The content of one node."""

    python: str
    cached: bool
    roots: Mapping[str, Root]
    packs: tuple[Pack, ...] = ()
    virtualenvs: tuple[Virtualenv, ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()


Looked = Union[Node, Unread]


@dataclass(frozen=True)
class Registered:
    """What StackStorm's API knows: pack to version. `problem` says why it does not tell; None and {}: not asked."""

    packs: Optional[Mapping[str, str]] = None
    problem: Optional[str] = None


@dataclass(frozen=True)
class Snapshot:
    """All nodes, in the order of the configuration; `at` in epoch seconds."""

    nodes: Mapping[str, Looked]
    at: float
    registered: Registered = Registered()

    @property
    def read(self) -> dict[str, Node]:
        return {name: node for name, node in self.nodes.items() if isinstance(node, Node)}

    def roots(self, name: str) -> dict[str, Root]:
        """The root of each node where it could be read."""
        found = {node: each.roots[name] for node, each in self.read.items() if name in each.roots}
        return {node: root for node, root in found.items() if root.state == "read"}

    def rows(self) -> list[dict[str, Any]]:
        """A row for each root of each node."""
        rows: list[dict[str, Any]] = []
        for name, node in self.nodes.items():
            if isinstance(node, Unread):
                rows.append({"node": name, "root": "-", "state": "unread"})
                continue
            for root in node.roots.values():
                state: dict[str, Any] = {"node": name, "root": root.name, "state": root.state}
                if root.state == "read":
                    state.update(files=root.files, mb=round(root.bytes / 1e6, 1), digest=root.digest[:12])
                rows.append(state)
        return rows


def parse(output: bytes) -> Node:
    """The facts of a node. Raises HostError where the lines make no sense, or do not go to their end."""
    found = _Found()
    try:
        for line in output.split(b"\n"):
            if line:
                kind, *values = json.loads(line)
                getattr(found, f"take_{kind}")(*values)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise HostError("what python3 says there makes no sense: look at its login's messages") from None
    if found.python is None:
        raise HostError("the reader there was cut off before its end")
    roots = {name: Root(**values) for name, values in found.roots.items()}
    return Node(found.python, found.cached, roots, tuple(found.packs), tuple(found.virtualenvs), tuple(found.secrets))


class _Found:
    """What the lines have told so far; a method for each kind of line."""

    def __init__(self) -> None:
        self.python: Optional[str] = None
        self.cached = False
        self.roots: dict[str, dict[str, Any]] = {}
        self.packs: list[Pack] = []
        self.virtualenvs: list[Virtualenv] = []
        self.secrets: list[tuple[str, str]] = []

    def _root(self, name: str) -> dict[str, Any]:
        return self.roots.setdefault(name, {"name": name, "tops": {}, "rows": {}})

    def take_node(self, python: str, uid: int, cached: bool) -> None:
        self.python, self.cached = python, cached

    def take_absent(self, name: str) -> None:
        self._root(name).update(state="absent")

    def take_error(self, name: str, reason: str) -> None:
        self._root(name).update(state="error", reason=reason)

    def take_hung(self, name: str, where: str, *mount: str) -> None:
        self._root(name).update(state="hung", reason=where, mount=_mount(*mount))

    def take_mount(self, name: str, *mount: str) -> None:
        self._root(name).update(mount=_mount(*mount))

    def take_root(
        self, name: str, digest: str, files: int, size: int, read: int, unreadable: int, samples: list[list[str]]
    ) -> None:
        first = tuple((path, reason) for path, reason in samples)
        self._root(name).update(
            digest=digest, files=files, bytes=size, read_bytes=read, unreadable=unreadable, samples=first
        )

    def take_top(self, name: str, path: str, mode: int, digest: str, modified_ns: int) -> None:
        self._root(name)["tops"][path] = Entry(path, mode, digest, modified_ns)

    def take_row(self, name: str, path: str, mode: int, digest: str, modified_ns: int) -> None:
        self._root(name)["rows"][path] = Entry(path, mode, digest, modified_ns)

    def take_pack(self, directory: str, ref: str, version: str, required_ns: int) -> None:
        self.packs.append(Pack(directory, ref, version, required_ns))

    def take_venv(self, name: str, broken: str, made_for: str, runs: str, made_ns: int) -> None:
        self.virtualenvs.append(Virtualenv(name, broken, made_for, runs, made_ns))

    def take_secret(self, file: str, key: str) -> None:
        self.secrets.append((file, key))


def _mount(point: str, kind: str, source: str, options: str, super_options: str) -> Mount:
    return Mount(point, kind, source, tuple(options.split(",")), tuple(super_options.split(",")))
