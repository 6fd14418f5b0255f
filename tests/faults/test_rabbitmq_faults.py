"""What breaks on a real cluster is found, named and told within the timeout; confirmed messages are counted."""

from __future__ import annotations

import time

import pytest

from lab.network import Network
from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for
from st2ha.rabbitmq import operations
from st2ha.report import Report
from tests.rabbit_real import deployment_of, publishing, read_empty

TIMEOUT_S = 1.5
needs_root = pytest.mark.skipif(Network.limitation() is not None, reason=str(Network.limitation()))
TWO = "rabbit2@localhost"
SPLIT = 100
"""Messages that the smaller side confirms during a split."""


def check(rabbit: RabbitCluster, canary: bool = False) -> Report:
    """rabbitmq_check; it takes its timeout at the most, and the canary's."""
    began = time.monotonic()
    report = operations.check(deployment_of(rabbit), TIMEOUT_S, canary)
    assert time.monotonic() - began < TIMEOUT_S * (2 if canary else 1) + 10
    return report


def codes(report: Report) -> set[str]:
    return {f"{finding.severity.word} {finding.code} {finding.subject}" for finding in report.findings}


def comes(rabbit: RabbitCluster, wanted: str, deadline_s: float = 30) -> float:
    """Seconds until a finding is there."""
    began = time.monotonic()
    last: list[set[str]] = []

    def there() -> bool:
        last[:] = [codes(check(rabbit))]
        return wanted in last[0]

    try:
        wait_for(there, deadline_s, wanted, interval_s=0.05)
    except TimeoutError:
        assert wanted in last[0]
    return time.monotonic() - began


def fill(rabbit: RabbitCluster, at: str = "rabbit2") -> None:
    """A mirrored and a quorum queue led by the node that will suffer."""
    rabbit.declare("st2.mirrored", "classic", at=at)
    rabbit.declare("st2.quorum", "quorum", at=at)
    wait_for(lambda: not [c for c in codes(check(rabbit)) if "Mirror" in c], 15, "synchronised mirrors")


def tell(what: str, finding: str, after_s: float, lost: dict[str, int], gap_s: float) -> None:
    print(f"\nFAULT {what}: {finding} after {after_s:.2f} s, longest publish gap {gap_s:.1f} s, lost {lost}")


def test_a_killed_node_is_down_and_nothing_confirmed_is_lost(rabbit: RabbitCluster) -> None:
    fill(rabbit)
    with publishing(rabbit, "rabbit1", "st2.mirrored", "st2.quorum") as publisher:
        rabbit.kill("rabbit2")
        after_s = comes(rabbit, f"warning NodeDown rabbitmq/{TWO}", 10)
        time.sleep(3)
    lost = publisher.lost(read_empty(rabbit, "rabbit1", *publisher.queues))
    tell("kill -9", "NodeDown", after_s, lost, max(publisher.gaps))
    assert set(lost.values()) == {0}


def test_a_hung_node_is_hung_at_once_whatever_the_others_api_does(rabbit: RabbitCluster) -> None:
    fill(rabbit)
    with publishing(rabbit, "rabbit1", "st2.mirrored", "st2.quorum") as publisher:
        rabbit.hang("rabbit2")
        address = rabbit.hosts[1]
        began = time.monotonic()
        first = codes(check(rabbit))
        after_s = time.monotonic() - began
        assert {f"critical NodeHung rabbitmq/{name}" for name in (TWO, address)} & first
        comes(rabbit, f"critical NodeHung rabbitmq/{TWO}", 60)
        time.sleep(3)
    rabbit.kill("rabbit2")  # a node that wakes up after the others have given it up would split the cluster
    lost = publisher.lost(read_empty(rabbit, "rabbit1", *publisher.queues))
    tell("SIGSTOP", "NodeHung", after_s, lost, max(publisher.gaps))
    assert set(lost.values()) == {0}


@needs_root
def test_a_node_in_the_minority_pauses_and_comes_back(rabbit: RabbitCluster) -> None:
    fill(rabbit)
    with publishing(rabbit, "rabbit1", "st2.mirrored", "st2.quorum") as publisher:
        rabbit.cut_off("rabbit2", keep_clients=True)
        after_s = comes(rabbit, f"warning NodeDown rabbitmq/{TWO}", 60)
        time.sleep(3)
        rabbit.heal("rabbit2")
        time.sleep(2)
    lost = publisher.lost(read_empty(rabbit, "rabbit1", *publisher.queues))
    tell("partition, pause_minority", "NodeDown (paused)", after_s, lost, max(publisher.gaps))
    assert set(lost.values()) == {0}


@needs_root
def test_a_partition_is_seen_from_both_sides(rabbit: RabbitCluster) -> None:
    """In the mode `ignore` both sides of a mirrored queue confirm; one side's messages do not outlive the mending."""
    rabbit.handle_partitions("ignore")
    fill(rabbit)
    with publishing(rabbit, "rabbit1", "st2.mirrored", "st2.quorum") as mine:
        with publishing(rabbit, "rabbit2", "st2.mirrored") as theirs:
            rabbit.cut_off("rabbit2", keep_clients=True)
            after_s = comes(rabbit, "critical Partitioned rabbitmq", 60)
            taken = theirs.confirmed["st2.mirrored"]
            before = len(taken)
            wait_for(lambda: len(taken) >= before + SPLIT, 30, "the other side to take messages")
        message = next(f.message for f in check(rabbit).findings if f.code == "Partitioned")
        assert "2 sides" in message
        assert f"{TWO} works with nobody" in message
        rabbit.heal("rabbit2")
        comes(rabbit, "critical Partitioned rabbitmq", 60)
    rabbit.restart_app("rabbit2")
    rabbit.wait_healthy()
    rabbit.handle_partitions("pause_minority")
    left = read_empty(rabbit, "rabbit1", *mine.queues)
    lost = mine.lost(left)
    tell("partition, ignore", "Partitioned", after_s, lost, max(mine.gaps))
    confirmed = len(theirs.confirmed["st2.mirrored"])
    print(f"the other side: {theirs.lost(left)['st2.mirrored']} of {confirmed} confirmed ones lost")
    assert lost["st2.quorum"] == 0
    assert theirs.lost(left)["st2.mirrored"] >= SPLIT


def test_one_nodes_disk_alarm_blocks_all_publishers(rabbit: RabbitCluster) -> None:
    fill(rabbit)
    with publishing(rabbit, "rabbit1", "st2.mirrored", "st2.quorum") as publisher:
        rabbit.disk_alarm("rabbit2")
        after_s = comes(rabbit, f"critical DiskAlarm rabbitmq/{TWO}", 15)
        found = codes(check(rabbit, canary=True))
        assert "critical CanaryLost rabbitmq/vhost/st2" in found
        rabbit.clear_alarms("rabbit2")
        time.sleep(2)
    lost = publisher.lost(read_empty(rabbit, "rabbit1", *publisher.queues))
    tell("disk alarm", "DiskAlarm", after_s, lost, max(publisher.gaps))
    assert set(lost.values()) == {0}
