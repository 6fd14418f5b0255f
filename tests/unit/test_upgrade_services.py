"""Services of several nodes, told by real processes: all at once, and what becomes of a node that is not reached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from st2ha.config import Deployment
from st2ha.errors import StepFailed
from st2ha.mongodb.copy.work import Clients
from st2ha.plan import Step
from st2ha.upgrade import decide
from st2ha.upgrade.parts import Parts
from st2ha.upgrade.phases import BY_NAME
from st2ha.upgrade.settings import Node, Side, Upgrade
from tests.unit.test_upgrade_decide import SCENE

MEET = """
directory=$1; shift
echo "$@" >"$directory/$NODE"
tries=1000
while [ "$(ls "$directory" | wc -l)" -lt 2 ] && [ "$tries" -gt 0 ]; do sleep 0.02; tries=$((tries - 1)); done
[ "$tries" -gt 0 ]
"""
"""Ends well only if the other node's runs meanwhile."""


def parts(directory: Path, service: tuple[str, ...], prefix: tuple[str, ...], **more: Any) -> tuple[Parts, Step]:
    """With the step that stops what brings events in."""
    nodes = (Node("old1", "old1", "/x", "old"), Node("old2", "old2", "/x", "old", ("st2sensorcontainer",)))
    upgrade = Upgrade(Side("old", (2, 4), nodes), SCENE.upgrade.new, prefix, service_command=service)
    scene = replace(SCENE, upgrade=upgrade)
    nothing: Any = None
    made = Parts(Deployment("lab"), Clients(nothing, nothing), nothing, scene, 60.0, **more)
    (step,) = (step for step in decide.steps_of(scene, BY_NAME["drain"]) if step.verb == "stop_inflow")
    return made, step


def test_all_nodes_are_told_at_once_each_its_own_services(tmp_path: Path) -> None:
    made, step = parts(tmp_path, ("sh", "-c", MEET, "sh", str(tmp_path)), ("env", "NODE={name}"))
    assert step.target == "old1, old2"
    note = made.service("stop", step)
    assert note == "stop: st2sensorcontainer, st2timersengine; stop: st2sensorcontainer"
    assert (tmp_path / "old1").read_text() == "stop st2sensorcontainer st2timersengine\n"
    assert (tmp_path / "old2").read_text() == "stop st2sensorcontainer\n"


def test_a_node_that_is_not_reached_is_named_and_passed_over_by_force_alone(tmp_path: Path) -> None:
    only_old1 = ("sh", "-c", '[ "$NODE" = old1 ]', "sh")
    made, step = parts(tmp_path, only_old1, ("env", "NODE={name}"))
    with pytest.raises(StepFailed, match=r"^old2: `sh` ended with 1"):
        made.service("stop", step)
    made, step = parts(tmp_path, only_old1, ("env", "NODE={name}"), force=True)
    assert "old2: " in made.stop_new(step) and "make sure that this node is off" in made.stop_new(step)
