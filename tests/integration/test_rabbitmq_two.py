"""The talk's form on real servers: two nodes, mirrored queues, both taking clients."""

from __future__ import annotations

import time

import pytest

from lab.rabbitmq import RabbitCluster
from lab.rabbitmq_access import STACKSTORM_VHOST
from lab.wait import wait_for
from st2ha.rabbitmq import changes, operations
from tests.rabbit_real import deployment_of, publishing, read_empty

ONE, TWO = "rabbit1@localhost", "rabbit2@localhost"


@pytest.fixture
def healthy_two(rabbit_two: RabbitCluster) -> RabbitCluster:
    """The module's cluster, all nodes there."""
    rabbit_two.restore()
    return rabbit_two


def codes(rabbit: RabbitCluster, **layer: str) -> set[str]:
    return {finding.code for finding in operations.check(deployment_of(rabbit, **layer)).findings}


def test_the_second_node_goes_on(healthy_two: RabbitCluster) -> None:
    healthy_two.declare("st2.mirrored", "classic", at="rabbit2")
    assert operations.check(deployment_of(healthy_two, partition_handling="autoheal")).findings == ()
    with publishing(healthy_two, "rabbit1", "st2.mirrored") as publisher:
        began = time.monotonic()
        healthy_two.kill("rabbit2")
        wait_for(lambda: "NodeDown" in codes(healthy_two), 10, "the loss to be seen")
        after_s = time.monotonic() - began
        time.sleep(2)
    lost = publisher.lost(read_empty(healthy_two, "rabbit1", "st2.mirrored"))
    gap_s = max(publisher.gaps)
    print(f"\nFAULT kill -9, two nodes: NodeDown after {after_s:.2f} s, longest publish gap {gap_s:.1f} s, lost {lost}")
    assert lost == {"st2.mirrored": 0}


def test_with_pause_minority_both_stand_still(healthy_two: RabbitCluster) -> None:
    """What PartitionHandlingRisk warns of, seen to happen."""
    assert codes(healthy_two, partition_handling="pause_minority") == {"PartitionHandlingRisk"}
    healthy_two.handle_partitions("pause_minority")
    healthy_two.kill("rabbit2")
    wait_for(lambda: "NoNode" in codes(healthy_two), 30, "the other node to pause")
    healthy_two.restore()  # mostly they find together; else, as for an operator, only a start by force helps
    wait_for(lambda: "NoNode" not in codes(healthy_two), 30, "both to go on")
    healthy_two.handle_partitions("autoheal")


def test_nodes_that_wait_for_each_other_are_started_anew(healthy_two: RabbitCluster) -> None:
    """By our lab, when nothing else helps."""
    healthy_two.kill("rabbit1")
    wait_for(lambda: healthy_two.running("rabbit2") == {TWO}, 20, "rabbit2 to be the last one")
    healthy_two.start_anew()
    assert healthy_two.running("rabbit1") == healthy_two.running("rabbit2") == {ONE, TWO}


def test_a_queue_without_a_leader_is_told_beside_one_that_is_down(healthy_two: RabbitCluster) -> None:
    """The API's list leaves the first out and its total the second, so that both are of the same length."""
    healthy_two.api("rabbit1", "DELETE", f"/api/policies/{STACKSTORM_VHOST}/ha-all")
    healthy_two.declare("st2.alone", "classic", at="rabbit2")
    healthy_two.declare("st2.replicated", "quorum", at="rabbit2")
    healthy_two.kill("rabbit2")
    wait_for(lambda: {"QueueWithoutLeader", "QueueDown"} <= codes(healthy_two), 30, "both queues to be told")
    healthy_two.restore()
    for queue in ("st2.alone", "st2.replicated"):
        healthy_two.api("rabbit1", "DELETE", f"/api/queues/{STACKSTORM_VHOST}/{queue}")
    healthy_two.mirror_all()


def test_a_dead_node_is_forgotten(healthy_two: RabbitCluster) -> None:
    deployment = deployment_of(healthy_two)
    assert changes.forget_node(deployment, "rabbit2")["kind"] == "refused"
    healthy_two.kill("rabbit2")
    wait_for(lambda: healthy_two.running("rabbit1") == {ONE}, 20, "the loss")
    assert changes.forget_node(deployment, TWO)["outcome"] == "done"
    names = {row["name"] for row in healthy_two.api("rabbit1", "GET", "/api/nodes?columns=name")}
    assert names == {ONE}
