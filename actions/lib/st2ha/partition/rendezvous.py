"""Who goes where by affinity, bounded by quotas: weighted rendezvous hashing where no node exceeds its share.

A column holds one node's affinity to every sensor. Each sensor applies to the nodes in the order of its affinity, each
full node keeps those to whom it is closest: deferred acceptance (Gale and Shapley), whose outcome does not depend on
the order of sensors. Whoever has a home there already (+1) or is preferred there (+2) is closer than all others, so
that only what exceeds a quota moves.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterable, Sequence
from itertools import repeat

import mmh3

from st2ha.partition.hash import SPACE

HOME, PREFERRED, NEVER = 1.0, 2.0, -1.0
NOWHERE = -1
Column = array  # of doubles: 0 to 1, plus HOME and PREFERRED


def rendezvous_columns(refs: Sequence[str], names: Sequence[str], weights: Sequence[float]) -> list[Column[float]]:
    """Affinity by mmh3: of each node's draw for a sensor the highest wins, in proportion to the weights.

    A draw u of 0 to 1 counts as u ** (1 / weight), after Schindelhauer and Schomaker's logarithmic method.
    """
    heaviest = max(weights)
    columns = []
    for name, weight in zip(names, weights):
        draws = map(mmh3.hash, refs, repeat(mmh3.hash(name, 0, False)), repeat(False))
        power = heaviest / weight
        if power == 1.0:
            columns.append(array("d", [draw / SPACE for draw in draws]))
        else:
            columns.append(array("d", [math.pow((draw + 0.5) / SPACE, power) for draw in draws]))
    return columns


def ring_columns(hashes: Sequence[int], anchors: Sequence[int]) -> list[Column[float]]:
    """Affinity by place on the ring: the closer behind a node's anchor, the closer to it. Ranges stay whole."""
    return [array("d", [(SPACE - (number - anchor) % SPACE - 0.5) / SPACE for number in hashes]) for anchor in anchors]


def lift(columns: Sequence[Column[float]], places: Iterable[tuple[int, int]], by: float) -> None:
    """Raise the affinity of (sensor, node) by HOME or PREFERRED, or end it by NEVER."""
    for sensor, node in places:
        columns[node][sensor] = NEVER if by == NEVER else columns[node][sensor] + by


def settle(columns: Sequence[Column[float]], limits: Sequence[int]) -> list[int]:
    """The node of every sensor, NOWHERE for one whose nodes are all full of closer ones; no node above its limit."""
    held: list[list[tuple[float, int]]] = [[] for _ in columns]
    later: dict[int, list[int]] = {}
    for sensor, affinities in enumerate(zip(*columns)):
        best = max(affinities)
        applicant = sensor if best >= 0 else NOWHERE
        node = affinities.index(best)
        while applicant != NOWHERE:
            entry = columns[node][applicant], applicant
            if len(held[node]) < limits[node]:
                heapq.heappush(held[node], entry)
                break
            _, applicant = heapq.heappushpop(held[node], entry) if limits[node] else entry
            choices = later.get(applicant)
            if choices is None:
                choices = later[applicant] = _choices(columns, applicant, node)
            if not choices:
                break
            node = choices.pop()
    owners = [NOWHERE] * len(columns[0])
    for node, entries in enumerate(held):
        for _, sensor in entries:
            owners[sensor] = node
    return owners


def _choices(columns: Sequence[Column[float]], sensor: int, refused: int) -> list[int]:
    """The nodes to which a sensor applies after its first was `refused`; the next one is the last."""
    able = [(column[sensor], node) for node, column in enumerate(columns) if column[sensor] >= 0 and node != refused]
    return [node for _, node in sorted(able, key=lambda each: (each[0], -each[1]))]
