"""Plans over random fleets: one owner each, all hashes covered once, balanced, and nothing moves that need not."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from st2ha.errors import BadInput
from st2ha.partition.assign import STAY_SLACK
from st2ha.partition.fleet import Fleet, Node, Sensor, Wish, checked
from st2ha.partition.hash import SPACE, sensor_hash
from st2ha.partition.plan import Assignment, plan, result_of
from st2ha.partition.providers import NOBODY, Container, Ownership, share_of
from st2ha.partition.quotas import quotas
from tests.examples import examples

PROVIDERS = ("hash", "kvstore", "file")
provider_of = pytest.mark.parametrize("provider", PROVIDERS)
SLOW = examples(40)

SIZES = st.one_of(st.integers(0, 40), st.integers(0, 1000))
NODES = st.one_of(st.integers(1, 8), st.integers(1, 64))
SEEDS = st.integers(0, 10**6)
WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 3.0, 7.5]), min_size=1, max_size=12)


def sensors(size: int, seed: int = 0) -> tuple[Sensor, ...]:
    return tuple(Sensor(f"pack{n % 7}.Sensor{seed}_{n}") for n in range(size))


def nodes(number: int) -> tuple[Node, ...]:
    return tuple(Node(f"node{n}") for n in range(number))


def owners(made: Assignment) -> dict[str, str]:
    return {ref: node.name for node, refs in zip(made.fleet.nodes, made.refs) for ref in refs}


def alike(fleet: Fleet) -> bool:
    return len({sensor_hash(sensor.ref) for sensor in fleet.sensors}) == len(fleet.sensors)


def proved(made: Assignment) -> dict[str, str]:
    """The owners, after a second look that shares no code with the proof: by each container's own share."""
    shares = [share_of(told) for told in made.told]
    assert not any(share.ended or share.trap or share.everything for share in shares)
    found = owners(made)
    assert sorted(found) == sorted(sensor.ref for sensor in made.fleet.enabled)
    if made.provider == "hash":
        bounds = sorted((r.start, r.end) for share in shares for r in share.ranges)
        assert bounds[0][0] == 0
        assert bounds[-1][1] == SPACE
        assert all(one[1] == two[0] for one, two in itertools.pairwise(bounds))
        assert sum(end - start for start, end in bounds) == SPACE
        for node, share in zip(made.fleet.nodes, shares):
            for ref in itertools.islice((r for r, owner in found.items() if owner == node.name), 50):
                assert sum(sensor_hash(ref) in one for one in share.ranges) == 1
    else:
        listed = Counter(ref for share in shares for ref in share.refs if ref != NOBODY)
        assert listed == dict.fromkeys(found, 1)
        assert all(told.refs for told in made.told)
    return found


@provider_of
@SLOW
@given(size=SIZES, number=NODES, seed=SEEDS)
@example(size=0, number=1, seed=0)
@example(size=3, number=64, seed=0)
@example(size=9_999, number=64, seed=0)
@example(size=10_000, number=64, seed=0)
def test_equal_nodes_get_equal_counts(provider: str, size: int, number: int, seed: int) -> None:
    fleet = checked(Fleet(nodes(number), sensors(size, seed)))
    made = plan(fleet, provider)
    proved(made)
    if provider != "hash" or alike(fleet):
        assert max(map(len, made.refs)) == math.ceil(size / number)
        assert min(map(len, made.refs)) == size // number


@provider_of
@SLOW
@given(size=st.integers(0, 500), weights=WEIGHTS, seed=SEEDS)
def test_weights_are_kept_as_well_as_whole_sensors_allow(
    provider: str, size: int, weights: list[float], seed: int
) -> None:
    fleet = checked(Fleet(tuple(Node(f"n{i}", w) for i, w in enumerate(weights)), sensors(size, seed)))
    assume(alike(fleet))
    made = plan(fleet, provider)
    proved(made)
    fullest = max(load / weight for load, weight in zip(made.loads, weights))
    # No node could give one away to a node that would then carry less: the best there is.
    assert all(fullest <= (load + 1) / weight + 1e-9 for load, weight in zip(made.loads, weights))


@provider_of
@SLOW
@given(size=st.integers(1, 400), number=st.integers(2, 20), seed=SEEDS, gone=st.integers(0, 19))
def test_when_a_node_goes_only_its_sensors_move(provider: str, size: int, number: int, seed: int, gone: int) -> None:
    before = plan(Fleet(nodes(number), sensors(size, seed)), provider)
    assume(alike(before.fleet))
    lost = before.fleet.nodes[gone % number]
    left = tuple(node for node in before.fleet.nodes if node != lost)
    after = plan(replace(before.fleet, nodes=left, today=before.told), provider)
    was, now = owners(before), proved(after)
    moved = {ref for ref in was if was[ref] != now[ref]}
    assert moved == {ref for ref, node in was.items() if node == lost.name}
    assert len(moved) <= math.ceil(size / number) + 1
    assert {move.ref for move in after.moves()} == moved
    assert max(map(len, after.refs)) == math.ceil(size / (number - 1))


