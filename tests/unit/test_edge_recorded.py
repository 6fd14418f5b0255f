"""Rules of the edge on what real nginx, keepalived and haproxy told (tests.record_edge), and small changes of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from st2ha.edge.haproxy.facts import Line
from st2ha.edge.haproxy.parse import parse_conf
from st2ha.edge.vrrp.assess import healthy_words
from tests import recorded_edge as recorded


@pytest.mark.parametrize(("layer", "case"), recorded.CASES, ids="-".join)
def test_a_recorded_case(layer: str, case: str) -> None:
    expected = recorded.expectations(layer, case)
    found = recorded.findings(layer, case)
    assert sorted(f"{each.severity.word} {each.key}" for each in found) == sorted(expected["findings"] or [])
    for words in expected.get("says", ()):
        assert any(words in f"{each.message}. Next: {each.remedy}" for each in found), words


def test_there_are_cases_of_every_kind() -> None:
    assert {layer for layer, _ in recorded.CASES} == set(recorded.LAYERS) and len(recorded.CASES) >= 19


def test_healthy_keepaliveds_are_understood_whole() -> None:
    snapshot = recorded.vrrp_snapshot(recorded.look("vrrp", "healthy"))
    assert healthy_words(snapshot) == f"lb1 holds {recorded.VIP}, 2 balancers answer"
    assert [(node.name, bool(node.running), node.configuration.faults) for node in snapshot.nodes] == [
        ("lb1", True, ()), ("lb2", True, ()),
    ]  # fmt: skip


CONF = """
defaults
    mode http
backend st2api
    server one 10.0.0.1:9101 check  # the first
    server 'two' [fd00::1]:9101 disabled check
    server three ipv6@fd00::2:9101
    server four name.example.com:9101 weight 5
    server five /run/api.sock
    server six 10.0.0.6
    server-template t 2-3 srv.example.com:9101 check
listen st2web
    bind *:80
    server one 10.0.0.1:80
frontend in
    server nothing 1.2.3.4:5
backend st2auth
    server one "10.0.0.1:9100
"""


def test_haproxys_file() -> None:
    found = parse_conf(CONF)
    assert found["st2api"] == {
        "one": Line("10.0.0.1:9101"), "two": Line("[fd00::1]:9101", True), "three": Line("[fd00::2]:9101"),
        "four": Line("name.example.com:9101"), "five": Line(None), "six": Line(None),
        "t2": Line(None), "t3": Line(None),
    }  # fmt: skip
    assert (found["st2web"], set(found)) == ({"one": Line("10.0.0.1:80")}, {"st2api", "st2web", "st2auth"})


def keys(heard: dict[str, Any]) -> list[str]:
    return [each.key for each in recorded.of_haproxy(heard)]


@pytest.mark.parametrize(
    ("part", "old", "new", "expected"),
    [
        ("states", " 2 0 1 1 ", " 2 1 1 1 ", "BackendWithoutServers edge/lb1/st2web"),
        ("conf", "server s1 10.78.0.21:9101", "server s9 10.78.0.21:9101", "ConfigNotRunning edge/lb1"),
        ("conf", "server s1 10.78.0.21:9101", "server s1 node.example.com:9101", None),
        ("conf", "check inter", "disabled check inter", "ConfigNotRunning edge/lb1"),
        ("conf", "backend ", "backend other_", "ConfigUnclear edge/lb1"),
    ],
)
def test_haproxy_with_one_thing_changed(part: str, old: str, new: str, expected: str | None) -> None:
    heard = copy.deepcopy(recorded.look("haproxy", "healthy"))
    said = heard["balancers"]["lb1"]
    assert old in said[part]
    said[part] = said[part].replace(old, new)
    found = keys(heard)
    assert expected in found if expected else found == []
