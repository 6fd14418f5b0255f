"""One range a node: the cuts between sensors, in the order of their hashes, that make the fullest node lowest."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from st2ha.partition.quotas import quotas

PRECISION = 1e-9


def contiguous(costs: Sequence[float], weights: Sequence[float]) -> list[int]:
    """The node of each item, items and nodes both in their order: the best that contiguous ranges can do.

    Items are the different hashes with what they cost. Where all cost the same, the counts are D'Hondt's quotas and
    the optimum of any assignment. Else the lowest bound is searched at which filling node after node has room for all.
    """
    if len(set(costs)) <= 1:
        counts = quotas(len(costs), weights, [0] * len(weights))
        return [node for node, count in enumerate(counts) for _ in range(count)]
    sums = [0.0, *accumulate(costs)]
    low, high = sums[-1] / sum(weights), max(sums[-1] / weight for weight in weights)
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        if _filled(sums, weights, middle)[-1] == len(costs):
            high = middle
        else:
            low = middle
    cuts = _even_cuts(sums, weights, high * (1 + PRECISION))
    return [bisect_right(cuts, item) for item in range(len(costs))]


def _filled(sums: Sequence[float], weights: Sequence[float], bound: float) -> list[int]:
    """Where each node ends if it takes as much as `bound` per weight allows, from the left."""
    ends, at = [], 0
    for weight in weights:
        at = _reach(sums, at, weight * bound)
        ends.append(at)
    return ends


def _even_cuts(sums: Sequence[float], weights: Sequence[float], bound: float) -> list[int]:
    """Cuts as near to the proportions as `bound` allows: filling from the left alone would starve the last nodes."""
    mirrored = [sums[-1] - value for value in reversed(sums)]
    rest = _filled(mirrored, weights[::-1], bound)
    cuts: list[int] = []
    at, share = 0, 0.0
    for number, weight in enumerate(weights[:-1]):
        share += weight
        first = max(at, len(sums) - 1 - rest[len(weights) - 2 - number])
        last = max(first, _reach(sums, at, weight * bound))
        at = min(max(_nearest(sums, sums[-1] * share / sum(weights)), first), last)
        cuts.append(at)
    return cuts


def _reach(sums: Sequence[float], start: int, room: float) -> int:
    """The first item that does not fit any more into `room`, beginning at `start`."""
    return bisect_right(sums, sums[start] + room * (1 + PRECISION), start) - 1


def _nearest(sums: Sequence[float], value: float) -> int:
    after = min(bisect_left(sums, value), len(sums) - 1)
    return after - 1 if after and value - sums[after - 1] < sums[after] - value else after
