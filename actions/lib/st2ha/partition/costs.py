"""Sensors of different cost: a good balance (the best one is NP-hard) that moves little.

Heaviest first to where it weighs least, then single moves and swaps away from the fullest node. Without swaps the
fullest is already at most (total + (nodes - 1) * heaviest) / weights: no move of its lightest sensor would help.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from st2ha.partition.rendezvous import NOWHERE, PREFERRED, Column

ROUNDS = 20_000
SWAPS = 300_000
"""Pairs of sensors looked at for one swap, at the most."""
CROWDED = 1.25
"""Above this many times the lower bound even sensors at a preferred node go elsewhere, and many of them at once."""


class Balance:
    """Owners under way; `slack` is the share above the lower bound at which nothing is moved any more."""

    def __init__(
        self,
        owners: Sequence[int],
        masks: Sequence[int],
        weights: Sequence[float],
        costs: Sequence[float],
        columns: Sequence[Column[float]],
        slack: float,
    ) -> None:
        self.owners = list(owners)
        self.masks, self.weights, self.costs, self.columns = masks, weights, costs, columns
        self.loads = [0.0] * len(weights)
        self.members: list[set[int]] = [set() for _ in weights]
        for sensor, node in enumerate(self.owners):
            if node != NOWHERE:
                self._put(sensor, node)
        heaviest = max(costs, default=0.0)
        self.enough = max(sum(costs) / sum(weights), heaviest / max(weights)) * (1 + slack)

    def solve(self) -> list[int]:
        for node in range(len(self.weights)):
            self._thin_out(node)
        waiting = [sensor for sensor, node in enumerate(self.owners) if node == NOWHERE]
        for sensor in sorted(waiting, key=lambda each: -self.costs[each]):
            goals = self._allowed(sensor)
            self._put(sensor, min(goals, key=lambda node: (self._with(sensor, node), -self.columns[node][sensor])))
        for _ in range(ROUNDS):
            if not self._improve():
                break
        return self.owners

    def _thin_out(self, node: int) -> None:
        """Send away what a crowded node has too much, the least attached first: single moves would take ages."""
        room = self.enough * self.weights[node]
        if self.loads[node] <= CROWDED * room:
            return
        for sensor in sorted(self.members[node], key=lambda each: self.columns[node][each]):
            if self.loads[node] <= room:
                return
            self.members[node].discard(sensor)
            self.loads[node] -= self.costs[sensor]
            self.owners[sensor] = NOWHERE

    def _movable(self, node: int) -> list[int]:
        """The sensors of a node that may leave it: not those that are preferred there, unless it is crowded."""
        if self.loads[node] > CROWDED * self.enough * self.weights[node]:
            return sorted(self.members[node])
        return sorted(each for each in self.members[node] if self.columns[node][each] < PREFERRED)

    def _improve(self) -> bool:
        """One move or swap that lowers the fullest node."""
        nodes = range(len(self.weights))
        fullest = max(nodes, key=lambda node: self.loads[node] / self.weights[node])
        if self.loads[fullest] / self.weights[fullest] <= self.enough:
            return False
        move = self._best_move(fullest)
        if move is not None:
            self._put(*move)
            return True
        swap = self._best_swap(fullest)
        if swap is None:
            return False
        ours, theirs = swap
        goal = self.owners[theirs]
        self._put(ours, goal)
        self._put(theirs, fullest)
        return True

    def _best_move(self, source: int) -> Optional[tuple[int, int]]:
        """(sensor, node) after which the two nodes' fuller one is as low as one move can make it."""
        lowest, found = self.loads[source] / self.weights[source] * (1 - 1e-9), None
        for sensor in self._movable(source):
            left = (self.loads[source] - self.costs[sensor]) / self.weights[source]
            for goal in self._allowed(sensor):
                after = max(left, self._with(sensor, goal))
                if goal != source and after < lowest:
                    lowest, found = after, (sensor, goal)
        return found

    def _best_swap(self, source: int) -> Optional[tuple[int, int]]:
        """(sensor of `source`, sensor elsewhere) whose exchange lowers the two nodes' fuller one most."""
        if len(self.members[source]) * len(self.owners) > SWAPS:
            return None
        lowest, found = self.loads[source] / self.weights[source] * (1 - 1e-9), None
        others = [theirs for node in range(len(self.weights)) if node != source for theirs in self._movable(node)]
        for ours in self._movable(source):
            for theirs in others:
                goal, gain = self.owners[theirs], self.costs[ours] - self.costs[theirs]
                if gain <= 0 or not (self.masks[ours] >> goal & self.masks[theirs] >> source & 1):
                    continue
                here = (self.loads[source] - gain) / self.weights[source]
                after = max(here, (self.loads[goal] + gain) / self.weights[goal])
                if after < lowest:
                    lowest, found = after, (ours, theirs)
        return found

    def _allowed(self, sensor: int) -> list[int]:
        return [node for node in range(len(self.weights)) if self.masks[sensor] >> node & 1]

    def _with(self, sensor: int, node: int) -> float:
        return (self.loads[node] + self.costs[sensor]) / self.weights[node]

    def _put(self, sensor: int, node: int) -> None:
        former = self.owners[sensor]
        if former != NOWHERE and sensor in self.members[former]:
            self.members[former].discard(sensor)
            self.loads[former] -= self.costs[sensor]
        self.members[node].add(sensor)
        self.loads[node] += self.costs[sensor]
        self.owners[sensor] = node
