"""A whole upgrade under load on real servers, killed on the way, rolled back, and refused where it must be."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from lab.edge import UPSTREAMS
from lab.mongodb import MongoCluster
from lab.stackstorm import INFLOW, TwoSides
from lab.stackstorm_database import fill
from lab.stackstorm_edge import EdgeSides
from lab.stackstorm_traffic import Traffic
from lab.wait import wait_for
from st2ha.mongodb.copy.facts import LEDGER
from st2ha.upgrade import keys
from st2ha.upgrade.drain import ourselves
from tests.real import run
from tests.upgrade_real import LONG, assert_nothing_lost, config, do, killed_at, meanwhile, restore_vhost

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
        assert killed_at(sides, "prepare", 5)  # of all points: test_upgrade_killed.py
        do(sides, "prepare")
        assert do(sides, "status")["facts"]["state"] == "prepared"
        own = "api_url = http://{}:{}/\n".format(*sides.addresses["new1"])
        assert own in (sides.directory / "new1" / "st2.conf").read_text(), "its sensors ask its own API"
        do(sides, "verify")
        assert sides.serves() == "old1" and not set(INFLOW) & sides.runs("new1")
        _is_refused_before_the_window(sides)
        assert killed_at(sides, "cutover", 17)
        result = do(sides, "cutover")
        assert result["facts"]["window_s"] > 0  # the figure is measured in benchmarks/upgrade_window.py
        jobs = len(traffic.jobs)
        wait_for(lambda: len(traffic.jobs) > jobs + 10, 30, "jobs on the new side")
        assert do(sides, "cutover")["plan"]["steps"] == []
        assert_nothing_lost(sides, traffic, "new")
    assert {node for node, _ in sides.records("done")} == {"old1", "new1"}
    assert do(sides, "status")["facts"]["state"] == "cut over"
    _retire(sides)


def _is_refused_before_the_window(sides: TwoSides) -> None:
    """What died since the new side was verified."""
    sides.kill("new1", "st2stream")
    passed, result = run(config(sides), "upgrade_cutover", deployment="lab")
    assert not passed and "plan_switch new1" in result["error"] and "st2stream of " in result["error"], result
    assert set(INFLOW) <= sides.runs("old1"), "no sensor was stopped for it"
    sides.start("new1", "st2stream")


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


@faults
@pytest.mark.parametrize("balancer", ["lb2", "lb1"])
def test_a_balancer_whose_reload_fails_stops_the_cutover_and_the_way_back_works(
    sides: EdgeSides, tmp_path: Path, balancer: str
) -> None:
    """Test and reload say yes, and nothing is loaded: what was switched before is put back in the same step."""
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        with sides.broken_balancer(balancer):
            passed, result = run(config(sides), "upgrade_cutover", deployment="lab")
            assert not passed and "switch edge" in result["error"] and f"{balancer}" in result["error"], result
            assert "bind() to 0.0.0.0:8100 failed" in result["error"]
            assert sides.serves("lb1") == sides.serves("lb2") == "old1"
        do(sides, "rollback", export_to=str(tmp_path))
        assert_nothing_lost(sides, traffic, "old")


@faults
def test_a_cutover_stopped_by_a_balancer_goes_on_when_that_is_mended(sides: EdgeSides) -> None:
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        with sides.broken_balancer("lb1"):
            assert not run(config(sides), "upgrade_cutover", deployment="lab")[0]
        do(sides, "cutover")
        assert_nothing_lost(sides, traffic, "new")


@faults
def test_a_configured_command_that_fails_stops_the_cutover(own_sides: TwoSides, tmp_path: Path) -> None:
    with Traffic(own_sides) as traffic:
        do(own_sides, "prepare")
        do(own_sides, "verify")
        with own_sides.broken_balancer("lb1"):
            passed, result = run(config(own_sides), "upgrade_cutover", deployment="lab")
            assert not passed and "switch lb1" in result["error"] and own_sides.serves() == "old1"
        do(own_sides, "rollback", export_to=str(tmp_path))
        assert_nothing_lost(own_sides, traffic, "old")


@faults
def test_a_dead_new_side_after_the_cutover_is_left_for_the_old_one(sides: TwoSides, tmp_path: Path) -> None:
    """It dies at once with all it has; what it had taken and not done is in the export."""
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        do(sides, "cutover")
        since = len(traffic.jobs)
        wait_for(lambda: len(traffic.jobs) > since + 5, 60, "jobs on the new side")
        traffic.hold_events()  # a sensor that is killed tells its last event again: that is no matter of upgrades
        keys = sides.mongo.client(login="lab_root").st2_v2_5.key_value_pair_d_b
        position = {"_id": "sensor_position", "value": traffic.events}
        wait_for(lambda: keys.find_one(position) is not None, 30, "the sensor to keep its position")
        for service in sides.runs("new1"):
            sides.kill("new1", service)
        result = do(sides, "rollback", export_to=str(tmp_path))
        wait_for(lambda: sides.serves() == "old1", 20, "the old side to serve")
        failed = len(traffic.failed)
        traffic.go_on()
        traffic.hear("old1")
        assert len(traffic.failed) == failed, traffic.failed[failed:]
        traffic.stop()
    verbs = [step["verb"] for step in result["steps_done"]]
    assert verbs.index("switch_back") < verbs.index("stop_inflow_new") < verbs.index("start_inflow_old")
    assert set(INFLOW) <= sides.runs("old1") and not sides.runs("new1")
    exported = (tmp_path / "st2_v2_5-executions.json").read_text()
    wait_for(lambda: not [each for each in traffic.missing() if each not in exported], 60, "all to be done or exported")
    assert traffic.twice() == []
    passed, result = run(config(sides), "upgrade_prepare", deployment="lab")
    assert not passed and "the upgrade is rolled back" in result["error"]


@faults
@pytest.mark.parametrize("action, where", [
    ("prepare", ("upgrades", {"steps.verb": "copy_database"})), ("prepare", ("copies", {"target": "st2_v2_5"})),
    ("prepare", ("copied_parts", {"target": "st2_v2_5"})), ("verify", ("upgrades", {"steps.verb": "prove_copy"})),
    ("cutover", ("upgrades", {"steps.verb": "stop_inflow"})), ("cutover", ("upgrades", {"steps.verb": "hand_over"})),
], ids=str)  # fmt: skip
def test_a_primary_that_steps_down_is_outlived(sides: TwoSides, action: str, where: tuple[str, dict[str, Any]]) -> None:
    """Before, in and after the copy, in its proof, in the drain and when the copy is handed over."""
    fill(sides.mongo.client(login="lab_root"), "st2", 20_000)

    def step_down() -> None:
        sides.mongo.command(sides.mongo.primary().name, {"replSetStepDown": 10, "force": True})

    with Traffic(sides) as traffic:
        for each in ("prepare", "verify", "cutover"):
            with meanwhile(sides, where if each == action else None, step_down):
                do(sides, each)
        assert_nothing_lost(sides, traffic, "new")


@faults
def test_a_broker_node_that_dies_in_the_drain_is_outlived(sides: TwoSides) -> None:
    """That which the old side and the new one are connected to."""
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        with meanwhile(sides, ("upgrades", {"steps.verb": "stop_inflow"}), lambda: sides.rabbit.kill("rabbit1")):
            do(sides, "cutover")
        assert_nothing_lost(sides, traffic, "new")


def test_a_second_controller_is_refused(still_sides: TwoSides) -> None:
    root = still_sides.mongo.client(login="lab_root")
    other = {"host": "elsewhere", "pid": 1, "born": "1"}
    until = datetime.now(timezone.utc) + timedelta(minutes=5)
    root[LEDGER].leases.insert_one({"_id": "st2 -> st2_v2_5", **other, "until": until})
    passed, result = run(config(still_sides), "upgrade_prepare", deployment="lab")
    assert not passed and "process 1 on elsewhere works on this upgrade" in result["error"]
    assert "st2_v2_5" not in root.list_database_names()


@pytest.fixture
def waiting(sides: TwoSides) -> dict[str, ObjectId]:
    """An inquiry in a workflow that is paused because of it, and a workflow that somebody has paused."""
    root = sides.mongo.client(login="lab_root").st2
    ids = {
        name: ObjectId() for name in ("asked", "around", "paused", "asked_live", "around_live", "paused_live", "flow")
    }
    rows = {"asked": "pending", "around": "paused", "paused": "paused"}
    for name, status in rows.items():
        live, more = ids[f"{name}_live"], {"parent": str(ids["around"])} if name == "asked" else {}
        root.live_action_d_b.insert_one({"_id": live, "status": status})
        row = {"_id": ids[name], "status": status, "liveaction": {"id": str(live)}, **more}
        root.action_execution_d_b.insert_one(row)
    flow = {"_id": ids["flow"], "status": "paused", "action_execution": str(ids["around"])}
    root.workflow_execution_d_b.insert_one(flow)
    return ids


@faults
@pytest.mark.parametrize("inquiries, paused", [("carry", "abort"), ("abort", "carry"), ("abort", "abort")])
def test_what_waits_for_people_is_waited_for_carried_over_or_aborted_by_class(
    sides: TwoSides, waiting: dict[str, ObjectId], inquiries: str, paused: str
) -> None:
    found = {row["code"]: row["message"] for row in do(sides, "preflight")["details"]}
    assert str(waiting["asked"]) in found["InquiriesWaiting"] and str(waiting["paused"]) in found["ExecutionsPaused"]
    assert "1 paused executions" in found["ExecutionsPaused"]
    with Traffic(sides) as traffic:
        do(sides, "prepare")
        do(sides, "verify")
        passed, result = run(config(sides, drain_s=1), "upgrade_cutover", deployment="lab", inquiries=inquiries)
        assert not passed and f"paused: {waiting['paused']}" in result["error"], result
        do(sides, "cutover", inquiries=inquiries, paused=paused)
        assert_nothing_lost(sides, traffic, "new")
    after = {"carry": {"asked": "pending", "around": "paused", "paused": "paused"}, "abort": {}}
    new = sides.mongo.client(login="lab_root").st2_v2_5
    for names, choice in ((("asked", "around"), inquiries), (("paused",), paused)):
        for name in names:
            wanted = after[choice].get(name, "canceled")
            assert new.action_execution_d_b.find_one({"_id": waiting[name]})["status"] == wanted
            assert new.live_action_d_b.find_one({"_id": waiting[f"{name}_live"]})["status"] == wanted


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


@faults
def test_a_preflight_on_the_running_old_side_finds_what_would_break_the_way_back(sides: EdgeSides) -> None:
    """Nothing on the healthy one, and nothing is left by the rehearsal; then a balancer, a node, services."""
    new, before = sides.directory / "new1", sides.edge.file("lb1", UPSTREAMS).read_bytes()
    names = sorted(path.name for path in new.iterdir())
    found = do(sides, "preflight")
    assert {row["code"] for row in found["details"]} <= {"VersionUnread", "MemoryShort"}, found["findings"]
    assert sorted(path.name for path in new.iterdir()) == names
    assert sides.edge.file("lb1", UPSTREAMS).read_bytes() == before

    mistake = sides.edge.file("lb2", "/etc/nginx/conf.d/mistake.conf")
    mistake.write_text("mistake;\n")
    (new / "st2.conf").write_text((new / "st2.conf").read_text() + "[messaging]\n")
    passed, result = run(config(sides), "upgrade_preflight", deployment="lab")
    assert not passed and "new1" in result["error"] and "the section [messaging] twice" in result["error"]
    (new / "st2.conf").write_text((new / "st2.conf").read_text().replace("[messaging]\n", "", 1))
    sides.stop("old1", "st2timersengine")
    rows = {row["code"]: f"{row['subject']} {row['message']}" for row in do(sides, "preflight")["details"]}
    assert "nginx of lb2 refuses its files" in rows["WayBackClosed"] and "balancers" in rows["WayBackClosed"]
    assert "old1 st2timersengine do not run there" in rows["ServiceIdle"]
    mistake.unlink()


def test_wrong_rights_are_found_by_name(still_sides: TwoSides) -> None:
    values = config(still_sides)
    layers, mongo = values["deployments"][0], still_sides.mongo
    layers["rabbitmq"]["username"] = "st2ha_check"
    layers["rabbitmq"]["password_file"] = str(still_sides.rabbit.logins["st2ha_check"].password_file)
    passed, result = run(values, "upgrade_preflight", deployment="lab")
    told = {row["code"]: row["message"] for row in result["details"]}
    assert passed and "has no tag administrator" in told["BrokerRightsMissing"]
    layers["mongodb"].update(username=mongo.username, password_file=str(mongo.password_file))
    passed, result = run(values, "upgrade_preflight", deployment="lab")
    assert not passed and "the user of mongodb.username may not" in result["error"], result
    assert "grant the roles" in result["error"]


def test_taken_names_are_found_and_refused(still_sides: TwoSides) -> None:
    still_sides.mongo.client(login="lab_root").st2_v2_5.user_d_b.insert_one({"name": "somebody"})
    still_sides.rabbit.api("rabbit1", "PUT", "/api/vhosts/st2_v2_5", {})
    found = {row["code"] for row in do(still_sides, "preflight")["details"]}
    assert {"CopyImpossible", "VhostTaken"} <= found
    passed, result = run(config(still_sides), "upgrade_prepare", deployment="lab")
    assert not passed and "this upgrade did not make it" in result["error"]
    assert still_sides.mongo.client(login="lab_root").st2_v2_5.user_d_b.count_documents({}) == 1


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


def test_keys_come_back_unless_the_old_side_has_changed_them(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root")
    old, new = root.st2[keys.KEYS], root.st2_v2_5[keys.KEYS]
    for rows in (old, new):
        rows.create_index("name", unique=True)
        rows.insert_many([{"_id": name, "name": name, "value": 0} for name in ("same", "mine", "both", "gone", "anew")])

    def mark() -> Any:
        return root.st2ha_upgrade.command("insert", "marks", documents=[{}])["operationTime"]

    before = mark()
    new.update_one({"_id": "mine"}, {"$set": {"value": 1}})
    old.update_one({"_id": "both"}, {"$set": {"value": 2}})
    new.update_one({"_id": "both"}, {"$set": {"value": 1}})
    new.delete_one({"_id": "gone"})
    new.delete_one({"_id": "anew"})  # the same name, another document
    new.insert_one({"_id": "anew2", "name": "anew", "value": 1})
    for expected in (4, 0):  # once more there is nothing left
        done = keys.bring_back(root, "st2_v2_5", "st2", (before, before), mark())
        assert done.number == expected and done.left == ("both",)
    values = {row["_id"]: row["value"] for row in old.find()}
    assert values == {"same": 0, "mine": 1, "both": 2, "anew2": 1}
