"""Hash ranges as st2.conf spells them: `MIN..1024|4096..MAX`, half-open, and every way in which they can be wrong.

Source: st2reactor/container/hash_partitioner.py. What StackStorm makes of a misuse is told in MISUSES, because it tells
nobody: a container that cannot read its ranges ends at its start, all other misuses are taken without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Union

from st2ha.partition.hash import SPACE

NOTHING = "0..0"
"""An expression that StackStorm accepts and that owns no sensor; an empty text would end the container."""

MISUSES: Mapping[str, str] = {
    "empty": "the container ends at its start",
    "malformed": "the container ends at its start",
    "not numeric": "the container ends at its start",
    "reversed": "the container ends at its start",
    "clamped": "StackStorm takes the nearest bound and says nothing",
    "void": "it owns no sensor, StackStorm says nothing",
    "overlapping": "the node runs each sensor once; one of the two ranges is of no use",
}
"""What is wrong with a node's expression -> what StackStorm does about it."""

FATAL = frozenset({"empty", "malformed", "not numeric", "reversed"})


@dataclass(frozen=True, order=True)
class HashRange:
    """The hashes from `start` to `end`, the end not included; 0 <= start <= end <= 2^32."""

    start: int
    end: int

    def __contains__(self, number: int) -> bool:
        return self.start <= number < self.end

    def __str__(self) -> str:
        return f"{_bound(self.start)}..{_bound(self.end)}"

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Misuse:
    """One mistake in a node's expression: `kind` is a key of MISUSES, `part` the text that has it."""

    kind: str
    part: str

    @property
    def fatal(self) -> bool:
        """Whether the container does not even start."""
        return self.kind in FATAL

    def sentence(self) -> str:
        return f"{self.part!r} is {self.kind}: {MISUSES[self.kind]}"


@dataclass(frozen=True)
class Reading:
    """An expression as StackStorm reads it. After a fatal misuse no range is in force."""

    ranges: tuple[HashRange, ...]
    misuses: tuple[Misuse, ...] = ()

    @property
    def fatal(self) -> tuple[Misuse, ...]:
        return tuple(misuse for misuse in self.misuses if misuse.fatal)


def read(expression: str) -> Reading:
    """The ranges of an expression, normalised (sorted, joined, without void ones), and all that is wrong with it."""
    found: list[HashRange] = []
    misuses: list[Misuse] = []
    for text in expression.split("|"):
        part = text.strip()
        one = _read_one(part)
        if isinstance(one, Misuse):
            misuses.append(one)
            continue
        misuses += [Misuse("clamped", part)] * _is_clamped(part) + [Misuse("void", part)] * (one.size == 0)
        misuses += [Misuse("overlapping", part)] * any(one.start < old.end and old.start < one.end for old in found)
        found.append(one)
    fatal = any(misuse.fatal for misuse in misuses)
    return Reading(() if fatal else joined(found), tuple(misuses))


def show(ranges: Iterable[HashRange]) -> str:
    """The shortest expression of these ranges; of none, one that owns nothing."""
    return "|".join(map(str, joined(ranges))) or NOTHING


def joined(ranges: Iterable[HashRange]) -> tuple[HashRange, ...]:
    """Sorted, those that touch or overlap as one, without void ones."""
    result: list[HashRange] = []
    for one in sorted(ranges):
        if one.size == 0:
            continue
        if result and one.start <= result[-1].end:
            result[-1] = HashRange(result[-1].start, max(result[-1].end, one.end))
        else:
            result.append(one)
    return tuple(result)


@dataclass(frozen=True)
class Arc:
    """A piece of the hashes and the nodes that own all of it: none is a gap, several overlap."""

    range: HashRange
    nodes: tuple[str, ...]


def arcs(ranges: Mapping[str, Iterable[HashRange]]) -> tuple[Arc, ...]:
    """0 to 2^32 cut where an owner changes: every hash is in exactly one arc."""
    turns: dict[int, list[tuple[str, bool]]] = {0: [], SPACE: []}
    for node, owned in ranges.items():
        for one in joined(owned):
            turns.setdefault(one.start, []).append((node, True))
            turns.setdefault(one.end, []).append((node, False))
    bounds, owners, result = sorted(turns), dict[str, None](), list[Arc]()
    for start, end in zip(bounds, bounds[1:]):
        for node, begins in sorted(turns[start], key=lambda turn: turn[1]):
            if begins:
                owners[node] = None
            else:
                del owners[node]
        result.append(Arc(HashRange(start, end), tuple(name for name in ranges if name in owners)))
    return tuple(result)


def gaps(found: Iterable[Arc]) -> tuple[HashRange, ...]:
    """What nobody owns: a sensor there runs nowhere, and nobody is told."""
    return joined(arc.range for arc in found if not arc.nodes)


def overlaps(found: Iterable[Arc]) -> tuple[Arc, ...]:
    """What several nodes own: a sensor there runs on each of them, so that each event comes several times."""
    return tuple(arc for arc in found if len(arc.nodes) > 1)


def _read_one(part: str) -> Union[HashRange, Misuse]:
    if not part:
        return Misuse("empty", part)
    bounds = [bound.strip() for bound in part.split("..")]
    if len(bounds) != 2:
        return Misuse("malformed", part)
    try:
        start, end = (min(max(_number(bound), 0), SPACE) for bound in bounds)
    except ValueError:
        return Misuse("not numeric", part)
    return HashRange(start, end) if start <= end else Misuse("reversed", part)


def _is_clamped(part: str) -> bool:
    return any(not 0 <= _number(bound.strip()) <= SPACE for bound in part.split(".."))


def _number(bound: str) -> int:
    """As Python's int reads it (a sign and underscores are allowed), which is what StackStorm uses."""
    named = {"min": 0, "max": SPACE}.get(bound.lower())
    return int(bound) if named is None else named


def _bound(number: int) -> str:
    return {0: "MIN", SPACE: "MAX"}.get(number, str(number))
