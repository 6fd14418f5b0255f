"""vrrp_switchover on real keepalived and nginx, also when it dies between two steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.boxes import HUB
from lab.edge import BALANCERS, VIP
from lab.edge_switch import SWITCH, SwitchLab
from lab.wait import wait_for
from st2ha.edge.vrrp import act, decide, operations
from st2ha.edge.vrrp.act import Acting
from st2ha.edge.vrrp.gather import gather
from st2ha.errors import BadInput, WorldChanged
from st2ha.plan import Plan
from tests.edge_real import where

VIP_BLOCKED = (
    "table inet lab_web {\n chain input {\n type filter hook input priority 0\n"
    f"ip daddr {VIP} tcp dport {{ 80, 443 }} reject with tcp reset\n }}\n}}\n"
)


@pytest.fixture
def edge(switch_session: SwitchLab) -> Iterator[SwitchLab]:
    with switch_session.inside(HUB):
        settled(switch_session)
        yield switch_session
    switch_session.restore()


def settled(edge: SwitchLab) -> None:
    """Both balancers are fit: a freshly loaded keepalived waits for its script first."""
    wait_for(lambda: not operations.check(where(edge)).findings, 30, "a check that finds nothing")


def move(edge: SwitchLab, target: str, **other: Any) -> dict[str, Any]:
    return operations.switchover(where(edge), target, **other)


def numbers(edge: SwitchLab) -> dict[str, int]:
    return {name: edge.number(name) for name in BALANCERS}


def test_there_and_home_again(edge: SwitchLab) -> None:
    shown = move(edge, "lb2", dry_run=True)
    assert shown["summary"].startswith("PLAN") and edge.holders() == ["lb1"]
    assert numbers(edge) == {"lb1": 0, "lb2": 0}
    done = move(edge, "lb2")
    assert (done.get("outcome"), done["severity"]) == ("done", "ok"), done
    assert edge.holders() == ["lb2"]
    assert numbers(edge) == {"lb1": 0, "lb2": 51}
    assert [step["verb"] for step in done["steps_done"]] == ["set_switch", "await_holder", "prove"]
    assert "answers through it" in done["steps_done"][2]["note"]
    assert move(edge, "lb2")["summary"].startswith("OK")
    assert move(edge, "lb1")["outcome"] == "done"
    assert edge.holders() == ["lb1"] and numbers(edge) == {"lb1": 0, "lb2": 0}


def test_where_nobody_preempts(edge: SwitchLab) -> None:
    edge.reconfigure("nopreempt")
    settled(edge)
    done = move(edge, "lb2")
    assert done.get("outcome") == "done", done
    assert [step["verb"] for step in done["steps_done"]] == ["set_switch", "await_holder", "set_switch", "prove"]
    assert edge.holders() == ["lb2"] and numbers(edge) == {"lb1": 0, "lb2": 0}


@pytest.mark.parametrize("more", [(), ("nopreempt",)], ids=["by priority", "by release"])
def test_dying_after_any_step_leaves_what_the_next_run_finishes(edge: SwitchLab, more: tuple[str, ...]) -> None:
    """One balancer holds the VIP after each step, and the whole is repeatable from there."""
    edge.reconfigure(*more)
    settled(edge)
    site = operations.site_of(where(edge), patience_s=10)
    target, other = "lb2", "lb1"
    for survived in (1, 2):
        plan = decide.switchover(gather(site, services=True), VIP, target, "st2ha")
        assert isinstance(plan, Plan), plan
        verbs = Acting(site).verbs()
        for step in plan.steps[:survived]:
            verbs[step.verb](step)
        edge.wait_holder(target)  # what we have begun, keepalived ends
        done = move(edge, target)
        assert "error" not in done, done
        assert edge.holders() == [target]
        assert min(numbers(edge).values()) == 0  # nobody is kept out
        target, other = other, target


def test_what_is_not_fit_is_refused(edge: SwitchLab) -> None:
    edge.block_adverts("lb2")
    wait_for(lambda: len(edge.holders()) == 2, 20, "a split brain")
    assert any("exactly one must" in reason for reason in move(edge, "lb2")["reasons"])
    edge.heal("lb2")
    edge.wait_holder("lb1")
    edge.nginx["lb2"].kill()
    refused = move(edge, "lb2")
    assert refused["kind"] == "refused"
    assert any("lb2 does not serve" in reason for reason in refused["reasons"])
    edge.start_nginx("lb2")
    edge.keepalived["lb2"].stop()
    assert any("keepalived of lb2 does not run" in reason for reason in move(edge, "lb2")["reasons"])
    assert edge.holders() == ["lb1"] and edge.number("lb2") == 0


def test_without_the_file_it_says_what_to_add(edge: SwitchLab) -> None:
    refused = operations.switchover(where(edge, switch="other"), "lb2")
    assert "lb2 tracks no file 'other': add `track_file other" in refused["error"]


def test_what_fails_is_undone(edge: SwitchLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """lb2 serves at its own address and not through the VIP: seen only when it holds it."""
    monkeypatch.setattr(act, "PROOF_S", 1.0)
    edge.run("lb2", ["nft", "-f", "-"], stdin=VIP_BLOCKED)
    try:
        failed = move(edge, "lb2")
    finally:
        edge.run("lb2", ["nft", "delete", "table", "inet", "lab_web"])
    assert failed["kind"] == "failed"
    assert "no service through it" in failed["error"] and "undoing it: done" in failed["error"]
    assert edge.holders() == ["lb1"] and numbers(edge) == {"lb1": 0, "lb2": 0}


def test_a_number_that_somebody_wrote_meanwhile_is_left_alone(edge: SwitchLab) -> None:
    site = operations.site_of(where(edge), patience_s=10)
    plan = decide.switchover(gather(site, services=True), VIP, "lb2", "st2ha")
    assert isinstance(plan, Plan)
    edge.write_number("lb2", 3)
    with pytest.raises(WorldChanged, match="it holds 3, not 0"):
        Acting(site).verbs()["set_switch"](plan.steps[0])
    assert edge.file("lb2", SWITCH).read_text() == "3\n"


@pytest.mark.parametrize("name", ["", "  ", "lb3", None])
def test_an_unknown_balancer_is_bad_input(edge: SwitchLab, name: Any) -> None:
    with pytest.raises(BadInput, match=r"parameter `balancer` is .*: use one of lb1, lb2"):
        move(edge, name)
