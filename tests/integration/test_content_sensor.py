"""The content's sensor as a process, under eventlet as StackStorm has it: a mount that hangs is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.content import ContentNodes
from lab.wait import wait_for
from tests.sensor_real import sensor_of

pytestmark = pytest.mark.skipif(ContentNodes.limitation() is not None, reason=str(ContentNodes.limitation()))


@pytest.fixture
def nodes() -> Iterator[ContentNodes]:
    with ContentNodes(members=2) as nodes:
        yield nodes


def test_a_mount_that_hangs_is_told_once(nodes: ContentNodes, tmp_path: Path) -> None:
    """Found hung by the first look: between looks there is a minute while nothing changes."""
    nodes.serve("node2", "nfs1:/export", "packs")
    nodes.servings["node2"].hang()
    deployment = nodes.deployment()
    deployment["content"]["mount_timeout_s"] = 1.0
    config = tmp_path / "ha.yaml"
    config.write_text(yaml.safe_dump({"deployments": [deployment]}))
    with sensor_of("content", "stackstorm", config, tmp_path / "state") as sensor:
        sensor.start()
        wait_for(lambda: sensor.told("MountHung"), 60, "the hung mount to be told")
        assert sensor.told("MountHung") == [("appeared", "MountHung")]
        (payload,) = [event["payload"] for event in sensor.events if event["payload"]["code"] == "MountHung"]
        assert (payload["service"], payload["severity"]) == ("content", "critical")
        assert sensor.alive()
