"""The lab's edge does what the faults' names say."""

from __future__ import annotations

import http.client

import pytest

from lab.edge import BALANCERS, VIP, EdgeLab
from lab.wait import wait_for


def who(address: str) -> str:
    """Node and group that answer a client there."""
    connection = http.client.HTTPConnection(address, 80, timeout=5)
    connection.request("GET", "/api/v1/actions")
    answer = connection.getresponse()
    assert answer.status == 401
    return answer.getheader("X-Lab-Node", "")


def test_clients_reach_blue_through_the_vip_and_both_balancers(edge: EdgeLab) -> None:
    assert edge.holders() == ["lb1"]
    for address in (VIP, *BALANCERS.values()):
        assert who(address).endswith("blue")


def test_split_brain(edge: EdgeLab) -> None:
    edge.block_adverts("lb2")
    wait_for(lambda: edge.holders() == ["lb1", "lb2"], 20, "two holders")
    edge.heal("lb2")
    edge.wait_holder("lb1")


@pytest.mark.parametrize("fault", ["nginx", "link", "parent", "stop"])
def test_the_other_takes_over(edge: EdgeLab, fault: str) -> None:
    if fault == "nginx":
        edge.nginx["lb1"].kill()
    elif fault == "link":
        edge.cut_link("lb1")
    elif fault == "parent":
        edge.kill_keepalived("lb1", "parent")
    else:
        edge.keepalived["lb1"].stop()
    wait_for(lambda: "lb2" in edge.holders(), 20, "lb2 to take over")


def test_a_killed_keepalived_leaves_its_address_behind(edge: EdgeLab) -> None:
    edge.kill_keepalived("lb1", "parent", "child")
    wait_for(lambda: edge.holders() == ["lb1", "lb2"], 20, "two holders")
