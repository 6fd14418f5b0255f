"""From a fleet to owners: which of the ways of balancing is taken when. Pure; the ways are in modules of their own.

| sensors | constraints | way |
| --- | --- | --- |
| cost the same | none | quotas, and affinity within them: settle |
| cost the same | never | the same, then chains to the optimum: Exchange |
| cost differently | any | heaviest first, moves and swaps: Balance |

Provider hash counts sensors of one hash as one item, its affinity is the place on the ring, and without today's ranges
it begins with the best contiguous ones. Invariant: every item gets exactly one node that it may be on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Optional

from st2ha.errors import BadInput
from st2ha.partition.contiguous import contiguous
from st2ha.partition.costs import Balance
from st2ha.partition.exchange import Exchange
from st2ha.partition.fleet import Fleet, Sensor, Wishes, resolved
from st2ha.partition.hash import SPACE, sensor_hash
from st2ha.partition.providers import Ownership
from st2ha.partition.quotas import quotas
from st2ha.partition.rendezvous import (
    HOME,
    NEVER,
    NOWHERE,
    PREFERRED,
    Column,
    lift,
    rendezvous_columns,
    ring_columns,
    settle,
)

STAY_SLACK = 0.05
"""With costs: where a fleet runs already, nothing moves for less than this share of the fullest node."""
RANGE_SLACK = 0.01
"""With costs: a node gets a second range only where one each is worse than the best by more than this share."""


@dataclass(frozen=True)
class Items:
    """What is placed as one: a sensor, or under provider hash all sensors of one hash. Indices are places in `refs`."""

    refs: Sequence[tuple[str, ...]]
    costs: Sequence[float]
    hashes: Sequence[int]

    @property
    def alike(self) -> bool:
        return len(set(self.costs)) <= 1


@dataclass(frozen=True)
class Owners:
    """Whose each item is: `nodes[i]` is the place in the fleet's nodes of the owner of `items.refs[i]`."""

    items: Items
    nodes: Sequence[int]


def assign(fleet: Fleet, provider: str, keep: bool = True) -> Owners:
    """The owners of all enabled sensors; `keep` moves as few as balance allows where today is known."""
    items = items_of(fleet.enabled, provider == "hash")
    if not items.refs:
        return Owners(items, [])
    homes = _homes(fleet, items, provider) if keep and fleet.today is not None else []
    wishes = _wishes(fleet)
    if provider == "hash" and not any(homes) and not any(wishes):
        nodes = contiguous(items.costs, _weights(fleet))
        if items.alike or _near_best(nodes, items.costs, _weights(fleet)):
            return Owners(items, nodes)
    return Owners(items, _balanced(fleet, items, provider, homes, wishes))


def items_of(sensors: Sequence[Sensor], by_hash: bool) -> Items:
    """Sensors in the order of their references, or in groups in the order of their hashes."""
    if not by_hash:
        ordered = sorted(sensors, key=lambda sensor: sensor.ref)
        return Items([(sensor.ref,) for sensor in ordered], [sensor.cost for sensor in ordered], [])
    numbers = [sensor_hash(sensor.ref) for sensor in sensors]
    groups: list[list[Sensor]] = []
    hashes: list[int] = []
    for place in sorted(range(len(sensors)), key=numbers.__getitem__):
        if hashes and hashes[-1] == numbers[place]:
            groups[-1].append(sensors[place])
        else:
            hashes.append(numbers[place])
            groups.append([sensors[place]])
    refs = [tuple(sorted(sensor.ref for sensor in group)) for group in groups]
    return Items(refs, [sum(sensor.cost for sensor in group) for group in groups], hashes)


def _balanced(
    fleet: Fleet, items: Items, provider: str, homes: Sequence[tuple[int, ...]], wishes: tuple[Wishes, Wishes]
) -> list[int]:
    weights = _weights(fleet)
    known = any(homes)
    if provider == "hash" and not known:
        homes = [(node,) for node in contiguous(items.costs, weights)]
    columns = _columns(fleet, items, provider, homes)
    masks = _wish_columns(fleet, items, columns, wishes)
    held = [0] * len(weights)
    for able in homes:
        if len(able) == 1:
            held[able[0]] += 1
    start = _kept(columns, len(items.refs))
    if not items.alike:
        slack = STAY_SLACK if known else RANGE_SLACK if provider == "hash" else 0.0
        return Balance(start, masks, weights, items.costs, columns, slack).solve()
    constrained = bool(wishes[1])
    if not constrained or not known:
        start = settle(columns, quotas(len(items.refs), weights, held))
    return Exchange(start, masks, weights, columns).solve() if constrained else start


