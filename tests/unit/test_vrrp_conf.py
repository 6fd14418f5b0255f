"""keepalived.conf read as keepalived reads it, and the time of a takeover that follows from it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st2ha.edge.vrrp.conf import Configuration, Instance, Script, parse_conf
from st2ha.edge.vrrp.predict import NEVER, master_down_s, predict, skew_s
from st2ha.edge.vrrp.syntax import parse_tree
from tests.vrrp_scenes import VIP, conf

MAIN = "/etc/keepalived/keepalived.conf"


def parsed(text: str, config_id: str = "lb1", **files: str) -> Configuration:
    return parse_conf({MAIN: text, **files}, MAIN, config_id)


def test_a_sites_file() -> None:
    found = parsed(conf("lb1"))
    assert found.faults == ()
    assert found.scripts == (Script("nginx", 1, 1, 2, 2, 0),)
    instance = found.instance_of(VIP)
    assert instance is not None
    assert (instance.vrid, instance.priority, instance.advert_s, instance.version) == (51, 150, 1.0, 3)
    assert (instance.unicast_source, instance.unicast_peers) == ("10.0.0.1", ("10.0.0.2",))
    assert [each.name for each in instance.scripts] == ["nginx"]
    assert [(each.path, each.weight) for each in instance.files] == [("/run/switch", 1)]


def test_defaults_are_keepaliveds_own() -> None:
    (instance,) = parsed("vrrp_script a {\n}\nvrrp_instance x {\n track_script {\n a\n }\n}").instances
    assert instance == Instance("x", None, scripts=(Script("a", 1.0, 1.0, 1, 1, 0),))


@pytest.mark.parametrize(
    "text",
    [
        "vrrp_instance x { priority 120 }",
        "vrrp_instance x\n{\npriority 120 # 130\n}\n",
        "vrrp_instance x {\n! priority 1\npriority 120 ! 130\n}",
        "$P=120\nvrrp_instance x {\npriority $P\n}",
        "$A=12\n$P=${A}0\nvrrp_instance x {\npriority ${P}\n}",
        "vrrp_instance x {\n@lb1 priority 120\n@lb2 priority 90\n@^lb1 priority 80\n}",
        "vrrp_instance x {\npriority 90\npriority 120\n}",
        'vrrp_instance "x" {\n"priority" \'120\'\n}',
        "include nowhere/*.conf\nvrrp_instance x {\npriority 120\n}",
    ],
)
def test_ways_to_write_it(text: str) -> None:
    (instance,) = parsed(text).instances
    assert (instance.name, instance.priority) == ("x", 120)


def test_includes_are_sorted_relative_and_nested() -> None:
    files = {
        "/etc/keepalived/conf.d/b.conf": "vrrp_instance b {\ninclude ../body\n}",
        "/etc/keepalived/conf.d/a.conf": "vrrp_instance a {\n}",
        "/etc/keepalived/body": "priority 7",
    }
    found = parsed('include "conf.d/*.conf"', **files)
    assert [(each.name, each.priority) for each in found.instances] == [("a", 100), ("b", 7)]
    assert found.faults == ()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("include gone.conf", "gone.conf"),
        ("include keepalived.*", "keepalived"),
        ("vrrp_instance x {", "missing"),
        ("vrrp_instance x {\n}\n}", "too many"),
        ("vrrp_instance x {\npriority high\n}", "priority is 'high'"),
        ("vrrp_instance x {\nadvert_int nan\n}", "advert_int is 'nan'"),
        ("global_defs {\nvrrp_version 2.5\n}", "whole number"),
        ("vrrp_instance x {\ntrack_script {\nnobody\n}\n}", "no vrrp_script defines"),
        ("vrrp_instance x {\ntrack_file {\nnobody\n}\n}", "not defined"),
        ("{" * 5000, "deep"),
    ],
)
def test_what_is_not_understood_is_told(text: str, word: str) -> None:
    assert any(word in fault for fault in parsed(text).faults)


def test_a_file_that_was_not_read_is_a_fault_and_no_end() -> None:
    assert parse_conf({}, MAIN).faults == (f"{MAIN}: could not be read",)


def test_an_include_of_itself_ends() -> None:
    files = {MAIN: "include a", "/etc/keepalived/a": "include b", "/etc/keepalived/b": "include a"}
    assert any("includes itself" in fault for fault in parse_conf(files, MAIN).faults)


def test_what_a_group_tracks_its_instances_track() -> None:
    group = "vrrp_sync_group both {\n group {\n st2\n }\n track_script {\n nginx\n }\n track_process {\n bird\n }\n}\n"
    text = "vrrp_script nginx {\n interval 3\n}\n" + group + "vrrp_instance st2 {\n}\nvrrp_instance other {\n}"
    mine, other = parsed(text).instances
    assert [(each.name, each.interval_s) for each in mine.scripts] == [("nginx", 3)] and mine.processes == ("bird",)
    assert other.scripts == () == other.processes


def test_a_password_is_compared_and_never_shown() -> None:
    text = "vrrp_instance x {\nauthentication {\nauth_type PASS\nauth_pass %s\n}\n}"
    one, same, other = (parsed(text % word) for word in ("hunter2", "hunter2", "hunter3"))
    assert one.instances == same.instances != other.instances
    assert "hunter" not in repr(one) + repr(parse_tree({MAIN: text % "hunter2"}, MAIN))


PIECES = [*"{}\"'#!$@\\ \n/*", "vrrp_instance x", "priority 1", "track_script", "include *", "$A=", "${A}", "weight"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_text_is_an_exception(text: str) -> None:
    parse_conf({MAIN: text, "/etc/keepalived/x": text}, MAIN, "lb1")


@settings(deadline=None)
@given(st.integers(1, 254), st.floats(0.01, 40), st.integers(1, 254))
def test_skew_grows_as_priority_falls_and_stays_below_an_interval(one: int, advert_s: float, other: int) -> None:
    assert 0 < skew_s(one, advert_s, 3) < advert_s
    assert (one > other) == (skew_s(one, advert_s, 3) < skew_s(other, advert_s, 3))
    assert 3 * advert_s < master_down_s(one, advert_s, 3) < 4 * advert_s


def instances(*texts: str) -> dict[str, Instance]:
    return {f"lb{number}": parsed(text).instances[0] for number, text in enumerate(texts, 1)}


@pytest.mark.parametrize(("advert", "measured_s"), [(1, 3.6), (0.1, 0.36)])
def test_prediction_of_a_crash_is_what_was_measured(advert: float, measured_s: float) -> None:
    """shared measurements: link down or packets dropped, priority 100 takes over."""
    found = predict(instances(conf("lb1", advert=advert), conf("lb2", advert=advert)))
    assert found is not None
    assert (found.holder, found.successor) == ("lb1", "lb2")
    assert found.crash.longest_s == pytest.approx(measured_s, rel=0.02)
    assert found.crash.typical_s == pytest.approx(found.crash.longest_s - advert / 2)


@pytest.mark.parametrize(("advert", "measured_s"), [(1, 2.2), (0.1, 1.7)])
def test_prediction_of_a_dead_nginx_spans_what_was_measured(advert: float, measured_s: float) -> None:
    found = predict(instances(conf("lb1", advert=advert), conf("lb2", advert=advert)))
    assert found is not None
    span = found.scripts["nginx"]
    assert span.typical_s <= measured_s <= span.longest_s
    assert span.longest_s == pytest.approx(2 * 1 + 1 + 156 / 256 * advert)


def weighted(weight: int) -> tuple[str, ...]:
    return ("interval 1", "timeout 1", "fall 2", f"weight {weight}")


@pytest.mark.parametrize(
    ("weight", "more", "moves"),
    [
        (-60, (), True),
        (-50, (), False),
        (-40, (), False),
        (60, (), True),
        (40, (), False),
        (-60, ("nopreempt",), False),
    ],
)
def test_a_weight_moves_the_vip_by_priority_or_not_at_all(weight: int, more: tuple[str, ...], moves: bool) -> None:
    found = predict(instances(*(conf(name, *more, script=weighted(weight)) for name in ("lb1", "lb2"))))
    assert found is not None
    span = found.scripts["nginx"]
    assert (span == NEVER) is not moves
    assert span.as_dict()["longest_s"] == (round(3 + found.crash.longest_s, 3) if moves else None)


def test_no_prediction_without_a_second_balancer_and_the_present_holder_counts() -> None:
    both = instances(conf("lb1"), conf("lb2"))
    assert predict({"lb1": both["lb1"]}) is None
    found = predict(both, "lb2")
    assert found is not None and (found.holder, found.successor) == ("lb2", "lb1")


def test_vrrp_2_skews_by_a_second_whatever_the_interval() -> None:
    found = predict(instances(*(conf(name, version=2, advert=3) for name in ("lb1", "lb2"))))
    assert found is not None and found.crash.longest_s == pytest.approx(9 + 156 / 256)
