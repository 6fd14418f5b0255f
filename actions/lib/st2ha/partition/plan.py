"""A fleet -> everything a plan tells: each node's share and texts, the moves, the proof, the ring. Pure."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.errors import StepFailed
from st2ha.naming import count
from st2ha.partition import artifacts, ring
from st2ha.partition.assign import Owners, assign
from st2ha.partition.fleet import Fleet
from st2ha.partition.hash import SPACE
from st2ha.partition.proof import Proof, prove
from st2ha.partition.providers import Container, Ownership, key_of
from st2ha.partition.quotas import quotas
from st2ha.partition.ranges import HashRange, read


@dataclass(frozen=True)
class Move:
    """A sensor that runs elsewhere afterwards: the nodes that run it today, and the one that will."""

    ref: str
    sources: tuple[str, ...]
    goal: str

    def row(self) -> dict[str, str]:
        return {"sensor": self.ref, "from": ", ".join(self.sources) or "nobody", "to": self.goal}


@dataclass(frozen=True)
class Assignment:
    """A plan for a fleet. `told` is in the order of the fleet's nodes, so are `loads` and `refs`."""

    fleet: Fleet
    provider: str
    owners: Owners
    told: tuple[Container, ...]
    today: Optional[Ownership]
    proof: Proof

    @property
    def refs(self) -> list[list[str]]:
        lists: list[list[str]] = [[] for _ in self.fleet.nodes]
        for refs, node in zip(self.owners.items.refs, self.owners.nodes):
            lists[node] += refs
        return [sorted(each) for each in lists]

    @property
    def loads(self) -> list[float]:
        loads = [0.0] * len(self.fleet.nodes)
        for cost, node in zip(self.owners.items.costs, self.owners.nodes):
            loads[node] += cost
        return loads

    @property
    def fullest_over_mean(self) -> Optional[float]:
        """The fullest node, by its weight, against all load over all weight; None without a sensor."""
        return self._over_mean([load / node.weight for load, node in zip(self.loads, self.fleet.nodes)])

    @property
    def lower_bound(self) -> Optional[float]:
        """Below this no assignment of these sensors can be; constraints may forbid to reach it."""
        costs, weights = self.owners.items.costs, [node.weight for node in self.fleet.nodes]
        if self.owners.items.alike and costs:
            counts = quotas(len(costs), weights, [0] * len(weights))
            return self._over_mean([costs[0] * number / weight for number, weight in zip(counts, weights)])
        return self._over_mean([sum(costs) / sum(weights), max(costs, default=0.0) / max(weights)])

    def _over_mean(self, levels: list[float]) -> Optional[float]:
        mean = sum(self.owners.items.costs) / sum(node.weight for node in self.fleet.nodes)
        return max(levels) / mean if mean else None

    def moves(self) -> list[Move]:
        """What starts or stops somewhere, by reference; today unknown: none."""
        if self.today is None:
            return []
        found = []
        for place, (refs, node) in enumerate(zip(self.owners.items.refs, self.owners.nodes)):
            number = self.owners.items.hashes[place] if self.owners.items.hashes else None
            goal = self.fleet.nodes[node].name
            for ref in refs:
                sources = self.today.owners(ref, number)
                if sources != (goal,):
                    found.append(Move(ref, sources, goal))
        return sorted(found, key=lambda move: move.ref)

    def slices(self) -> list[ring.Slice]:
        """The ring: provider hash by hashes, the others by each node's share of the load."""
        if self.provider != "hash":
            return self._load_slices()
        hashes, result = self.owners.items.hashes, list[tuple[HashRange, ring.Slice]]()
        sizes = [0]
        for refs in self.owners.items.refs:
            sizes.append(sizes[-1] + len(refs))
        for told in self.told:
            for each in read(told.hash_ranges or "").ranges:
                inside = sizes[bisect_left(hashes, each.end)] - sizes[bisect_left(hashes, each.start)]
                piece = ring.Slice(each.start / SPACE, each.end / SPACE, told.node, inside, str(each))
                result.append((each, piece))
        return [piece for _, piece in sorted(result, key=lambda pair: pair[0])]

    def _load_slices(self) -> list[ring.Slice]:
        loads, at, result = self.loads, 0.0, []
        whole = sum(loads) or 1.0
        for told, load, refs in zip(self.told, loads, self.refs):
            label = key_of(told.node) if self.provider == "kvstore" else f"{told.node}:"
            result.append(ring.Slice(at, at + load / whole, told.node, len(refs), label))
            at += load / whole
        return result


