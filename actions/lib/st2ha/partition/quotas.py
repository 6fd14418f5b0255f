"""How many sensors each node gets: the counts whose fullest node, by its weight, is as low as it can be.

D'Hondt's rule: the next sensor goes where (count + 1) / weight is lowest. It has the two properties on which few moves
rest: no count shrinks when a node goes, and none grows when one comes. Ties go to nodes that hold more already.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence


def quotas(total: int, weights: Sequence[float], held: Sequence[int]) -> list[int]:
    """The counts, which sum up to `total`; `held` is what each node holds now.

    Every count of D'Hondt is at least the rounded-down proportion, so that only the rest needs the heap.
    """
    whole = math.fsum(weights)
    counts = [max(0, math.floor(total * weight / whole) - 1) for weight in weights]
    heap = [_bid(node, counts[node], weights[node], held[node]) for node in range(len(weights))]
    heapq.heapify(heap)
    for _ in range(total - sum(counts)):
        node = heap[0][-1]
        counts[node] += 1
        heapq.heapreplace(heap, _bid(node, counts[node], weights[node], held[node]))
    return counts


def _bid(node: int, count: int, weight: float, held: int) -> tuple[float, bool, int]:
    """A node's claim to one more: what it would carry then, and whether that would be one more than it holds."""
    return (count + 1) / weight, count >= held, node