@provider_of
@SLOW
@given(size=st.integers(0, 400), number=st.integers(1, 20), seed=SEEDS)
def test_when_a_node_comes_sensors_move_to_it_alone(provider: str, size: int, number: int, seed: int) -> None:
    before = plan(Fleet(nodes(number), sensors(size, seed)), provider)
    assume(alike(before.fleet))
    after = plan(replace(before.fleet, nodes=(Node("new"), *before.fleet.nodes), today=before.told), provider)
    was, now = owners(before), proved(after)
    moved = {ref for ref in was if was[ref] != now[ref]}
    assert {now[ref] for ref in moved} <= {"new"}
    assert len(moved) <= math.ceil(size / number) + 1
    assert max(map(len, after.refs)) == math.ceil(size / (number + 1))


@provider_of
@SLOW
@given(size=st.integers(1, 200), weights=WEIGHTS, seed=SEEDS, steps=st.lists(st.integers(0, 30), max_size=6))
def test_a_history_of_changes_never_moves_between_survivors(
    provider: str, size: int, weights: list[float], seed: int, steps: list[int]
) -> None:
    """Nodes of any weight come and go, one after the other; each plan begins with the one before."""
    made = plan(Fleet(tuple(Node(f"n{i}", w) for i, w in enumerate(weights)), sensors(size, seed)), provider)
    assume(alike(made.fleet))
    for step in steps:
        known = made.fleet.nodes
        if step % 2 and len(known) > 1:
            changed = tuple(node for node in known if node != known[step % len(known)])
        else:
            changed = (*known, Node(f"new{step}_{len(known)}", [0.5, 1.0, 3.0][step % 3]))
        if len({node.name for node in changed}) < len(changed):
            continue
        after = plan(replace(made.fleet, nodes=changed, today=made.told), provider)
        was, now = owners(made), proved(after)
        survivors = {node.name for node in known} & {node.name for node in changed}
        assert not [r for r in was if was[r] != now[r] and was[r] in survivors and now[r] in survivors]
        assert {move.ref for move in after.moves()} == {ref for ref in was if was[ref] != now[ref]}
        made = after
    again = plan(replace(made.fleet, today=made.told), provider)
    assert again.moves() == []
    assert again.told == made.told or provider != "hash"


@provider_of
@SLOW
@given(
    costs=st.lists(st.sampled_from([1.0, 1.0, 2.0, 3.0, 7.0, 20.0]), min_size=1, max_size=60),
    weights=WEIGHTS,
    seed=SEEDS,
)
def test_costs_are_balanced_up_to_one_sensor(
    provider: str, costs: list[float], weights: list[float], seed: int
) -> None:
    each = tuple(Sensor(f"p.S{seed}_{i}", cost) for i, cost in enumerate(costs))
    fleet = checked(Fleet(tuple(Node(f"n{i}", w) for i, w in enumerate(weights)), each))
    assume(alike(fleet))
    made = plan(fleet, provider)
    proved(made)
    fullest = max(load / weight for load, weight in zip(made.loads, weights))
    bound = (sum(costs) + (len(weights) - 1) * max(costs)) / sum(weights)
    lowest = max(sum(costs) / sum(weights), max(costs) / max(weights))
    assert fullest <= max(bound, lowest) * 1.01 + 1e-9
    kept = plan(replace(fleet, today=made.told), provider)
    if fullest <= lowest * (1 + STAY_SLACK):
        assert kept.moves() == []


def best_possible(allowed: list[tuple[int, ...]], weights: list[float]) -> float:
    """The lowest fullest node, by trying all."""
    return min(
        max(choice.count(node) / weight for node, weight in enumerate(weights))
        for choice in itertools.product(*allowed)
    )


