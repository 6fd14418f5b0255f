"""A whole upgrade under load on real servers, killed on the way, rolled back, and refused where it must be."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from lab.mongodb import MongoCluster
from lab.stackstorm import INFLOW, Traffic, TwoSides
from lab.wait import wait_for
from st2ha.mongodb.copy.facts import LEDGER
from st2ha.upgrade.drain import ourselves
from tests.real import run
from tests.upgrade_real import assert_nothing_lost, backup, config, do, killed_at, restore_vhost

LONG = bool(os.environ.get("ST2HA_TEST_LONG"))
pytestmark = pytest.mark.timeout(900)  # the machine may be busy
faults = pytest.mark.skipif(not LONG, reason="ST2HA_TEST_LONG runs it: each is an upgrade of its own, 20 s")


def test_an_upgrade_under_load_loses_nothing_and_is_told_step_by_step(sides: TwoSides) -> None:
    plan = do(sides, "plan")
    assert {row["phase"] for row in plan["steps"]} == {"prepare", "verify", "drain", "catch-up", "cutover", "settle"}
    assert any("+db_name = st2_v2_5" in line for line in plan["diff"]) and sides.mongo.logins[
        "lab_root"
    ].password not in str(plan)
    assert do(sides, "preflight")["facts"]["sides"][1]["vhost"] == "st2_v2_5"
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        assert do(sides, "status")["facts"]["state"] == "prepared"
        do(sides, "verify")
        assert sides.serves() == "old1" and not set(INFLOW) & sides.runs("new1")
        result = do(sides, "cutover")
        assert result["facts"]["window_s"] > 0  # the figure is measured in benchmarks/upgrade_window.py
        jobs = len(traffic.jobs)
        wait_for(lambda: len(traffic.jobs) > jobs + 10, 30, "jobs on the new side")
        assert do(sides, "cutover")["plan"]["steps"] == []
        assert_nothing_lost(sides, traffic, "new")
    assert {node for node, _ in sides.records("done")} == {"old1", "new1"}
    assert do(sides, "status")["facts"]["state"] == "cut over"
    _retire(sides)


def _retire(sides: TwoSides) -> None:
    passed, result = run(config(sides), "upgrade_retire", deployment="lab", confirm="wrong")
    assert not passed and result["kind"] == "refused" and "repeat the old database's name" in result["error"]
    passed, result = run(config(sides, soak_s=3600), "upgrade_retire", deployment="lab", confirm="st2")
    assert not passed and "soak time" in result["error"]
    passed, result = run(config(sides), "upgrade_retire", deployment="lab", confirm="st2")
    assert not passed and "rabbitmq.vhost is still st2" in result["error"]
    values = config(sides)
    values["deployments"][0]["rabbitmq"]["vhost"] = sides.name
    try:
        passed, result = run(values, "upgrade_retire", deployment="lab", confirm="st2")
        assert passed, result
        assert "st2" not in sides.mongo.client(login="lab_root").list_database_names() and not sides.runs("old1")
        assert sides.serves() == "new1"
    finally:
        restore_vhost(sides)


def test_a_controller_killed_at_any_step_is_run_again_until_it_is_done(sides: TwoSides) -> None:
    """SIGKILL before and after the steps of every phase; in CI before each third of them."""
    with Traffic(sides) as traffic:
        for action in ("prepare", "verify", "cutover"):
            point = 0 if LONG else 1
            while killed_at(sides, action, point):
                status = do(sides, "status")
                assert status["facts"].get("holder") is None
                point += 1 if LONG else 5
        assert_nothing_lost(sides, traffic, "new")


@pytest.mark.parametrize("point", range(0, 17) if LONG else [12])
def test_a_cutover_killed_anywhere_is_rolled_back(sides: TwoSides, point: int, tmp_path: Path) -> None:
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        killed_at(sides, "cutover", point)
        result = do(sides, "rollback", export_to=str(tmp_path))
        assert result["outcome"] == "done"
        wait_for(lambda: sides.serves() == "old1", 10, "the old side to serve")
        assert_nothing_lost(sides, traffic, "old")
    assert not sides.runs("new1") and not backup(sides).exists()
    assert "127.0.0.1:5672" in (sides.directory / "new1" / "st2.conf").read_text()


def test_a_rollback_before_the_cutover_removes_only_what_the_upgrade_made(sides: TwoSides) -> None:
    do(sides, "prepare")
    do(sides, "verify")
    result = do(sides, "rollback", purge=True)
    assert [step["verb"] for step in result["plan"]["steps"]] == [
        "stop_work", "restore_conf", "drop_database", "delete_vhost",
    ]  # fmt: skip
    root = sides.mongo.client(login="lab_root")
    assert "st2_v2_5" not in root.list_database_names() and "st2" in root.list_database_names()
    vhosts = {row["name"] for row in sides.rabbit.api("rabbit1", "GET", "/api/vhosts?columns=name")}
    assert "st2_v2_5" not in vhosts and "st2" in vhosts
    assert do(sides, "status")["facts"]["state"] == "new"
    assert sides.runs("old1") >= set(INFLOW)


@faults
def test_a_balancer_whose_reload_fails_stops_the_cutover_and_the_way_back_works(
    sides: TwoSides, tmp_path: Path
) -> None:
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        with sides.broken_balancer("lb1"):
            passed, result = run(config(sides), "upgrade_cutover", deployment="lab")
            assert not passed and "switch lb1" in result["error"] and sides.serves() == "old1"
        do(sides, "rollback", export_to=str(tmp_path))
        assert_nothing_lost(sides, traffic, "old")


@faults
def test_a_dead_new_side_after_the_cutover_is_left_for_the_old_one(sides: TwoSides, tmp_path: Path) -> None:
    do(sides, "prepare")
    do(sides, "verify")
    do(sides, "cutover")
    for service in sides.runs("new1"):
        sides.kill("new1", service)
    result = do(sides, "rollback", export_to=str(tmp_path))
    verbs = [step["verb"] for step in result["steps_done"]]
    assert verbs.index("switch_back") < verbs.index("stop_inflow_new") < verbs.index("start_inflow_old")
    assert sides.serves() == "old1" and set(INFLOW) <= sides.runs("old1")
    assert (tmp_path / "st2_v2_5-executions.json").read_text().count("core.noop") >= 1
    passed, result = run(config(sides), "upgrade_prepare", deployment="lab")
    assert not passed and "the upgrade is rolled back" in result["error"]


def test_a_second_controller_is_refused(still_sides: TwoSides) -> None:
    root = still_sides.mongo.client(login="lab_root")
    other = {"host": "elsewhere", "pid": 1, "born": "1"}
    until = datetime.now(timezone.utc) + timedelta(minutes=5)
    root[LEDGER].leases.insert_one({"_id": "st2 -> st2_v2_5", **other, "until": until})
    passed, result = run(config(still_sides), "upgrade_prepare", deployment="lab")
    assert not passed and "process 1 on elsewhere works on this upgrade" in result["error"]
    assert "st2_v2_5" not in root.list_database_names()


@faults
def test_what_waits_for_people_is_waited_for_or_carried_over(sides: TwoSides) -> None:
    root = sides.mongo.client(login="lab_root")
    number = ObjectId()
    root.st2.live_action_d_b.insert_one({"_id": number, "status": "pending"})
    found = do(sides, "preflight")
    assert "ExecutionsWaiting" in {row["code"] for row in found["details"]}
    do(sides, "prepare")
    do(sides, "verify")
    passed, result = run(config(sides, drain_s=1), "upgrade_cutover", deployment="lab")
    assert not passed and "1 inquiries or paused executions" in result["error"]
    do(sides, "cutover", leftovers="carry")
    assert root.st2_v2_5.live_action_d_b.find_one({"_id": number})["status"] == "pending"


@pytest.mark.parametrize("change, code", [
    ({"new": {"version": "2.3"}}, "DowngradeAsked"),
    ({"command": "false"}, "NodeUnasked"),
])  # fmt: skip
def test_a_preflight_finds(still_sides: TwoSides, change: dict[str, Any], code: str) -> None:
    values = config(still_sides)
    layer = values["deployments"][0]["upgrade"]
    for key, value in change.items():
        layer[key] = {**layer[key], **value} if isinstance(value, dict) else value
    passed, result = run(values, "upgrade_preflight", deployment="lab")
    if code == "NodeUnasked":
        assert not passed and "ended with 1" in result["error"]
        return
    assert code in {row["code"] for row in result["details"]}
    passed, result = run(values, "upgrade_prepare", deployment="lab")
    assert not passed and "is older than" in result["error"] and "force=true" in result["error"]


def test_taken_names_are_found_and_refused(still_sides: TwoSides) -> None:
    still_sides.mongo.client(login="lab_root").st2_v2_5.user_d_b.insert_one({"name": "somebody"})
    still_sides.rabbit.api("rabbit1", "PUT", "/api/vhosts/st2_v2_5", {})
    found = {row["code"] for row in do(still_sides, "preflight")["details"]}
    assert {"CopyImpossible", "VhostTaken"} <= found
    passed, result = run(config(still_sides), "upgrade_prepare", deployment="lab")
    assert not passed and "this upgrade did not make it" in result["error"]
    assert still_sides.mongo.client(login="lab_root").st2_v2_5.user_d_b.count_documents({}) == 1


@faults
def test_a_broker_node_that_dies_in_the_drain_is_outlived(sides: TwoSides) -> None:
    do(sides, "prepare")
    do(sides, "verify")
    with Traffic(sides) as traffic:
        sides.rabbit.kill("rabbit3")
        do(sides, "cutover")
        assert_nothing_lost(sides, traffic, "new")


def test_the_execution_that_we_are_is_not_waited_for(mongo: MongoCluster) -> None:
    """As StackStorm records a python action inside a workflow: it and all around it end only after us."""
    data = mongo.client(login="lab_root").st2
    ids = {name: ObjectId() for name in ("mine", "live", "task", "flow", "outer", "outer_live", "other")}
    mine = {"liveaction": {"id": str(ids["live"])}, "task_execution": str(ids["task"]), "parent": str(ids["outer"])}
    outer = {"liveaction": {"id": str(ids["outer_live"])}}
    data.action_execution_d_b.insert_many(
        [{"_id": ids["mine"], "workflow_execution": str(ids["flow"]), **mine}, {"_id": ids["outer"], **outer}]
    )
    data.workflow_execution_d_b.insert_one({"_id": ids["flow"], "action_execution": str(ids["outer"])})
    assert set(ourselves(data, str(ids["mine"]))) == set(ids.values()) - {ids["other"]}
    assert ourselves(data, None) == [] and ourselves(data, "no id") == []
