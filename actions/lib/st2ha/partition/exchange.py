"""Sensors that may not be everywhere: the lowest fullest node there is, by moving along chains.

Each sensor has a mask of the nodes that it may be on. A chain takes a sensor from node u to v, one of v to w, and so
on: u carries one less, the last one more, those between as before. Sensors count one each. An assignment from which no
chain leads to a node that would carry less than the chain's start is the best possible (Harvey, Ladner, Lovasz, Tamir:
semi-matchings; with weights by the convexity of count / weight).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from st2ha.partition.rendezvous import NOWHERE, Column


class Exchange:
    """Owners on the way to the best ones. Sensors that hold least to their node are moved first."""

    def __init__(
        self, owners: Sequence[int], masks: Sequence[int], weights: Sequence[float], columns: Sequence[Column[float]]
    ) -> None:
        self.owners = list(owners)
        self.masks = masks
        self.weights = weights
        self.members: list[dict[int, list[int]]] = [{} for _ in weights]
        self.counts = [0] * len(weights)
        placed = [sensor for sensor, node in enumerate(self.owners) if node != NOWHERE]
        for sensor in sorted(placed, key=lambda each: -columns[self.owners[each]][each]):
            self._put(sensor, self.owners[sensor])
        self._columns = columns

    def solve(self) -> list[int]:
        """Place what is NOWHERE, then follow chains until none is of use."""
        for sensor, node in enumerate(self.owners):
            if node == NOWHERE:
                allowed = [each for each in range(len(self.weights)) if self.masks[sensor] >> each & 1]
                goal = min(allowed, key=lambda each: (self._with_one(each), -self._columns[each][sensor]))
                self._put(sensor, goal)
        while any(self._improve(node) for node in self._fullest_first()):
            pass
        return self.owners

    def _with_one(self, node: int) -> float:
        return (self.counts[node] + 1) / self.weights[node]

    def _fullest_first(self) -> list[int]:
        return sorted(range(len(self.weights)), key=lambda node: -self.counts[node] / self.weights[node])

    def _improve(self, start: int) -> bool:
        """One chain from `start` to where it lowers most; False if there is none."""
        came_from = self._reach(start)
        goal = min(came_from, key=self._with_one)
        if goal == start or self._with_one(goal) >= self.counts[start] / self.weights[start]:
            return False
        chain = [goal]
        while chain[-1] != start:
            before = came_from[chain[-1]]
            assert before is not None
            chain.append(before)
        for after, before in zip(chain, chain[1:]):
            self._move(before, after)
        return True

    def _reach(self, start: int) -> dict[int, Optional[int]]:
        """Node -> the node before it on a shortest chain from `start`."""
        came_from: dict[int, Optional[int]] = {start: None}
        queue = [start]
        for node in queue:
            reachable = 0
            for mask in self.members[node]:
                reachable |= mask
            for other in range(len(self.weights)):
                if reachable >> other & 1 and other not in came_from:
                    came_from[other] = node
                    queue.append(other)
        return came_from

    def _move(self, source: int, goal: int) -> None:
        able = [mask for mask in self.members[source] if mask >> goal & 1]
        mask = max(able, key=lambda each: self._columns[goal][self.members[source][each][-1]])
        sensor = self.members[source][mask].pop()
        if not self.members[source][mask]:
            del self.members[source][mask]
        self.counts[source] -= 1
        self._put(sensor, goal)

    def _put(self, sensor: int, node: int) -> None:
        self.members[node].setdefault(self.masks[sensor], []).append(sensor)
        self.counts[node] += 1
        self.owners[sensor] = node
