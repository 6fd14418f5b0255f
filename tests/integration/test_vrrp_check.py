"""vrrp_check on real keepalived and nginx in namespaces, each fault made for real."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.boxes import HUB
from lab.edge import BALANCERS, VIP
from lab.edge_switch import SwitchLab
from lab.wait import wait_for
from st2ha.config import select
from st2ha.edge import operations as operations_of_the_edge
from st2ha.edge.vrrp import arp, operations
from st2ha.report import Report
from tests.edge_real import st2ha, where

DEADLINE_S = 30


@pytest.fixture
def edge(switch_session: SwitchLab) -> Iterator[SwitchLab]:
    with switch_session.inside(HUB):
        yield switch_session
    switch_session.restore()


def codes(report: Report) -> dict[str, str]:
    """Code -> subject of the findings."""
    return {each.code: each.subject for each in report.findings}


def wait_codes(edge: SwitchLab, *wanted: str) -> Report:
    """Checks until exactly these codes are found."""
    reports: list[Report] = []

    def found() -> bool:
        reports.append(operations.check(where(edge)))
        return set(codes(reports[-1])) == set(wanted)

    try:
        wait_for(found, DEADLINE_S, f"a check that finds {wanted or 'nothing'}")
    except TimeoutError:
        pytest.fail(f"found {reports[-1].findings}")
    return reports[-1]


def test_a_healthy_edge(edge: SwitchLab) -> None:
    report = wait_codes(edge)
    assert report.healthy == f"lb1 holds {VIP}, 2 balancers answer"
    rows = report.facts["vrrp"]
    assert [(row["balancer"], row["holds"], row["state"]) for row in rows] == [
        ("lb1", True, "master"), ("lb2", False, "backup"),
    ]  # fmt: skip
    assert rows[1]["adverts_received"] > 0
    assert len(report.facts["arp"][VIP]["macs"]) == 1
    assert report.facts["takeover"][VIP]["successor"] == "lb2"


def test_blocked_adverts_are_a_split_brain(edge: SwitchLab) -> None:
    edge.block_adverts("lb2")
    report = wait_codes(edge, "SplitBrain")
    assert report.severity.word == "critical"
    assert "lb1 is master, lb2 is master; 2 MACs answer ARP" in report.findings[0].message
    seen = operations.check(where(edge, witness=" ".join(edge.prefix("nodes")))).facts["arp"][VIP]
    assert (seen["from"], len(seen["macs"])) == ("the witness", 2)
    whole = operations_of_the_edge.check(where(edge))
    assert "SplitBrain" in codes(whole) and VIP in whole.facts["vips"]
    edge.heal("lb2")
    wait_codes(edge)


def test_killed_keepalived_leaves_its_address_behind_and_the_remedy_takes_it_off(edge: SwitchLab) -> None:
    edge.kill_keepalived("lb1", "parent", "child")
    wait_for(lambda: edge.holders() == ["lb1", "lb2"], DEADLINE_S, "both to hold the VIP")
    report = wait_codes(edge, "StaleHolder")
    remedy = report.findings[0].remedy
    command = remedy.partition("on lb1: ")[2].partition(";")[0]
    edge.run("lb1", command.split())
    wait_codes(edge, "KeepalivedDown")


def test_a_stopped_keepalived_is_a_stale_holder(edge: SwitchLab) -> None:
    pids = edge.keepalived_pids("lb1").values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_codes(edge, "StaleHolder", "KeepalivedHung")
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_killed_parent_gives_up_and_a_killed_child_is_respawned(edge: SwitchLab) -> None:
    edge.kill_keepalived("lb1", "child")
    wait_codes(edge)
    edge.wait_holder("lb1")
    edge.kill_keepalived("lb1", "parent")
    edge.wait_holder("lb2")
    assert codes(wait_codes(edge, "KeepalivedDown")) == {"KeepalivedDown": "edge/lb1"}


def test_dead_nginx_moves_the_vip_and_two_dead_ones_leave_none(edge: SwitchLab) -> None:
    edge.nginx["lb1"].kill()
    edge.wait_holder("lb2")
    assert codes(wait_codes(edge, "VrrpFault")) == {"VrrpFault": "edge/lb1/st2"}
    edge.nginx["lb2"].kill()
    report = wait_codes(edge, "NoVip", "VrrpFault")
    assert "lb1 is fault, lb2 is fault, and nobody answers ARP" in report.findings[0].message


def test_a_cut_link(edge: SwitchLab) -> None:
    edge.cut_link("lb1")
    edge.wait_holder("lb2")
    assert codes(wait_codes(edge, "VrrpFault")) == {"VrrpFault": "edge/lb1/st2"}


def test_a_silent_balancer_costs_its_deadline_once(edge: SwitchLab) -> None:
    deployment = edge.deployment()
    deployment["edge"]["balancers"][1]["command"] = "sh -c 'sleep 60' --"
    began = time.monotonic()
    report = operations.check(select({"deployments": [deployment]}, "lab"), 3.0)
    assert time.monotonic() - began < 2 * 3.0
    assert codes(report) == {"BalancerUnread": "edge/lb2"}


def test_both_holders_of_an_ipv6_address_answer(edge: SwitchLab) -> None:
    """By neighbour discovery, as ARP tells of an IPv4 address."""
    vip = "fd00:78::10"
    for name, host in ((HUB, "1"), *zip(BALANCERS, ("11", "12"))):
        plug = "bridge" if name == HUB else "eth0"
        edge.run(name, ["ip", "address", "add", f"fd00:78::{host}/64", "dev", plug, "nodad"])
    for name, seen in zip(BALANCERS, (1, 2)):
        edge.run(name, ["ip", "address", "add", f"{vip}/64", "dev", "eth0", "nodad"])
        wait_for(lambda seen=seen: len(arp.who_has(vip)) == seen, DEADLINE_S, f"{seen} MACs to answer")  # type: ignore[misc]
    assert arp.who_has("fd00:78::99") == []
    deployment = edge.deployment()
    deployment["edge"]["vip"] = vip
    report = operations.check(select({"deployments": [deployment]}, "lab"))
    assert len(report.facts["arp"][vip]["macs"]) == 2
    assert "SplitBrain" in codes(report)
    for name in (HUB, *BALANCERS):
        edge.run(name, ["ip", "-6", "address", "flush", "scope", "global"])


def test_every_balancer_has_its_configuration_read(edge: SwitchLab) -> None:
    edge.reconfigure(priority=120, advert_s=0.5)
    report = wait_codes(edge, "PrioritiesEqual")
    assert set(BALANCERS) == {row["balancer"] for row in report.facts["vrrp"]}


def test_as_a_person_runs_it(edge: SwitchLab, tmp_path: Path) -> None:
    wait_codes(edge)
    checked = st2ha(edge, tmp_path, "vrrp_check")
    assert checked.returncode == 0, checked.stderr
    assert f"OK VRRP: lb1 holds {VIP}" in checked.stdout
    planned = st2ha(edge, tmp_path, "vrrp_switchover", "balancer=lb2", "deployment=lab", "dry_run=true")
    assert planned.returncode == 0, planned.stderr
    assert f"PLAN switchover of {VIP} to lb2: 3 steps" in planned.stdout
    refused = st2ha(edge, tmp_path, "vrrp_switchover", "balancer=lb9", "deployment=lab")
    assert refused.returncode == 64
    assert "parameter `balancer` is 'lb9': use one of lb1, lb2" in refused.stdout + refused.stderr
