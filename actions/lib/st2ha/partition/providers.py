"""What a sensor container runs, by StackStorm's own rules: the model that today's truth and every plan is held against.

Source: st2reactor/container/partitioners.py, hash_partitioner.py and partitioner_lookup.py. A Container is what one of
them is told; a Share is what it makes of it; Ownership answers for a whole fleet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from st2ha.partition.hash import sensor_hash
from st2ha.partition.ranges import Arc, HashRange, Misuse, arcs, read

PROVIDERS = ("default", "hash", "kvstore", "file")
NOBODY = "runs-nothing"
"""A word that is no sensor's reference (those have a dot): a list of it alone runs nothing under every provider."""


@dataclass(frozen=True)
class Container:
    """What one sensor container is told: its part of [sensorcontainer], and its key or its list in the file.

    `hash_ranges` belongs to provider hash; `refs` to kvstore and file, None if its key or entry is missing.
    """

    node: str
    provider: str = "default"
    hash_ranges: Optional[str] = None
    refs: Optional[tuple[str, ...]] = None


@dataclass(frozen=True)
class Share:
    """What a container runs: everything, the sensors whose hash is in `ranges`, or those of `refs`.

    `ended` says why the container does not run at all; `trap` what surprises about what it does run.
    """

    everything: bool = False
    ranges: tuple[HashRange, ...] = ()
    refs: frozenset[str] = frozenset()
    ended: Optional[str] = None
    trap: Optional[str] = None
    misuses: tuple[Misuse, ...] = ()


def key_of(node: str) -> str:
    """The name of a node's key, in scope system, that provider kvstore reads once, at its start."""
    return f"{node}.sensor_partition"


def refs_of_key(value: str) -> tuple[str, ...]:
    """The value of a key as provider kvstore reads it; an empty one is a list of one empty text and runs nothing."""
    return tuple(ref.strip() for ref in value.split(","))


def share_of(container: Container) -> Share:
    """What StackStorm makes of it."""
    return {"hash": _hash_share, "kvstore": _key_share, "file": _file_share}.get(container.provider, _default_share)(
        container
    )


def _default_share(container: Container) -> Share:
    if container.provider != "default":
        return Share(ended=f"provider {container.provider!r} does not exist")
    return Share(everything=True)


def _hash_share(container: Container) -> Share:
    if container.hash_ranges is None:
        return Share(ended="hash_ranges is missing")
    reading = read(container.hash_ranges)
    ended = "; ".join(misuse.sentence() for misuse in reading.fatal) or None
    return Share(ranges=reading.ranges, ended=ended, misuses=reading.misuses)


def _key_share(container: Container) -> Share:
    if container.refs is None:
        return Share(ended=f"the key {key_of(container.node)} is missing")
    return Share(refs=frozenset(container.refs))


def _file_share(container: Container) -> Share:
    if container.refs is None:
        return Share(ended=f"the file has no list for {container.node}")
    if not container.refs:
        return Share(everything=True, trap="its list in the file is empty, by which StackStorm runs all sensors")
    return Share(refs=frozenset(container.refs))


def same(one: Container, other: Container) -> bool:
    """Whether both tell the same node the same, in whatever words: MIN is 0, and a list has no order."""
    alike = (one.node, one.provider) == (other.node, other.provider)
    return alike and share_of(one) == share_of(other) and (one.refs is None) == (other.refs is None)


class Ownership:
    """Who runs a sensor, for all containers of a fleet at once. A container that ended runs nothing."""

    def __init__(self, containers: Iterable[Container]) -> None:
        self.containers = tuple(containers)
        self.shares = {container.node: share_of(container) for container in self.containers}
        running = {node: share for node, share in self.shares.items() if share.ended is None}
        self._everywhere = tuple(node for node, share in running.items() if share.everything)
        by_hash = {node: share.ranges for node, share in running.items() if share.ranges}
        self.arcs: tuple[Arc, ...] = arcs(by_hash)
        self._starts = [arc.range.start for arc in self.arcs]
        self._hashed = bool(by_hash)
        self._listed: dict[str, tuple[str, ...]] = {}
        for node, share in running.items():
            for ref in share.refs:
                self._listed[ref] = (*self._listed.get(ref, ()), node)

    @property
    def uses_hash(self) -> bool:
        """Whether any container that runs has a range; without one the arcs mean nothing."""
        return self._hashed

    def owners(self, ref: str, number: Optional[int] = None) -> tuple[str, ...]:
        """The nodes that run a sensor once they were started with this; `number` is its hash where it is known."""
        found = self._everywhere + self._listed.get(ref, ())
        if not self._hashed:
            return found
        at = sensor_hash(ref) if number is None else number
        return found + self.arcs[bisect_right(self._starts, at) - 1].nodes
