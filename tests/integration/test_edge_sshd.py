"""The edge checked and switched as a site does it: by ssh from another machine, and what is in the way there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.edge import BALANCERS, EdgeLab
from lab.sshd import Sshd
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.edge import operations
from st2ha.edge.vrrp import operations as vrrp
from st2ha.report import Report


@pytest.fixture(scope="module")
def sshds(edge_session: EdgeLab) -> Iterator[Sshd]:
    if why := Sshd.limitation():
        pytest.skip(why)
    ssh = Sshd(edge_session, BALANCERS)
    ssh.up()
    yield ssh
    ssh.kill()


@pytest.fixture
def ssh(edge: EdgeLab, sshds: Sshd) -> Iterator[Sshd]:
    yield sshds
    sshds.restore()


def reached(edge: EdgeLab, ssh: Sshd, lb2: str | None = None, timeout_s: float = 5.0) -> Deployment:
    """The lab's edge by ssh, lb2 by another command if one is given."""
    config = edge.deployment()
    for balancer in config["edge"]["balancers"]:
        balancer["command"] = ssh.command()
    if lb2 is not None:
        config["edge"]["balancers"][1]["command"] = lb2
    config["edge"]["timeout_s"] = timeout_s
    return select({"deployments": [config]}, "lab")


def told(report: Report) -> dict[str, str]:
    """Code and subject of each finding, to its message."""
    return {each.key: each.message for each in report.findings}


def test_check_and_switch(edge: EdgeLab, ssh: Sshd) -> None:
    where = reached(edge, ssh)
    report = operations.check(where)
    assert told(report) == {}
    assert [(row["balancer"], row["holds"], row["state"]) for row in report.facts["vrrp"]] == [
        ("lb1", True, "master"), ("lb2", False, "backup"),
    ]  # fmt: skip
    assert [row["valid"] for row in report.facts["balancers"]] == [True, True]
    result = operations.switch(where, "green")
    assert result["outcome"] == "done", result
    assert {row["group"] for row in result["after"]} == {"green"}


def test_an_unknown_host_key_and_no_right_to_sudo(edge: EdgeLab, ssh: Sshd) -> None:
    ssh.forget("lb2")
    for layer in (operations, vrrp):
        found = told(layer.check(reached(edge, ssh)))
        assert list(found) == ["BalancerUnread edge/lb2"], found
        assert "host key is not in known_hosts" in found["BalancerUnread edge/lb2"]
    refused = operations.switch(reached(edge, ssh), "green")
    assert refused["kind"] == "refused" and "host key is not in known_hosts" in refused["error"]
    ssh.know("lb2")
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups sudo"
    for layer in (operations, vrrp):
        found = told(layer.check(reached(edge, ssh, lb2=ssh.command(nobody))))
        assert list(found) == ["BalancerUnread edge/lb2"], found
        assert "sudo does not let us run `sh` there: allow it in sudoers" in found["BalancerUnread edge/lb2"]


def test_a_balancer_whose_link_is_cut(edge: EdgeLab, ssh: Sshd) -> None:
    """What the other one and the VIP do is told all the same."""
    edge.cut_link("lb2")
    wait_for(lambda: edge.holders() == ["lb1"], 20, "lb1 to hold the VIP alone")
    report = operations.check(reached(edge, ssh, timeout_s=2.0))
    found = told(report)
    assert set(found) == {"BalancerDown edge/lb2", "BalancerUnread edge/lb2"}, found
    assert report.severity.word == "unknown"
    assert [row["running"] for row in report.facts["balancers"]] == [True, None]
