"""The MongoDB actions on a real replica set: what they say, what they do, and what they leave alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from pymongo.monitoring import (
    ServerClosedEvent,
    ServerDescriptionChangedEvent,
    ServerListener,
    ServerOpeningEvent,
)

from lab.mongodb import MongoCluster
from lab.wait import wait_for
from tests.real import PACK, Writer, codes, config_of, primaries, run
from tests.record import reconfigure

LAB = {"deployment": "lab"}


@pytest.fixture(scope="module")
def arbiter_set() -> Iterator[MongoCluster]:
    """Two data members and an arbiter; tests leave it healthy."""
    with MongoCluster(members=2, arbiters=1) as rs:
        yield rs


def switch(mongo: MongoCluster, member: str, **parameters: Any) -> tuple[bool, dict[str, Any]]:
    return run(config_of(mongo), "mongodb_switchover", member=member, **{**LAB, **parameters})


# -- check


@pytest.mark.parametrize("action", ["mongodb_check", "check"])
def test_a_healthy_set_is_ok(mongo: MongoCluster, action: str) -> None:
    passed, result = run(config_of(mongo), action, deployment="lab", fail_on="warning")
    assert passed and result["findings"] == []
    assert result["severity"] == "ok" and result["summary"].startswith("OK ")
    assert f"primary {mongo.primary().address}" in result["summary"]
    members = result["facts"]["members" if action == "mongodb_check" else "mongodb_members"]
    assert sorted(row["state"] for row in members) == ["PRIMARY", "SECONDARY", "SECONDARY"]
    assert {type(row["term"]) for row in members} == {int}, "nothing of the driver's leaves the layer"


def test_a_user_with_the_rights_of_the_documentation_can_check(mongo: MongoCluster) -> None:
    login = mongo.logins["st2ha_check"]
    config = config_of(mongo, username=login.username, password_file=str(login.password_file))
    assert run(config, "mongodb_check")[1]["severity"] == "ok"


def test_a_canary_comes_back(mongo: MongoCluster) -> None:
    passed, result = run(config_of(mongo), "mongodb_check", canary=True)
    assert passed and result["severity"] == "ok"
    assert 0 < result["facts"]["canary_s"] < 5
    assert mongo.client().st2ha_canary.canary.count_documents({}) == 1


def test_a_canary_without_the_right_to_write_is_lost(mongo: MongoCluster) -> None:
    login = mongo.logins["st2ha_check"]
    config = config_of(mongo, username=login.username, password_file=str(login.password_file))
    result = run(config, "mongodb_check", canary=True)[1]
    assert codes(result) == {("critical CanaryLost", "rs0")}
    assert "not authorized" in result["details"][0]["message"]


def test_a_check_fails_on_what_it_was_told_to_fail_on(mongo: MongoCluster) -> None:
    config = config_of(mongo, limits={"client_patience_s": 1})
    assert run(config, "mongodb_check", fail_on="critical")[0]
    passed, result = run(config, "mongodb_check", fail_on="warning")
    assert not passed and codes(result) == {("warning ElectionTimeoutBeyondClients", "rs0")}


# -- switchover


def test_a_switchover_to_each_member_in_turn_loses_no_acknowledged_write(mongo: MongoCluster) -> None:
    targets = [member.address for member in [*mongo.secondaries(), mongo.primary()]]
    with Writer(mongo) as writer:
        for target in targets:
            passed, result = switch(mongo, target)
            assert passed, result
            assert result["outcome"] == "done" and result["steps_left"] == []
            assert primaries(mongo) == [target]
            assert next(row for row in result["after"] if row["state"] == "PRIMARY")["host"] == target
    assert len(writer.acknowledged) > 10 and writer.lost() == []


def test_a_switchover_to_the_best_member(mongo: MongoCluster) -> None:
    before = mongo.primary()
    passed, result = switch(mongo, "best")
    assert passed and result["severity"] == "ok", result
    assert mongo.primary() != before
    assert [step["verb"] for step in result["steps_done"]] == [step["verb"] for step in result["plan"]["steps"]]
    assert result["summary"].startswith("OK switchover of rs0 from ")


def test_a_member_that_came_back_just_now_is_known_to_the_clients_before_the_switch(mongo: MongoCluster) -> None:
    """Otherwise they look for it while there is no primary, no oftener than every half second."""
    target, seen = mongo.primary(), Descriptions()
    with mongo.client(event_listeners=[seen]) as client:
        client.admin.command("ping")
        mongo.kill(target.name)
        wait_for(lambda: seen.of(target.address)[-1:] == ["Unknown"], 10, "the client to miss it")
        mongo.start(target.name)
        mongo.wait_healthy()
        passed, result = switch(mongo, target.address)
        assert passed and "await_clients" in [step["verb"] for step in result["steps_done"]], result
        wait_for(lambda: seen.of(target.address)[-1] == "RSPrimary", 10, "the client to find it")
    assert seen.of(target.address)[-2:] == ["RSSecondary", "RSPrimary"]


class Descriptions(ServerListener):
    """What a client has held each server for."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, str]] = []

    def of(self, address: str) -> list[str]:
        return [kind for host, kind in self._seen if host == address]

    def opened(self, event: ServerOpeningEvent) -> None:
        """Nothing to note."""

    def closed(self, event: ServerClosedEvent) -> None:
        """Nothing to note."""

    def description_changed(self, event: ServerDescriptionChangedEvent) -> None:
        host, port = event.server_address
        self._seen.append((f"{host}:{port}", event.new_description.server_type_name))


