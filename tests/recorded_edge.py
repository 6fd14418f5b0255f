"""The recorded cases of tests/facts/{nginx,vrrp,haproxy}: what the real programs told, read as a check reads it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from st2ha.config import select
from st2ha.edge.content import Reply
from st2ha.edge.haproxy import gather as haproxy
from st2ha.edge.haproxy.assess import assess as assess_haproxy
from st2ha.edge.haproxy.facts import Unread as HaproxyUnread
from st2ha.edge.haproxy.parse import parse_seen
from st2ha.edge.nginx import gather as nginx
from st2ha.edge.nginx.assess import assess as assess_nginx
from st2ha.edge.nginx.facts import Unread
from st2ha.edge.nginx.parse import parse_disk
from st2ha.edge.settings import Edge
from st2ha.edge.vrrp.assess import assess as assess_vrrp
from st2ha.edge.vrrp.facts import Answer, Sighting, Snapshot, parse_node
from st2ha.edge.web import Question
from st2ha.probe import Silence, Silent
from st2ha.report import Finding

FACTS = Path(__file__).parent / "facts"
LAYERS = ("nginx", "vrrp", "haproxy")
CASES = sorted((layer, path.parent.name) for layer in LAYERS for path in (FACTS / layer).glob("*/facts.json"))
BOUNDARY = "part-recorded"
VIP = "10.78.0.10"
LAYER: dict[str, Any] = {
    "balancers": [{"name": f"lb{n}", "address": f"10.78.0.1{n}"} for n in (1, 2)],
    "command": "ssh {host}",
    "vip": VIP,
    "host_name": "st2.lab.test",
    "groups": {"blue": "10.78.0.21, 10.78.0.22", "green": "10.78.0.31, 10.78.0.32"},
}


def edge(**more: Any) -> Edge:
    """The lab's edge as settings."""
    found: Edge = select({"deployments": [{"name": "lab", "edge": {**LAYER, **more}}]}).require("edge")
    return found


def look(layer: str, case: str) -> dict[str, Any]:
    """What was heard."""
    return dict(json.loads((FACTS / layer / case / "facts.json").read_text()))


def expectations(layer: str, case: str) -> dict[str, Any]:
    """What a person wrote that must be found."""
    return dict(yaml.safe_load((FACTS / layer / case / "expect.yaml").read_text()))


def findings(layer: str, case: str) -> tuple[Finding, ...]:
    """What a check finds in it."""
    return {"nginx": of_nginx, "vrrp": of_vrrp, "haproxy": of_haproxy}[layer](look(layer, case))


def of_nginx(heard: Mapping[str, Any]) -> tuple[Finding, ...]:
    settings = edge(nginx={"upstreams_file": "/etc/nginx/conf.d/st2.conf"})
    assert settings.nginx is not None
    files = settings.nginx.files

    def disk(said: Any) -> Any:
        if isinstance(said, str):
            return parse_disk(said.encode("utf-8", "surrogateescape"), BOUNDARY, files)
        return Unread(said["unread"]) if "unread" in said else _answer(said)

    with mock.patch.object(nginx, "ask_all", _replayed(heard, disk)):
        snapshot = replace(nginx.gather(settings, settings.nginx), at=heard["at"])
    return assess_nginx(snapshot, settings, settings.nginx, snapshot.at)


def of_haproxy(heard: Mapping[str, Any]) -> tuple[Finding, ...]:
    settings = edge(haproxy={"config_file": "/run/haproxy.cfg"}, port=8080, tls={"enabled": False})
    assert settings.haproxy is not None

    def seen(said: Any) -> Any:
        if "states" in said:
            return parse_seen(said, tuple(settings.upstreams))
        return HaproxyUnread(said["unread"]) if "unread" in said else _answer(said)

    with mock.patch.object(haproxy, "ask_all", _replayed(heard, seen)):
        world = replace(haproxy.gather(settings, settings.haproxy, members=True), at=heard["at"])
    return assess_haproxy(world, settings, settings.haproxy)


def of_vrrp(heard: Mapping[str, Any]) -> tuple[Finding, ...]:
    return assess_vrrp(vrrp_snapshot(heard), edge().vrrp.limits)


def vrrp_snapshot(heard: Mapping[str, Any]) -> Snapshot:
    answers: dict[str, Answer] = {
        name: parse_node(name, BOUNDARY, said) if isinstance(said, str) else _answer(said)
        for name, said in heard["balancers"].items()
    }
    seen = {vip: Sighting(**row) for vip, row in heard["arp"].items() if "macs" in row}
    sightings = {vip: replace(each, macs=tuple(each.macs)) for vip, each in seen.items()}
    return Snapshot(answers, heard["at"], sightings, configured_vips=(VIP,))


def _replayed(heard: Mapping[str, Any], inside: Callable[[Any], Any]) -> Callable[..., dict[Any, Any]]:
    """In place of ask_all: who was asked then is answered as then."""

    def asked(targets: Iterable[Any], answer: object, timeout_s: float) -> dict[Any, Any]:
        return {
            each: _answer(heard["answers"][" ".join(each.about)])
            if isinstance(each, Question)
            else inside(heard["balancers"][each.name])
            for each in targets
        }

    return asked


def _answer(row: Mapping[str, Any]) -> Any:
    if "silence" in row:
        return Silent(Silence(row["silence"]), row["reason"], row["after_s"])
    values: dict[str, Any] = {"content_type": "", **row, "body": base64.b64decode(row["body"])}
    return Reply(**values)
