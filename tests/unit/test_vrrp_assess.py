"""What is told of a VIP, from facts as the balancers tell them."""

from __future__ import annotations

from typing import Any

import pytest

from st2ha.edge.vrrp.assess import assess, healthy_words, needs_second_look
from st2ha.edge.vrrp.assess_conf import takeover
from st2ha.edge.vrrp.facts import Sighting, Snapshot, Unreadable, parse_node
from st2ha.edge.vrrp.settings import VrrpLimits
from st2ha.report import Finding, Severity
from tests.vrrp_scenes import SCRIPT, TOKEN, UNSEEN, VIP, conf, edge, node, said


def found(snapshot: Snapshot, limits: VrrpLimits | None = None) -> dict[str, Finding]:
    return {each.code: each for each in assess(snapshot, limits or VrrpLimits())}


def seen(*macs: str) -> dict[str, Any]:
    return {"sightings": {VIP: Sighting("this node", macs)}}


MAC1, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"


def test_a_healthy_pair_has_no_finding() -> None:
    snapshot = edge(**seen(MAC1))
    assert assess(snapshot, VrrpLimits()) == ()
    assert healthy_words(snapshot) == f"lb1 holds {VIP}, 2 balancers answer"
    predicted = takeover(snapshot, VIP)
    assert predicted is not None and predicted.as_dict()["crash"] == {"typical_s": 3.109, "longest_s": 3.609}
    assert snapshot.rows()[0] == {
        "balancer": "lb1", "vip": VIP, "holds": True, "keepalived": "running", "state": "master", "priority": 150,
        "adverts_sent": 7, "adverts_received": 3, "switch": 0,
    }  # fmt: skip


@pytest.mark.parametrize("macs", [(), (MAC1,), (MAC1, MAC2)])
def test_two_masters_are_a_split_brain_whatever_arp_says(macs: tuple[str, ...]) -> None:
    snapshot = edge(node("lb1"), node("lb2", holds=True, state="master"), **(seen(*macs) if macs else {}))
    told = found(snapshot)
    assert set(told) == {"SplitBrain"}
    assert told["SplitBrain"].severity is Severity.CRITICAL
    assert "lb1 is master, lb2 is master" in told["SplitBrain"].message
    assert ("2 MACs answer ARP" in told["SplitBrain"].message) is (len(macs) == 2)
    assert needs_second_look(told.values())


def test_an_address_added_by_hand_is_to_be_deleted_there() -> None:
    told = found(edge(node("lb1"), node("lb2", holds=True)))
    assert (
        told["SplitBrain"].remedy == f"on lb2, whose keepalived does not want it: ip address delete {VIP}/24 dev eth0"
    )


def test_a_second_mac_of_somebody_else_is_a_split_brain() -> None:
    told = found(edge(**seen(MAC1, "02:00:00:00:00:99")))
    assert "02:00:00:00:00:99 answers ARP" in told["SplitBrain"].message
    told = found(edge(node("lb1"), UNSEEN, **seen(MAC1, MAC2)))
    assert set(told) == {"SplitBrain", "BalancerUnread"}
    assert "lb2, which we cannot see" in told["SplitBrain"].remedy


def test_keepalived_killed_where_the_vip_is() -> None:
    """The VIP stays on the dead node, and the other one takes it, too."""
    alone = found(edge(node("lb1", alive=False), node("lb2")))
    assert set(alone) == {"StaleHolder"}
    both = found(edge(node("lb1", alive=False), node("lb2", holds=True, state="master")))
    assert set(both) == {"StaleHolder"}
    assert "lb2 holds it, too" in both["StaleHolder"].message
    assert f"on lb1: ip address delete {VIP}/24 dev eth0" in both["StaleHolder"].remedy


def test_a_stopped_keepalived_holds_on_as_well() -> None:
    stopped = node("lb1", hung=True, letter="T")
    assert set(found(edge(stopped, node("lb2")))) == {"KeepalivedHung"}
    assert set(found(edge(stopped, node("lb2", holds=True, state="master")))) == {"StaleHolder", "KeepalivedHung"}


def test_nobody_holds_it() -> None:
    faulty = [node(name, holds=False, state="fault") for name in ("lb1", "lb2")]
    told = found(edge(*faulty))
    assert set(told) == {"NoVip", "VrrpFault"}
    assert "lb1 is fault, lb2 is fault" in told["NoVip"].message
    assert "lb1" in told["NoVip"].remedy
    dead = [node(name, holds=False, alive=False) for name in ("lb1", "lb2")]
    assert set(found(edge(*dead))) == {"NoVip", "KeepalivedDown"}


