"""The controller of an upgrade killed (SIGKILL) at every point, under load: then finished, or rolled back.

Points: after a step's intent was written, after it was done, after that was written, and after each smaller step of
the layers. In CI a few of them; with ST2HA_TEST_LONG all, `-s` prints each.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from lab.stackstorm import INFLOW, TwoSides
from lab.stackstorm_traffic import Traffic
from lab.wait import wait_for
from tests.upgrade_real import (
    LONG,
    assert_nothing_lost,
    assert_only,
    backup,
    config_of_retired,
    do,
    killed_at,
    restore_vhost,
)

pytestmark = pytest.mark.timeout(1200)  # the machine may be busy
long = pytest.mark.skipif(not LONG, reason="ST2HA_TEST_LONG runs it: minutes")
PHASES = ("prepare", "verify", "cutover")
MOST = 100
PARTS = [("prepare", range(MOST)), ("verify", range(MOST))]
PARTS += [("cutover", range(13)), ("cutover", range(13, 26)), ("cutover", range(26, MOST))]
"""What is killed and rolled back in one test: some minutes each."""
SHORT = [("verify", range(4, 5)), ("cutover", range(30, 31))]


def kill_everywhere(sides: TwoSides, action: str, **more: object) -> int:
    """Run an action again and again, killed at one point after the other, until it comes to its end; how often."""
    for point in range(MOST):
        if not killed_at(sides, action, point, **more):
            return point
        status = do(sides, "status")
        assert status["facts"].get("holder") is None, status
    raise AssertionError(f"{action} has more than {MOST} points")


@long
@pytest.mark.parametrize("killed", PHASES)
def test_killed_at_any_step_it_is_run_again_until_it_is_done(sides: TwoSides, killed: str) -> None:
    """In CI test_upgrade.py has a few such kills on its way."""
    with Traffic(sides) as traffic:
        for action in PHASES:
            if action == killed:
                print(f"{action}: killed {kill_everywhere(sides, action)} times, then done")
            else:
                do(sides, action)
        assert_nothing_lost(sides, traffic, "new")


@pytest.mark.parametrize("action, points", PARTS if LONG else SHORT, ids=str)
def test_killed_at_any_step_it_is_rolled_back(sides: TwoSides, action: str, points: range, tmp_path: Path) -> None:
    """The old side goes on as if nothing had been; the next attempt has another name."""
    with Traffic(sides) as traffic:
        for point in points:
            sides.name = f"st2_v2_5_{point}"
            for before in PHASES[: PHASES.index(action)]:
                do(sides, before)
            where = killed_at(sides, action, point)
            assert do(sides, "rollback", export_to=str(tmp_path), purge=True)["outcome"] == "done"
            wait_for(lambda: sides.serves() == "old1", 10, "the old side to serve")
            assert_only(sides, traffic, "old")
            assert not sides.runs("new1") and not backup(sides).exists()
            if do(sides, "status")["facts"]["state"] == "new":
                _assert_only_what_was_made_is_gone(sides)
            assert "127.0.0.1:5672" in (sides.directory / "new1" / "st2.conf").read_text()
            _tidy_up(sides)
            if not where:
                break
        assert not LONG or points.stop < MOST or not where
        assert_nothing_lost(sides, traffic, "old")


def _assert_only_what_was_made_is_gone(sides: TwoSides) -> None:
    databases = sides.mongo.client(login="lab_root").list_database_names()
    vhosts = {row["name"] for row in sides.rabbit.api("rabbit1", "GET", "/api/vhosts?columns=name")}
    assert sides.name not in databases and "st2" in databases
    assert sides.name not in vhosts and "st2" in vhosts


def _tidy_up(sides: TwoSides) -> None:
    """What a rollback keeps, so that many of them do not fill the servers."""
    sides.mongo.client(login="lab_root").drop_database(sides.name)
    vhosts = sides.rabbit.api("rabbit1", "GET", "/api/vhosts?columns=name")
    if sides.name in {row["name"] for row in vhosts}:
        sides.rabbit.api("rabbit1", "DELETE", f"/api/vhosts/{quote(sides.name, safe='')}")


@long
def test_a_rollback_killed_at_any_step_is_run_again(sides: TwoSides, tmp_path: Path) -> None:
    """After a whole cutover, with sensors of the new side that have handled events."""
    with Traffic(sides) as traffic:
        for action in PHASES:
            do(sides, action)
        seen = len(sides.records("event"))
        wait_for(lambda: len(sides.records("event")) > seen + 5, 60, "events on the new side")
        times = kill_everywhere(sides, "rollback", export_to=str(tmp_path))
        print(f"rollback: killed {times} times, then done")
        assert_nothing_lost(sides, traffic, "old")
    assert {node for node, _ in sides.records("event")} == {"old1", "new1"}


@long
def test_a_retirement_killed_at_any_step_is_run_again(sides: TwoSides) -> None:
    try:
        with Traffic(sides) as traffic:
            for action in PHASES:
                do(sides, action)
            with config_of_retired(sides):
                times = kill_everywhere(sides, "retire", confirm="st2")
            print(f"retire: killed {times} times, then done")
            assert_nothing_lost(sides, traffic, "new")
        assert not sides.runs("old1") and set(INFLOW) <= sides.runs("new1")
    finally:
        restore_vhost(sides)