def plan(fleet: Fleet, provider: str, keep: bool = True) -> Assignment:
    """The assignment, proved; `fleet` was checked. A plan that does not hold is never shown."""
    owners = assign(fleet, provider, keep)
    today = None if fleet.today is None else Ownership(fleet.today)
    told = artifacts.containers(fleet, provider, owners, today if keep else None)
    proof = prove(told, owners, fleet.nodes)
    if proof.faults:
        raise StepFailed(f"the plan does not hold, do not use it: {'; '.join(proof.faults[:3])}; please report it")
    return Assignment(fleet, provider, owners, told, today, proof)


def result_of(made: Assignment, partition_file: str) -> dict[str, Any]:
    """The plan as an action's result, without the time it took."""
    moves, slices, refs = made.moves(), made.slices(), made.refs
    rows = node_rows(made, partition_file)
    size = sum(map(len, refs))
    title = f"{count(size, 'sensor')} on {count(len(rows), 'node')}, {made.provider}"
    texts = dict[str, Any]()
    if made.provider == "file":
        texts["file"] = artifacts.file_text(made.told)
    if made.provider == "kvstore":
        texts["keys"] = artifacts.keys(made.told)
    facts = {
        "provider": made.provider,
        "sensors": size,
        "disabled": len(made.fleet.sensors) - size,
        "fullest_over_mean": _rounded(made.fullest_over_mean),
        "lower_bound": _rounded(made.lower_bound),
        "nodes": [{name: row[name] for name in ("node", "weight", "sensors", "load", "share", "told")} for row in rows],
        "today": today_rows(made),
        "moves": [move.row() for move in moves],
        "ring": ring.as_rows(slices),
    }
    return {
        "summary": summary(made, size, len(moves)),
        "severity": "ok",
        "findings": [],
        "details": [],
        "facts": facts,
        "nodes": rows,
        "moves": facts["moves"],
        "proof": made.proof.as_dict(),
        **texts,
        "ring": ring.as_text(slices),
        "svg": ring.as_svg(title, slices, [node.name for node in made.fleet.nodes], made.owners.items.hashes),
    }


def summary(made: Assignment, size: int, moves: int) -> str:
    """The plan in one line."""
    head = f"PLAN {made.provider}: {count(size, 'sensor')} on {count(len(made.fleet.nodes), 'node')}"
    over, bound = made.fullest_over_mean, made.lower_bound
    balance = (
        f", fullest {over:.2f} x the mean (possible {bound:.2f})" if over is not None and bound is not None else ""
    )
    return f"{head}{balance}, " + ("today unknown" if made.today is None else f"{count(moves, 'move')}")


def node_rows(made: Assignment, partition_file: str) -> list[dict[str, Any]]:
    """A row a node: what it carries, and the exact texts for it."""
    loads, whole, rows = made.loads, sum(made.loads), list[dict[str, Any]]()
    for node, told, refs, load in zip(made.fleet.nodes, made.told, made.refs, loads):
        where = {"hash": told.hash_ranges, "kvstore": key_of(node.name), "file": partition_file}[made.provider]
        rows.append(
            {
                "node": node.name,
                "weight": node.weight,
                "sensors": len(refs),
                "load": round(load, 4),
                "share": round(load / whole, 4) if whole else None,
                "told": where,
                "refs": refs,
                "st2_conf": artifacts.st2_conf(told, partition_file),
            }
        )
    return rows


def today_rows(made: Assignment) -> list[dict[str, Any]]:
    """A row a container of today: how many of the sensors it runs, and what is wrong with what it is told."""
    if made.today is None:
        return []
    held = dict.fromkeys(made.today.shares, 0)
    for place, refs in enumerate(made.owners.items.refs):
        number = made.owners.items.hashes[place] if made.owners.items.hashes else None
        for ref in refs:
            for node in made.today.owners(ref, number):
                held[node] += 1
    rows = []
    for each in made.today.containers:
        share = made.today.shares[each.node]
        wrong = [share.ended, share.trap, *(m.sentence() for m in share.misuses if not m.fatal)]
        trouble = "; ".join(text for text in wrong if text)
        rows.append(
            {"node": each.node, "provider": each.provider, "sensors": held[each.node], "trouble": trouble or None}
        )
    return rows


def _rounded(number: Optional[float]) -> Optional[float]:
    return None if number is None else round(number, 4)