@pytest.mark.parametrize(
    ("arp", "code"),
    [({}, "VipUnknown"), (seen(), "NoVip"), (seen(MAC2), "VipUnknown")],
    ids=["arp cannot be asked", "nobody answers arp", "somebody answers arp"],
)
def test_what_a_silent_balancer_leaves_open(arp: dict[str, Any], code: str) -> None:
    assert set(found(edge(node("lb1", holds=False, state="backup"), UNSEEN, **arp))) == {code, "BalancerUnread"}


def test_nothing_seen_is_unknown_and_never_critical() -> None:
    snapshot = Snapshot({"lb1": UNSEEN, "lb2": UNSEEN}, 1.0, configured_vips=(VIP,))
    told = assess(snapshot, VrrpLimits())
    assert {each.code for each in told} == {"VipUnknown", "BalancerUnread"}
    assert {each.severity for each in told} == {Severity.UNKNOWN}


def pair(*more: str, both: bool = True, **other: Any) -> dict[str, Finding]:
    """The pair with lines and settings of its files; without `both` only lb2's."""
    first = conf("lb1", *more, **other) if both else conf("lb1")
    return found(edge(node("lb1", first), node("lb2", conf("lb2", *more, **other))))


def script(**lines: float) -> tuple[str, ...]:
    words = {**dict(line.split() for line in SCRIPT), **{name: f"{number:g}" for name, number in lines.items()}}
    return tuple(f"{name} {number}" for name, number in words.items())


@pytest.mark.parametrize(
    ("code", "more", "other"),
    [
        ("PrioritiesEqual", (), {"priority": 100}),
        ("WeightWithNopreempt", ("nopreempt",), {"script": script(weight=-60)}),
        ("WeightNegative", (), {"script": script(weight=-60)}),
        ("WeightTooSmall", (), {"script": script(weight=20)}),
        ("TrackScriptMissing", (), {"script": ()}),
        ("ScriptSlow", (), {"script": script(interval=2, timeout=2)}),
        ("TakeoverSlow", (), {"advert": 2}),
        ("VrrpMismatch", (), {"both": False, "vrid": 52}),
        ("VrrpMismatch", (), {"both": False, "advert": 2}),
        ("VrrpMismatch", (), {"both": False, "version": 2}),
        ("VrrpMismatch", ("authentication {\nauth_type PASS\nauth_pass x\n}",), {"both": False, "version": 2}),
        ("UnicastOneSided", (), {"both": False, "peers": []}),
        ("UnicastOneSided", (), {"both": False, "peers": ["10.0.0.9"]}),
        ("ConfigUnclear", (), {"head": ["include gone.conf"]}),
        ("VridClash", (), {"head": ["vrrp_instance y {\ninterface eth0\nvirtual_router_id 51\n}"]}),
    ],
)
def test_risks_of_the_configuration(code: str, more: tuple[str, ...], other: dict[str, Any]) -> None:
    told = pair(*more, **other)
    assert code in told
    assert told[code].severity is Severity.WARNING
    assert "\n" not in told[code].line() and len(told[code].message) < 200


def test_one_without_an_instance_of_the_vip() -> None:
    assert "VipNotManaged" in found(edge(node("lb1"), node("lb2", conf("lb2").replace("100/24", "101/24"))))


def test_a_file_that_was_changed_and_not_loaded() -> None:
    stale = parse_node("lb2", TOKEN, said("lb2", conf("lb2"), holds=False, state="backup").replace(
        '"base_priority": 100', '"base_priority": 90'))  # fmt: skip
    told = found(edge(node("lb1"), stale))
    assert "priority is 90 and 100 in the file" in told["ConfigNotLoaded"].message


def test_thrown_away_adverts_are_told() -> None:
    told = found(edge(node("lb1"), node("lb2", errors={"advert_interval_err": 3, "ip_ttl_err": 0})))
    assert "advert_interval_err 3" in told["AdvertsRejected"].message


def test_a_raised_balancer_is_no_finding() -> None:
    assert found(edge(node("lb1"), node("lb2", priority=140))) == {}


@pytest.mark.parametrize(
    "text", ["", "\nt0k3n addresses\nno json\n", "\nt0k3n addresses\n{}\n", "sudo: a password is required"]
)
def test_what_is_no_answer_of_the_reader(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_node("lb1", TOKEN, text)


def test_a_dump_of_json_version_2_and_one_that_is_broken() -> None:
    text = said("lb1", conf("lb1"), holds=True, state="master")
    later = parse_node("lb1", TOKEN, text.replace('[{"data"', '{"vrrp": [{"data"').replace("}}]", "}}]}"))
    assert later.running is not None and later.running[0].name == "st2"
    broken = parse_node("lb1", TOKEN, text.replace('"iname"', '"other"'))
    assert (broken.running, broken.missing) == (None, "its JSON dump cannot be read")
    assert broken.addresses
