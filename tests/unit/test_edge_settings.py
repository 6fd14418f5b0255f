"""The layer `edge` of the configuration: defaults, and one sentence for each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from st2ha.config import select
from st2ha.edge.settings import Edge
from st2ha.errors import BadInput

EDGE: dict[str, Any] = {
    "balancers": [{"name": "lb1", "address": "192.0.2.11"}, {"name": "lb2", "address": "192.0.2.12"}],
    "command": "ssh -o BatchMode=yes {name} sudo",
    "vip": "192.0.2.10",
    "groups": {"blue": ["192.0.2.21"], "green": "192.0.2.31, 192.0.2.32"},
    "nginx": {"upstreams_file": "/etc/nginx/conf.d/st2ha.conf"},
}


def parsed(**changes: Any) -> Edge:
    edge: Edge = select({"deployments": [{"name": "x", "edge": {**EDGE, **changes}}]}).require("edge")
    return edge


def test_defaults() -> None:
    edge = parsed()
    assert (edge.port, edge.tls, edge.timeout_s) == (443, True, 5.0)
    assert edge.groups == {"blue": ("192.0.2.21",), "green": ("192.0.2.31", "192.0.2.32")}
    assert edge.upstreams["st2api"] == 9101
    assert edge.addresses == {"lb1": "192.0.2.11", "lb2": "192.0.2.12", "vip": "192.0.2.10"}
    assert edge.balancers[0].door().argv(["nginx", "-t"])[-3:] == ["sudo", "nginx", "-t"]
    assert edge.nginx is not None
    assert edge.nginx.files == ("/etc/nginx/conf.d/st2ha.conf",)


def test_without_tls_clients_come_by_port_80() -> None:
    assert parsed(tls={"enabled": False}).port == 80


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"balancers": []}, "edge.balancers is empty"),
        ({"balancers": [{"name": "vip", "address": "192.0.2.11"}]}, "other than `vip`"),
        ({"balancers": [{"name": "a", "address": "x:80"}]}, "address is 'x:80': give an address without a port"),
        ({"balancers": [EDGE["balancers"][0]] * 2}, "which is used twice"),
        ({"vip": "nonsense"}, "edge.vip is 'nonsense': give the virtual IP address"),
        ({"groups": {"blue": []}}, "edge.groups.blue is empty"),
        ({"groups": {"blue": ["a;b"]}}, "edge.groups.blue holds 'a;b'"),
        ({"groups": {"blue": ["a", "a"]}}, "lists a node twice"),
        ({"groups": {"b d": ["a"]}}, "has a group 'b d'"),
        ({"upstreams": {"st2api": 0}}, "edge.upstreams.st2api is 0"),
        ({"upstreams": {"a b": 80}}, "has an upstream 'a b'"),
        ({"nginx": {"upstreams_file": "conf.d/x"}}, "edge.nginx.upstreams_file is 'conf.d/x': give an absolute path"),
        ({"nginx": {"upstream_file": "/x"}}, "did you mean `upstreams_file`?"),
    ],
)
def test_mistakes(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parsed(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
