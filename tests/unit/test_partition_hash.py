"""The fast hash against StackStorm's rule, step by step; range expressions against what StackStorm reads."""

from __future__ import annotations

import hashlib
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.partition.hash import SPACE, sensor_hash
from st2ha.partition.ranges import FATAL, MISUSES, NOTHING, HashRange, arcs, gaps, joined, overlaps, read, show


def literal(ref: str) -> int:
    """The rule as the facts state it, one digit after the other."""
    h = 0
    for digit in reversed(str(int(hashlib.md5(ref.encode()).hexdigest(), 16))):
        high = h & 0xF8000000
        h = (h << 5) % 2**32
        h ^= high >> 27
        h ^= int(digit)
    return h


@pytest.mark.parametrize(
    ("ref", "number"),
    [("pack.Sensor-for-A", 1890074720), ("pack.SENSOR-for-A", 2643914811), ("pack.SensorForA", 2567044722)],
)
def test_values_that_stackstorm_gave(ref: str, number: int) -> None:
    assert sensor_hash(ref) == number == literal(ref)


@given(st.text(max_size=60))
def test_the_fast_hash_is_the_rule(ref: str) -> None:
    assert sensor_hash(ref) == literal(ref)
    assert 0 <= sensor_hash(ref) < SPACE


def stackstorm_reads(expression: str) -> Optional[list[tuple[int, int]]]:
    """A plain reading of what its container does with an expression; None: it ends."""
    found = []
    for part in expression.split("|"):
        bounds = [bound.strip().lower() for bound in part.strip().split("..")]
        if len(bounds) != 2:
            return None
        try:
            numbers = [{"min": 0, "max": SPACE}[b] if b in ("min", "max") else int(b) for b in bounds]
        except ValueError:
            return None
        start, end = (0 if n < 0 else SPACE if n > SPACE else n for n in numbers)
        if start > end:
            return None
        found.append((start, end))
    return found


NUMBERS = st.one_of(st.integers(-5, 40), st.integers(SPACE - 5, SPACE + 5), st.integers(0, SPACE))
BOUNDS = st.one_of(NUMBERS.map(str), st.sampled_from(["MIN", "max", " Min ", "x", "", "1_0", "+3", "1.5", "٣"]))
PARTS = st.one_of(st.builds("{}..{}".format, BOUNDS, BOUNDS), st.sampled_from(["", "1", "1...2", "1..2..3", " "]))


@given(st.lists(PARTS, min_size=1, max_size=5).map("|".join), st.lists(st.integers(0, 45), max_size=5))
def test_an_expression_is_read_as_stackstorm_reads_it(expression: str, numbers: list[int]) -> None:
    expected, reading = stackstorm_reads(expression), read(expression)
    assert (expected is None) == bool(reading.fatal)
    if expected is None:
        assert reading.ranges == ()
        return
    for number in [*numbers, 0, SPACE - 1, *(bound for pair in expected for bound in pair)]:
        assert any(number in one for one in reading.ranges) == any(a <= number < b for a, b in expected)


@pytest.mark.parametrize(
    ("expression", "kinds", "shown"),
    [
        ("MIN..1024|4096..MAX", [], "MIN..1024|4096..MAX"),
        (" min .. 5 | 5..Max ", [], "MIN..MAX"),
        ("", ["empty"], NOTHING),
        ("1..2|", ["empty"], NOTHING),
        ("17", ["malformed"], NOTHING),
        ("1..2..3", ["malformed"], NOTHING),
        ("a..b", ["not numeric"], NOTHING),
        ("1...5", ["not numeric"], NOTHING),
        ("5..4", ["reversed"], NOTHING),
        ("MAX..MIN", ["reversed"], NOTHING),
        ("-1..5", ["clamped"], "MIN..5"),
        ("7..5000000000", ["clamped"], "7..MAX"),
        ("5000000000..6000000000", ["clamped", "void"], NOTHING),
        ("7..7", ["void"], NOTHING),
        ("1..5|4..9", ["overlapping"], "1..9"),
        ("1..5|-3..2|9..8", ["clamped", "overlapping", "reversed"], NOTHING),
    ],
)
def test_every_misuse_is_named(expression: str, kinds: list[str], shown: str) -> None:
    reading = read(expression)
    assert [misuse.kind for misuse in reading.misuses] == kinds
    assert show(reading.ranges) == shown
    for misuse in reading.misuses:
        assert misuse.fatal == (misuse.kind in FATAL) == ("ends" in MISUSES[misuse.kind])
        assert misuse.sentence() == f"{misuse.part!r} is {misuse.kind}: {MISUSES[misuse.kind]}"


RANGES = st.lists(st.tuples(NUMBERS, NUMBERS).map(lambda p: HashRange(*sorted(min(max(n, 0), SPACE) for n in p))))


@given(RANGES)
def test_what_is_shown_reads_back(ranges: list[HashRange]) -> None:
    reading = read(show(ranges))
    assert reading.ranges == joined(ranges)
    assert not reading.misuses or show(ranges) == NOTHING


@given(st.dictionaries(st.sampled_from("abcd"), RANGES), st.lists(NUMBERS, max_size=5))
def test_arcs_cut_the_ring_where_owners_change(nodes: dict[str, list[HashRange]], numbers: list[int]) -> None:
    found = arcs(nodes)
    assert found[0].range.start == 0
    assert found[-1].range.end == SPACE
    assert all(one.range.end == two.range.start for one, two in zip(found, found[1:]))
    for number in [0, SPACE - 1, *(number for number in numbers if 0 <= number < SPACE)]:
        owners = tuple(node for node, owned in nodes.items() if any(number in one for one in owned))
        assert [arc.nodes for arc in found if number in arc.range] == [owners]
        assert any(number in gap for gap in gaps(found)) == (not owners)
        assert any(number in arc.range for arc in overlaps(found)) == (len(owners) > 1)


def test_the_ranges_of_the_helm_chart_leave_hashes_to_nobody() -> None:
    size = SPACE // 3
    chart = {f"sensor{n}": read(f"{n * size}..{(n + 1) * size - 1}").ranges for n in range(3)}
    assert [str(gap) for gap in gaps(arcs(chart))] == [
        "1431655764..1431655765", "2863311529..2863311530", "4294967294..MAX",
    ]  # fmt: skip
