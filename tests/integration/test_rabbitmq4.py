"""The same actions on RabbitMQ 4, which has no mirrored queues. Opt-in: `make test-rabbitmq4`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import requests

from lab.rabbitmq4 import Rabbit4Cluster, limitation
from lab.wait import wait_for
from st2ha.rabbitmq import changes, operations
from tests.rabbit_real import deployment_of

WHY = limitation() or (None if os.environ.get("ST2HA_TEST_RABBITMQ4") else "opt-in: make test-rabbitmq4")
pytestmark = pytest.mark.skipif(WHY is not None, reason=str(WHY))


@pytest.fixture(scope="module")
def four() -> Iterator[Rabbit4Cluster]:
    with Rabbit4Cluster(members=3) as cluster:
        yield cluster


def test_quorum_queues_are_checked_drained_and_planned(four: Rabbit4Cluster) -> None:
    deployment = deployment_of(four)
    four.declare("st2.quorum", "quorum", at="rabbit2")
    report = operations.check(deployment, canary=True)
    assert report.findings == ()
    assert [row["version"][:2] for row in report.facts["members"]] == ["4."] * 3
    assert changes.drain_node(deployment, "rabbit2")["outcome"] == "done"
    assert changes.revive_node(deployment, "rabbit2")["outcome"] == "done"
    more = {"default_queue_type": "quorum", "copy_policies_from": "st2"}
    assert changes.vhost_create(deployment, "st2_v2_5", "st2", more)["outcome"] == "done"
    assert changes.vhost_create(deployment, "st2_v2_5", "st2", more)["plan"]["steps"] == []
    assert changes.vhost_delete(deployment, "st2_v2_5")["outcome"] == "done"


def test_a_classic_queue_has_one_copy_whatever_the_policy(four: Rabbit4Cluster) -> None:
    with pytest.raises(requests.HTTPError, match="400"):
        four.mirror_all()
    four.declare("st2.classic", "classic")
    deployment = deployment_of(four)
    assert {finding.code for finding in operations.check(deployment).findings} == {"NotMirrored"}
    rows = {row["queue"]: row["verdict"] for row in changes.quorum_plan(deployment)["queues"]}
    assert rows["st2.classic"] == "becomes"


def test_a_copy_on_a_dead_node_is_told(four: Rabbit4Cluster) -> None:
    """The list without statistics leaves it out."""
    four.declare("st2.alone", "classic", at="rabbit3")
    four.kill("rabbit3")
    deployment = deployment_of(four)
    found = {"NodeDown", "QueueDown", "QuorumCritical", "NotMirrored"}
    wait_for(lambda: {f.code for f in operations.check(deployment).findings} == found, 30, "its queue to be told")