def _near_best(nodes: Sequence[int], costs: Sequence[float], weights: Sequence[float]) -> bool:
    loads = [0.0] * len(weights)
    for node, cost in zip(nodes, costs):
        loads[node] += cost
    best = max(sum(costs) / sum(weights), max(costs) / max(weights))
    return max(load / weight for load, weight in zip(loads, weights)) <= best * (1 + RANGE_SLACK)


def _kept(columns: Sequence[Column[float]], size: int) -> list[int]:
    """Where each item is at home, or preferred; NOWHERE if neither, or if it must not be there."""
    kept = [NOWHERE] * size
    for item, affinities in enumerate(zip(*columns)):
        best = max(affinities)
        if best >= HOME:
            kept[item] = affinities.index(best)
    return kept


def _homes(fleet: Fleet, items: Items, provider: str) -> list[tuple[int, ...]]:
    """Today's owners of each item among the nodes; none of them all if every node runs everything, or for another
    kind of ranges: lists of provider file would cut the ring into a range a sensor."""
    today = Ownership(fleet.today or ())
    if provider == "hash" and not today.uses_hash:
        return []
    places = {node.name: place for place, node in enumerate(fleet.nodes)}
    homes = []
    for refs, number in zip(items.refs, items.hashes or repeat(None)):
        owners = {places[node] for node in today.owners(refs[0], number) if node in places}
        homes.append(tuple(sorted(owners)) if len(owners) < len(places) or len(places) == 1 else ())
    return homes


def _columns(fleet: Fleet, items: Items, provider: str, homes: Sequence[tuple[int, ...]]) -> list[Column[float]]:
    if provider == "hash":
        columns = ring_columns(items.hashes, _anchors(fleet, items, homes))
    else:
        names = [node.name for node in fleet.nodes]
        columns = rendezvous_columns([refs[0] for refs in items.refs], names, _weights(fleet))
    lift(columns, ((item, node) for item, able in enumerate(homes) for node in able), HOME)
    return columns


def _anchors(fleet: Fleet, items: Items, homes: Sequence[tuple[int, ...]]) -> list[int]:
    """Where each node's longest run of items begins; evenly spread for nodes that have none yet."""
    anchors = [SPACE * place // len(fleet.nodes) for place in range(len(fleet.nodes))]
    longest = [0] * len(anchors)
    begin = 0
    for item, able in enumerate(homes):
        if item == 0 or able != homes[item - 1]:
            begin = item
        for node in able:
            if item - begin + 1 > longest[node]:
                longest[node], anchors[node] = item - begin + 1, items.hashes[begin]
    return anchors


def _wishes(fleet: Fleet) -> tuple[Wishes, Wishes]:
    return resolved(fleet.preferred, fleet.enabled), resolved(fleet.never, fleet.enabled)


def _wish_columns(
    fleet: Fleet, items: Items, columns: Sequence[Column[float]], wishes: tuple[Wishes, Wishes]
) -> list[int]:
    """Lift the columns by the wishes; the mask of the nodes that each item may be on."""
    places = {node.name: place for place, node in enumerate(fleet.nodes)}
    everywhere = (1 << len(places)) - 1
    masks = [everywhere] * len(items.refs)
    for by, found in ((PREFERRED, wishes[0]), (NEVER, wishes[1])):
        for item, refs in enumerate(items.refs) if found else ():
            nodes = {places[name] for ref in refs for name in found.get(ref, ())}
            lift(columns, ((item, node) for node in nodes), by)
            if by == NEVER:
                masks[item] &= ~sum(1 << node for node in nodes)
            if not masks[item]:
                raise BadInput(_no_common_node(refs))
    return masks


def _no_common_node(refs: Sequence[str]) -> Optional[str]:
    return f"parameter `never` leaves no node for {' and '.join(refs)}, which share one hash: use provider kvstore"


def _weights(fleet: Fleet) -> list[float]:
    return [node.weight for node in fleet.nodes]
