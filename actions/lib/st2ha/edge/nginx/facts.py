"""What is known of the balancers at one moment, parsed once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.edge.content import Reply
from st2ha.probe import Silent


@dataclass(frozen=True)
class Unread:
    """We could not look inside a balancer, and why."""

    why: str


@dataclass(frozen=True)
class Worker:
    """An nginx worker; `closing` ones serve the connections of an earlier configuration only."""

    pid: int
    age_s: float
    closing: bool


@dataclass(frozen=True)
class ConfFile:
    """A file that nginx reads: `changed_s` is how long ago it was changed."""

    path: str
    text: str = field(repr=False)
    changed_s: Optional[float] = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Owned:
    """A file that a switch writes: None for one that is not there. `former` is what undo gives back.

    `unfinished`: a switch was killed after it had put its file in place and before nginx had tested it.
    """

    path: str
    content: Optional[bytes] = field(repr=False)
    former: Optional[bytes] = field(default=None, repr=False)
    writable: bool = False
    unfinished: bool = False

    @property
    def digest(self) -> str:
        """Of its content; `absent` without one."""
        return "absent" if self.content is None else hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Disk:
    """A balancer from inside: its files, what nginx says of them (`refusal`, None: it takes them), its processes."""

    refusal: Optional[str]
    files: tuple[ConfFile, ...]
    master: Optional[int]
    workers: tuple[Worker, ...]
    owned: Mapping[str, Owned]
    has_vip: bool = False

    @property
    def serving(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in self.workers if not worker.closing)

    @property
    def closing(self) -> tuple[Worker, ...]:
        return tuple(worker for worker in self.workers if worker.closing)

    def includes(self, path: str) -> bool:
        """Whether nginx reads the file."""
        return any(file.path == path for file in self.files)


@dataclass(frozen=True)
class Marker:
    """What runs, by the word of a fresh connection."""

    generation: str
    group: str


@dataclass(frozen=True)
class Front:
    """An address that clients use: the marker there (None: this pack's file does not run), and each upstream's answer.

    `occupied`: something else accepts connections on the marker's port.
    `inner` is asked through the marker's server, `members` one node each by way of the balancer, `public` as clients.
    """

    marker: Union[Marker, Silent, None]
    occupied: bool = False
    inner: Mapping[str, Union[Reply, Silent]] = field(default_factory=dict)
    public: Mapping[str, Union[Reply, Silent]] = field(default_factory=dict)
    members: Mapping[tuple[str, str], Union[Reply, Silent]] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """All of the edge: balancers from inside, addresses (`vip` among them) from outside, and nodes asked directly.

    `servers` are the upstreams' nodes by balancer and upstream, `passed` the upstreams that anything is passed to;
    `at` in epoch seconds.
    """

    disks: Mapping[str, Union[Disk, Unread]]
    fronts: Mapping[str, Front]
    nodes: Mapping[tuple[str, str], Union[Reply, Silent]]
    servers: Mapping[str, Mapping[str, tuple[str, ...]]]
    passed: Mapping[str, frozenset[str]]
    at: float

    def disk(self, name: str) -> Optional[Disk]:
        found = self.disks.get(name)
        return found if isinstance(found, Disk) else None

    def marker(self, name: str) -> Optional[Marker]:
        front = self.fronts.get(name)
        return front.marker if front is not None and isinstance(front.marker, Marker) else None

    @property
    def holders(self) -> tuple[str, ...]:
        """The balancers that have the VIP."""
        return tuple(name for name, disk in self.disks.items() if isinstance(disk, Disk) and disk.has_vip)

    def rows(self) -> list[dict[str, Any]]:
        """The topology as a table."""
        return [self._row(name) for name in self.disks]

    def _row(self, name: str) -> dict[str, Any]:
        disk, marker = self.disk(name), self.marker(name)
        return {
            "balancer": name,
            "vip": disk.has_vip if disk else None,
            "running": disk.master is not None if disk else None,
            "group": marker.group if marker else None,
            "generation": marker.generation if marker else None,
            "valid": disk.refusal is None if disk else None,
            "workers": len(disk.serving) if disk else None,
            "old_workers": len(disk.closing) if disk else None,
            "servers": {upstream: list(found) for upstream, found in self.servers.get(name, {}).items()},
        }
