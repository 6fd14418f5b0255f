"""What a copy's plan holds and why one is refused, decided from plain facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from st2ha.errors import BadInput
from st2ha.mongodb.copy import decide
from st2ha.mongodb.copy.facts import Part, Record, World, missing_rights, parse_part
from st2ha.plan import Plan, Refused

INDEX = {"uid_1": {"v": 2, "key": {"uid": 1}, "name": "uid_1"}}
BIG = Part("executions", indexes=INDEX, documents=1000, data_bytes=1_000_000, disk_bytes=2_000_000)
SMALL = Part("users", documents=3, data_bytes=300, disk_bytes=40_000)
VIEW = Part("view", kind="view", options={"viewOn": "users"})
WORLD = World(
    source="st2",
    target="st2_v2_5",
    source_parts={part.name: part for part in (SMALL, BIG, VIEW)},
    target_parts={},
    record=None,
    free_bytes={"mongo1:27017": 10**9, "mongo2:27017": None},
    missing_rights=(),
    oplog_window_s=None,
    version="6.0.5",
)
COPIED = Record("st2", "st2_v2_5", "verified", (100, 1), {"executions": (100, 1), "users": (100, 1)})


def steps(world: World) -> list[tuple[str, str]]:
    decision = decide.copy(world)
    assert isinstance(decision, Plan), decision
    return [(step.verb, step.target) for step in decision.steps]


def reasons(world: World) -> str:
    decision = decide.copy(world)
    assert isinstance(decision, Refused)
    return decision.sentence()


def test_small_collections_are_one_step_and_indexes_of_large_ones_come_after_all_documents() -> None:
    larger = replace(BIG, name="larger", data_bytes=2_000_000)
    tiny = replace(SMALL, name="keys", indexes=INDEX)
    world = replace(WORLD, source_parts={**WORLD.source_parts, "larger": larger, "keys": tiny})
    assert steps(world) == [
        ("begin", "st2_v2_5"),
        ("copy_small", "2 collections under 1 MB"),
        ("copy_collection", "larger"),
        ("copy_collection", "executions"),
        ("build_indexes", "larger"),
        ("build_indexes", "executions"),
        ("make_view", "view"),
        ("catch_up", "st2_v2_5"),
        ("verify", "st2_v2_5"),
    ]


def test_what_the_ledger_has_is_not_copied_again() -> None:
    there = {**WORLD.source_parts, "executions": replace(BIG, indexes={})}
    assert steps(replace(WORLD, record=COPIED, target_parts=there)) == [
        ("build_indexes", "executions"),
        ("catch_up", "st2_v2_5"),
        ("verify", "st2_v2_5"),
    ]
    assert steps(replace(WORLD, record=COPIED, target_parts=WORLD.source_parts))[0] == ("catch_up", "st2_v2_5")


def test_a_result_has_one_row_for_all_small_collections() -> None:
    tiny = replace(SMALL, name="keys", documents=4, indexes=INDEX)
    world = replace(WORLD, source_parts={**WORLD.source_parts, "keys": tiny}, target_parts={"users": SMALL})
    assert [(row["name"], row["documents"], row["copied"], row["indexes"]) for row in world.rows()] == [
        ("executions", 1000, 0, 1),
        ("view", 0, 0, 0),
        ("2 collections under 1 MB", 7, 3, 1),
    ]


def test_too_little_disk_is_told_with_the_member_and_both_numbers() -> None:
    words = reasons(replace(WORLD, free_bytes={"mongo1:27017": 10**9, "mongo2:27017": 10**6}))
    assert "mongo2:27017 has 0.0 GB free" in words and "mongo1" not in words
    room = replace(WORLD, free_bytes={"mongo1:27017": 10**6}, record=COPIED, target_parts=WORLD.source_parts)
    assert isinstance(decide.copy(room), Plan)  # what is copied needs no room any more


@pytest.mark.parametrize("other, words", [
    ({"target_parts": {"users": SMALL}}, "holds data (users), and we did not make it"),
    ({"record": replace(COPIED, state=decide.HANDED_OVER)}, "handed over to the new side"),
    ({"source_parts": {}}, "there is no database st2"),
    ({"source_parts": {"m": Part("m", kind="timeseries")}}, "m of st2 is a timeseries collection"),
    ({"missing_rights": ("readWrite on x (insert)",)}, "lacks readWrite on x (insert)"),
])  # fmt: skip
def test_refusals(other: dict[str, Any], words: str) -> None:
    assert words in reasons(replace(WORLD, **other))


def test_an_empty_target_collection_is_no_reason_against_it() -> None:
    assert steps(replace(WORLD, target_parts={"users": replace(SMALL, documents=0)}))[0][0] == "begin"


@pytest.mark.parametrize(
    "pair", [("st2", "st2"), ("st2", "ST2"), ("", "x"), ("st2", "a.b"), ("st2", "local"), (1, "x")]
)
def test_names_that_are_none(pair: tuple[Any, Any]) -> None:
    with pytest.raises(BadInput):
        decide.checked_names(*pair)


def test_rights_are_those_of_a_database_of_any_or_of_none() -> None:
    def privilege(database: str, *actions: str) -> dict[str, Any]:
        return {"resource": {"db": database, "collection": ""}, "actions": actions}

    assert missing_rights(None, "st2", "new") == ()
    everything = [{"resource": {"anyResource": True}, "actions": [*decide_actions()]}]
    assert missing_rights(everything, "st2", "new") == ()
    lacking = missing_rights([privilege("", *decide_actions()), privilege("st2", "find")], "st2", "new")
    assert lacking == ()
    one = missing_rights([privilege("st2", *decide_actions()), privilege("new", *decide_actions())], "st2", "new")
    assert len(one) == 1 and one[0].startswith("readWrite on st2ha_upgrade (find")


def decide_actions() -> set[str]:
    from st2ha.mongodb.copy import facts

    return {*facts.READING, *facts.WRITING, *facts.KEEPING}


def test_a_part_from_the_servers_replies() -> None:
    row = {"name": "c", "type": "collection", "options": {"capped": True, "size": 4096}}
    indexes = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, {"v": 2, "key": {"a": 1}, "name": "a_1", "ns": "st2.c"}]
    part = parse_part(row, indexes, {"count": 2, "size": 100, "storageSize": 50, "totalIndexSize": 7})
    assert part.capped and part.disk_bytes == 57 and part.indexes == {"a_1": {"v": 2, "key": {"a": 1}, "name": "a_1"}}