def test_a_member_that_was_frozen_can_be_switched_to(mongo: MongoCluster) -> None:
    """A freeze cannot be seen: left in force it would leave the set without a primary after the step-down."""
    target = mongo.secondaries()[0]
    mongo.command(target.name, {"replSetFreeze": 600})
    passed, result = switch(mongo, target.address)
    assert passed, result
    assert primaries(mongo) == [target.address]


def test_a_dry_run_writes_nothing(mongo: MongoCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "journal"
    monkeypatch.setenv("ST2HA_JOURNAL", str(journal))
    primary = mongo.primary()

    def state() -> tuple[Any, ...]:
        config = mongo.command(primary.name, "replSetGetConfig")["config"]
        status = mongo.command(primary.name, "replSetGetStatus")
        return config["version"], config.get("term"), status["term"], primaries(mongo)

    before = state()
    passed, result = switch(mongo, "best", dry_run=True)
    assert passed and result["summary"].startswith("PLAN switchover of rs0 from ")
    assert [step["verb"] for step in result["plan"]["steps"]][-1] == "prove"
    assert "outcome" not in result
    assert state() == before and not journal.exists()
    frozen = run(config_of(mongo), "mongodb_freeze", member=mongo.secondaries()[0].address, dry_run=True, **LAB)
    assert frozen[0] and not journal.exists()


def test_a_member_that_is_primary_already_needs_no_step(mongo: MongoCluster) -> None:
    primary = mongo.primary().address
    passed, result = switch(mongo, primary)
    assert passed and result["plan"]["steps"] == []
    assert result["summary"] == f"OK switchover of rs0 to {primary}: it is primary already"


def test_the_journal_tells_the_steps_of_a_switchover(
    mongo: MongoCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST2HA_JOURNAL", str(tmp_path / "journal"))
    result = switch(mongo, "best")[1]
    told = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    assert told[0]["event"] == "plan" and told[0]["steps"] == result["plan"]["steps"]
    assert [each["verb"] for each in told if each.get("state") == "done"] == [s["verb"] for s in result["steps_done"]]
    assert (told[-1]["event"], told[-1]["status"]) == ("outcome", "done")


# -- refusals: nothing was written


def test_a_target_that_is_down_is_refused_and_not_replaced(mongo: MongoCluster) -> None:
    primary, target = mongo.primary(), mongo.secondaries()[0]
    mongo.kill(target.name)
    for force in (False, True):
        passed, result = switch(mongo, target.address, force=force)
        assert not passed and result["kind"] == "refused"
        assert result["reasons"] == [f"{target.address} does not answer: its position is unknown"]
    assert primaries_besides(mongo, target.name) == [primary.address]


def primaries_besides(mongo: MongoCluster, dead: str) -> list[str]:
    alive = [m for m in mongo.members if m.name != dead]
    return [m.address for m in alive if mongo.command(m.name, "hello").get("isWritablePrimary")]


def test_a_third_member_that_is_down_can_be_forced_past(mongo: MongoCluster) -> None:
    target, third = mongo.secondaries()
    mongo.kill(third.name)
    passed, result = switch(mongo, target.address)
    assert not passed and result["error"].endswith("(force=true overrides this)")
    assert f"{third.address} unreachable" in result["error"]
    passed, result = switch(mongo, target.address, force=True)
    assert passed, result
    assert primaries_besides(mongo, third.name) == [target.address]
    assert codes(result) >= {("warning MemberDown", third.address)}


def test_a_member_of_priority_0_is_refused(mongo: MongoCluster) -> None:
    target = mongo.secondaries()[0]

    def lower(config: dict[str, Any]) -> None:
        next(m for m in config["members"] if m["host"] == target.address)["priority"] = 0

    reconfigure(mongo, lower)
    passed, result = switch(mongo, target.address, force=True)
    assert not passed and f"{target.address} has priority 0" in result["error"]


def test_a_member_that_is_not_configured_here_is_refused(mongo: MongoCluster) -> None:
    known = [mongo.primary().address, mongo.secondaries()[0].address]
    config = config_of(mongo, hosts=known)
    passed, result = run(config, "mongodb_switchover", member=known[1], force=True, **LAB)
    assert not passed and result["kind"] == "refused" and "of the set is not in mongodb.hosts" in result["error"]
    assert codes(run(config, "mongodb_check")[1]) == {("warning ConfigDrift", "rs0")}


@pytest.mark.parametrize("action", ["mongodb_switchover", "mongodb_freeze", "mongodb_unfreeze"])
def test_a_member_that_is_none(mongo: MongoCluster, action: str) -> None:
    passed, result = run(config_of(mongo), action, member="mongo9:27017", **LAB)
    assert not passed and result["kind"] == "bad_input"
    hosts = ", ".join(mongo.hosts)
    assert result["error"] == f"parameter `member` is 'mongo9:27017', no member of rs0: use one of {hosts}"


@pytest.mark.parametrize("member", ["", "  ", None])
def test_an_empty_member_is_bad_input_and_never_the_best(mongo: MongoCluster, member: Any) -> None:
    passed, result = switch(mongo, member)
    assert not passed and result["kind"] == "bad_input" and "name the member" in result["error"]


def test_another_replica_set_is_bad_input(mongo: MongoCluster) -> None:
    passed, result = run(config_of(mongo, replica_set="rs9"), "mongodb_check")
    assert not passed and result["kind"] == "bad_input"
    assert result["error"] == (
        "mongodb.replica_set is 'rs9', the servers belong to 'rs0': correct the name, or the hosts"
    )


# -- freeze


def test_freeze_keeps_a_member_from_being_elected_until_unfreeze(mongo: MongoCluster) -> None:
    target = mongo.secondaries()[0]
    passed, result = run(config_of(mongo), "mongodb_freeze", member=target.address, seconds=600, **LAB)
    assert passed and result["outcome"] == "done"
    with pytest.raises(OperationFailure, match="Election failed"):
        mongo.command(target.name, "replSetStepUp")
    passed, result = run(config_of(mongo), "mongodb_unfreeze", member=target.address, **LAB)
    assert passed and result["outcome"] == "done"
    mongo.command(target.name, "replSetStepUp")
    assert wait_for(lambda: primaries(mongo) == [target.address], 10, "its election")


def test_the_primary_is_not_frozen(mongo: MongoCluster) -> None:
    primary = mongo.primary().address
    passed, result = run(config_of(mongo), "mongodb_freeze", member=primary, **LAB)
    assert not passed and result["error"].endswith(f"{primary} is primary: run mongodb_switchover first")


# -- two data members and an arbiter


def test_an_arbiter_is_told_apart_and_never_switched_to_or_frozen(arbiter_set: MongoCluster) -> None:
    config, arbiter = config_of(arbiter_set), arbiter_set.members[2].address
    assert codes(run(config, "mongodb_check")[1]) == {("warning ArbiterMajorityRisk", "rs0")}
    passed, result = run(config, "mongodb_switchover", member=arbiter, force=True, **LAB)
    assert not passed and f"{arbiter} is an arbiter" in result["error"]
    passed, result = run(config, "mongodb_freeze", member=arbiter, **LAB)
    assert not passed and f"{arbiter} is an arbiter: it is never elected" in result["error"]


def test_a_switchover_beside_an_arbiter(arbiter_set: MongoCluster) -> None:
    target = arbiter_set.secondaries()[0].address
    passed, result = run(config_of(arbiter_set), "mongodb_switchover", member="best", **LAB)
    assert passed, result
    assert primaries(arbiter_set) == [target]


# -- killed at any step, and run again

KILLED = """
import json, os, signal, sys
from st2ha import change
from st2ha.config import select
from st2ha.mongodb import changes

config, target, last = json.load(sys.stdin)
execute = change.execute

def dying(plan, verbs, deadline_s):
    done = []
    def run(step):
        verbs[step.verb](step)
        done.append(step)
        if len(done) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return ""
    return execute(plan, dict.fromkeys(verbs, run), deadline_s)

change.execute = dying
changes.switchover(select(config), target)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("last", range(1, 10))
def test_killed_after_any_step_and_run_again_it_ends_with_the_target_as_the_only_primary(
    mongo: MongoCluster, last: int
) -> None:
    target = mongo.secondaries()[0].address
    config = config_of(mongo)
    process = subprocess.run(
        [sys.executable, "-c", KILLED], input=json.dumps([config, target, last]), text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib")}, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL or (last == 9 and process.returncode == 0), process.stderr

    def again() -> bool:
        """Between the step-down and the election there is no primary: refused, with the word to wait."""
        passed, result = switch(mongo, target)
        assert passed or "no primary was found" in result["error"], result
        return passed

    wait_for(again, 40, "the second run", interval_s=0.5)
    assert primaries(mongo) == [target]
    check = run(config, "mongodb_check", canary=True)[1]
    assert check["severity"] == "ok", check["findings"]
