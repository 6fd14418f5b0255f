"""A plan that does not hold is told; contiguous ranges are the best there are, by trying all."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.partition.artifacts import cut
from st2ha.partition.assign import Items, Owners
from st2ha.partition.contiguous import contiguous
from st2ha.partition.fleet import Fleet, Node, Sensor
from st2ha.partition.hash import SPACE
from st2ha.partition.plan import plan
from st2ha.partition.proof import prove
from st2ha.partition.providers import Container

NODES = (Node("a"), Node("b"))


@pytest.mark.parametrize(
    ("provider", "changes", "words"),
    [
        ("hash", {"hash_ranges": "0..1"}, "nobody owns"),
        ("hash", {"hash_ranges": "MIN..MAX"}, "a and b own"),
        ("hash", {"hash_ranges": "2..1"}, "is reversed"),
        ("kvstore", {"refs": ("none",)}, "runs on no node"),
        ("kvstore", {"refs": tuple(f"p.S{n}" for n in range(8))}, "runs on a and b"),
        ("file", {"refs": ()}, "empty, by which StackStorm runs all"),
    ],
)
def test_a_wrong_text_is_found(provider: str, changes: dict[str, object], words: str) -> None:
    made = plan(Fleet(NODES, tuple(Sensor(f"p.S{n}") for n in range(8))), provider)
    assert made.proof.faults == ()
    wrong: tuple[Container, ...] = (replace(made.told[0], **changes), made.told[1])  # type: ignore[arg-type]
    assert words in "; ".join(prove(wrong, made.owners, NODES).faults)


def test_swapped_owners_are_found() -> None:
    made = plan(Fleet(NODES, tuple(Sensor(f"p.S{n}") for n in range(8))), "kvstore")
    swapped = (replace(made.told[0], refs=made.told[1].refs), replace(made.told[1], refs=made.told[0].refs))
    assert len(prove(swapped, made.owners, NODES).faults) == 8


@given(
    st.lists(st.sampled_from([1.0, 1.0, 2.0, 5.0, 9.0]), min_size=1, max_size=8),
    st.lists(st.sampled_from([1.0, 2.0, 0.5]), min_size=1, max_size=4),
)
def test_contiguous_is_the_best_of_all_cuts(costs: list[float], weights: list[float]) -> None:
    nodes = contiguous(costs, weights)
    assert nodes == sorted(nodes)

    def fullest(owners: list[int]) -> float:
        return max(sum(c for c, o in zip(costs, owners) if o == n) / w for n, w in enumerate(weights))

    every = itertools.combinations_with_replacement(range(len(weights)), len(costs))
    assert fullest(nodes) == pytest.approx(min(fullest(list(owners)) for owners in every))


@given(st.lists(st.integers(0, 20) | st.integers(SPACE - 9, SPACE - 1), min_size=1, unique=True), st.data())
def test_hashes_side_by_side_are_cut_between(hashes: list[int], data: st.DataObject) -> None:
    hashes.sort()
    owners = [data.draw(st.integers(0, 1)) for _ in hashes]
    made = Owners(Items([(f"p.S{n}",) for n in hashes], [1.0] * len(hashes), hashes), owners)
    told = tuple(Container(name, "hash", text) for name, text in cut(made, NODES, None).items())
    assert prove(told, made, NODES).faults == ()