@provider_of
@SLOW
@given(
    size=st.integers(1, 6),
    weights=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=2, max_size=3),
    never=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=6),
    today=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    known=st.booleans(),
)
def test_never_is_kept_and_the_balance_is_the_best_that_is_left(
    provider: str, size: int, weights: list[float], never: set[tuple[int, int]], today: list[int], known: bool
) -> None:
    names = [f"n{i}" for i in range(len(weights))]
    wishes = tuple(Wish(f"p{s}.S{s}", names[n]) for s, n in sorted(never) if s < size and n < len(names))
    allowed = [tuple(n for n in range(len(names)) if (s, n) not in never) for s in range(size)]
    assume(all(allowed))
    each = tuple(Sensor(f"p{s}.S{s}") for s in range(size))
    told = [Container(name, "kvstore", refs=tuple(f"p{s}.S{s}" for s in range(size) if today[s] % len(names) == n))
            for n, name in enumerate(names)]  # fmt: skip
    fleet = Fleet(tuple(map(Node, names, weights)), each, never=wishes, today=tuple(told) if known else None)
    made = plan(checked(fleet), provider)
    found = proved(made)
    assert not [wish for wish in wishes if found[wish.what] == wish.node]
    fullest = max(load / weight for load, weight in zip(made.loads, weights))
    assert fullest == pytest.approx(best_possible(allowed, weights))


@provider_of
def test_preferred_is_kept_where_the_load_allows(provider: str) -> None:
    wishes = (Wish("pack3", "node2"), Wish("pack1.Sensor0_1", "node0"))
    made = plan(checked(Fleet(nodes(3), sensors(21), preferred=wishes)), provider)
    found = proved(made)
    assert {found[f"pack3.Sensor0_{n}"] for n in (3, 10, 17)} == {"node2"}
    assert found["pack1.Sensor0_1"] == "node0"
    assert [len(refs) for refs in made.refs] == [7, 7, 7]
    crowd = plan(
        checked(Fleet(nodes(3), sensors(9), preferred=tuple(Wish(f"pack{n}", "node1") for n in range(7)))), provider
    )
    assert [len(refs) for refs in crowd.refs] == [3, 3, 3]


@provider_of
def test_preferred_is_kept_with_costs(provider: str) -> None:
    each = tuple(Sensor(f"pack{n}.Sensor", 1.0 + n % 3) for n in range(9))
    for node in ("node0", "node1", "node2"):
        wishes = (Wish("pack4", node), Wish("pack7.Sensor", node))
        made = plan(checked(Fleet(nodes(3), each, preferred=wishes)), provider)
        found = proved(made)
        assert found["pack4.Sensor"] == found["pack7.Sensor"] == node
        assert max(made.loads) <= 7  # of 18 on three nodes


@given(st.integers(0, 300), st.lists(st.sampled_from([0.3, 1.0, 2.0, 5.0]), min_size=1, max_size=9), st.integers(0, 8))
def test_quotas_never_shrink_when_a_node_goes(total: int, weights: list[float], gone: int) -> None:
    before = quotas(total, weights, [0] * len(weights))
    assert sum(before) == total
    assume(len(weights) > 1)
    gone %= len(weights)
    left = [place for place in range(len(weights)) if place != gone]
    after = quotas(total, [weights[place] for place in left], [before[place] for place in left])
    assert all(count >= before[place] for count, place in zip(after, left))
    back = quotas(total, weights, [0 if place == gone else after[left.index(place)] for place in range(len(weights))])
    assert all(back[place] <= after[left.index(place)] for place in left)


# -- today


def test_a_list_of_today_that_is_empty_runs_everything_and_is_told() -> None:
    today = (Container("node0", "file", refs=()), Container("node1", "file", refs=("pack0.Sensor0_0",)))
    made = plan(Fleet(nodes(2), sensors(4), today=today), "file")
    rows = result_of(made, "/etc/st2/p.yaml")["facts"]["today"]
    assert rows[0]["sensors"] == 4
    assert "empty, by which StackStorm runs all sensors" in rows[0]["trouble"]
    assert rows[1] == {"node": "node1", "provider": "file", "sensors": 1, "trouble": None}
    assert {move.ref: move.sources for move in made.moves()}["pack0.Sensor0_0"] == ("node0", "node1")


def test_a_container_that_ends_runs_nothing_and_is_told() -> None:
    today = (
        Container("node0", "hash", "5..4"), Container("node1", "hash", "MIN..MAX"), Container("node2", "hash"),
        Container("node3", "kvstore"), Container("node4", "file"), Container("node5", "hahs"),
        Container("node6"), Container("node7", "kvstore", refs=("",)),
    )  # fmt: skip
    fleet = Ownership(today)
    assert fleet.owners("pack0.Sensor") == ("node6", "node1")
    troubles = [share.ended or "" for share in fleet.shares.values()]
    for trouble, words in zip(troubles, ["reversed", "", "missing", "missing", "no list", "does not exist", "", ""]):
        assert words in trouble
        assert bool(words) == bool(trouble)


