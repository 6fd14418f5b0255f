"""Sets of transactions in both dialects: what one server has that another has not. Pure.

MySQL names a transaction `uuid:number` (since 8.3 also `uuid:tag:number`) and a set as intervals. MariaDB names it
`domain-server-number`; within a domain the numbers rise from one server to the next, and a position is the last number
of each (domain, server). Both become intervals by origin here: `uuid[:tag]` or `domain-server`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Interval = tuple[int, int]


@dataclass(frozen=True)
class Gtids:
    """A set of transactions: intervals (first and last, inclusive) by origin, sorted."""

    by_origin: tuple[tuple[str, tuple[Interval, ...]], ...] = ()
    mariadb: bool = False

    @classmethod
    def mysql_set(cls, text: str) -> Gtids:
        """From `uuid:1-5:7,uuid:tag:1-3`; ValueError if it is none."""
        found: dict[str, list[Interval]] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            uuid, *rest = part.lower().split(":")
            origin = uuid
            for piece in rest:
                if re.fullmatch(r"\d+(-\d+)?", piece):
                    first, _, last = piece.partition("-")
                    found.setdefault(origin, []).append((int(first), int(last or first)))
                else:
                    origin = f"{uuid}:{piece}"
        return cls(_sorted({origin: _merged(intervals) for origin, intervals in found.items()}))

    @classmethod
    def mariadb_position(cls, *texts: str) -> Gtids:
        """From positions such as `0-1-345,0-2-360`: everything up to the last number of each origin."""
        last: dict[str, int] = {}
        for part in filter(None, (part.strip() for text in texts for part in (text or "").split(","))):
            domain, server, number = part.split("-")
            origin = f"{domain}-{server}"
            last[origin] = max(last.get(origin, 0), int(number))
        return cls(_sorted({origin: ((1, number),) for origin, number in last.items()}), True)

    def __bool__(self) -> bool:
        return bool(self.by_origin)

    def __str__(self) -> str:
        """As the servers write it; MariaDB's intervals as `0-1-346..356`."""
        parts = []
        for origin, intervals in self.by_origin:
            if self.mariadb:
                parts += [
                    f"{origin}-{first}..{last}" if last > first else f"{origin}-{last}" for first, last in intervals
                ]
            else:
                parts.append(":".join([origin, *(f"{a}-{b}" if b > a else str(a) for a, b in intervals)]))
        return ", ".join(parts)

    @property
    def count(self) -> int:
        """How many transactions are in the set."""
        return sum(last - first + 1 for _, intervals in self.by_origin for first, last in intervals)

    def union(self, other: Gtids) -> Gtids:
        """What one of both has."""
        mine, theirs = dict(self.by_origin), dict(other.by_origin)
        merged = {each: _merged([*mine.get(each, ()), *theirs.get(each, ())]) for each in {*mine, *theirs}}
        return Gtids(_sorted(merged), self.mariadb or other.mariadb)

    def beyond(self, other: Gtids) -> Gtids:
        """What this one has and the other has not: on a replica against its primary, the errant transactions.

        MariaDB: an origin that the other has never heard of, and behind which this one has transactions of the same
        domain that the other has, came before those: a server that was copied does not know the older origins.
        """
        theirs, covered = dict(other.by_origin), self._covered(other) if self.mariadb else {}
        left: dict[str, tuple[Interval, ...]] = {}
        for origin, intervals in self.by_origin:
            floor = 0 if origin in theirs else covered.get(_domain(origin), 0)
            known = [*theirs.get(origin, ()), *([(1, floor)] if floor else [])]
            rest = _minus(intervals, _merged(known))
            if rest:
                left[origin] = rest
        return Gtids(_sorted(left), self.mariadb)

    def behind(self, other: Gtids) -> int:
        """How many transactions of the other this one lacks. MariaDB: by the last number in each domain."""
        if not self.mariadb:
            return other.beyond(self).count
        mine = self._by_domain()
        return sum(max(0, last - mine.get(domain, 0)) for domain, last in other._by_domain().items())

    def _covered(self, other: Gtids) -> dict[str, int]:
        theirs, covered = dict(other.by_origin), dict[str, int]()
        for origin, intervals in self.by_origin:
            last = intervals[-1][1]
            if origin in theirs and theirs[origin][-1][1] >= last:
                covered[_domain(origin)] = max(covered.get(_domain(origin), 0), last)
        return covered

    def _by_domain(self) -> dict[str, int]:
        last: dict[str, int] = {}
        for origin, intervals in self.by_origin:
            last[_domain(origin)] = max(last.get(_domain(origin), 0), intervals[-1][1])
        return last


def _domain(origin: str) -> str:
    return origin.split("-")[0]


def _sorted(found: Mapping[str, tuple[Interval, ...]]) -> tuple[tuple[str, tuple[Interval, ...]], ...]:
    return tuple(sorted((origin, intervals) for origin, intervals in found.items() if intervals))


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _minus(intervals: tuple[Interval, ...], other: tuple[Interval, ...]) -> tuple[Interval, ...]:
    return tuple(left for interval in intervals for left in _without(interval, other))


def _without(interval: Interval, other: tuple[Interval, ...]) -> Iterator[Interval]:
    first, last = interval
    for low, high in other:
        if high < first or low > last:
            continue
        if low > first:
            yield first, low - 1
        first = high + 1
    if first <= last:
        yield first, last