def test_cuts_of_today_stay_where_they_are() -> None:
    today = (Container("node0", "hash", "MIN..2147483648"), Container("node1", "hash", "2147483648..MAX"))
    low = [s for s in sensors(60) if sensor_hash(s.ref) < 2**31][:5]
    high = [s for s in sensors(60) if sensor_hash(s.ref) >= 2**31][:5]
    made = plan(Fleet(nodes(2), tuple(low + high), today=today), "hash")
    assert made.told == today
    assert made.moves() == []


def test_disabled_sensors_are_nobodys() -> None:
    each = (*sensors(4), Sensor("pack.Off", enabled=False))
    made = plan(Fleet(nodes(2), each), "kvstore")
    assert "pack.Off" not in owners(made)
    assert result_of(made, "/f")["facts"]["disabled"] == 1


# -- what is shown


@provider_of
@pytest.mark.parametrize(("size", "number"), [(0, 2), (1, 1), (1, 3), (40, 5), (3000, 3)])
def test_the_ring_is_text_and_svg(provider: str, size: int, number: int) -> None:
    made = plan(Fleet(tuple(Node(f"<n&{n}>") for n in range(number)), sensors(size)), provider)
    result = result_of(made, "/etc/st2/p.yaml")
    root = ElementTree.fromstring(result["svg"])
    assert root.tag.endswith("svg")
    dots = [each for each in root if each.tag.endswith("circle") and each.get("fill") != "none"]
    assert len(dots) == (size if provider == "hash" and size <= 2000 else 0)
    if size:
        assert f"{len(made.refs[0])} sensor" in result["ring"]
    if provider == "hash":
        assert sum(row["part"] for row in result["facts"]["ring"]) == pytest.approx(1, abs=1e-3)


def test_the_lines_for_st2_conf() -> None:
    fleet = Fleet(nodes(2), sensors(2))
    texts = {p: [row["st2_conf"] for row in result_of(plan(fleet, p), "/etc/p.yaml")["nodes"]] for p in PROVIDERS}
    assert texts["hash"][0].startswith(
        "[sensorcontainer]\nsensor_node_name = node0\npartition_provider = name:hash, hash_ranges:MIN.."
    )
    assert texts["kvstore"][1] == "[sensorcontainer]\nsensor_node_name = node1\npartition_provider = name:kvstore\n"
    assert texts["file"][1].endswith("partition_provider = name:file, partition_file:/etc/p.yaml\n")


def test_a_node_without_sensors_gets_a_text_that_runs_nothing() -> None:
    fleet = checked(Fleet(nodes(3), sensors(6), never=tuple(Wish(f"pack{n}", "node1") for n in range(6))))
    assert plan(fleet, "hash").told[1].hash_ranges == "0..0"
    assert result_of(plan(fleet, "kvstore"), "/f")["keys"]["node1.sensor_partition"] == NOBODY
    assert f"node1:\n- {NOBODY}\n" in result_of(plan(fleet, "file"), "/f")["file"]


# -- what is refused


@pytest.mark.parametrize(
    ("fleet", "sentence"),
    [
        (
            Fleet((), sensors(1)),
            "parameter `nodes` is empty: name the sensor nodes, for example nodes=sensor1,sensor2:2",
        ),
        (Fleet((Node("a"), Node("a")), ()), "parameter `nodes` has 'a' twice: name each once"),
        (Fleet((Node("a"),), sensors(1) * 2), "parameter `sensors` has 'pack0.Sensor0_0' twice: name each once"),
        (
            Fleet((Node("a", 0.0),), ()),
            "parameter `nodes` gives 'a' the weight 0: it must be above 0, at most 1e9",
        ),
        (
            Fleet((Node("a", math.nan),), ()),
            "parameter `nodes` gives 'a' the weight nan: it must be above 0, at most 1e9",
        ),
        (
            Fleet((Node("a"),), (Sensor("p.S", -1.0),)),
            "parameter `sensors` gives 'p.S' the cost -1: it must be above 0, at most 1e9",
        ),
        (
            Fleet((Node("a"),), sensors(1), never=(Wish("pack0", "b"),)),
            "parameter `never` has 'pack0@b': no such node, use one of a",
        ),
        (
            Fleet((Node("a"),), sensors(1), preferred=(Wish("pack9", "a"),)),
            "parameter `preferred` has 'pack9@a': no such sensor or pack; leave it out",
        ),
        (
            Fleet((Node("a"), Node("b")), sensors(1), never=(Wish("pack0", "a"), Wish("pack0.Sensor0_0", "b"))),
            "parameter `never` leaves no node for 'pack0.Sensor0_0': take one of a, b out of it",
        ),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(fleet: Fleet, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked(fleet)
    assert str(caught.value) == sentence
