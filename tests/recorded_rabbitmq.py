"""The recorded cases of tests/facts/rabbitmq, and how a healthy one is changed into another."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from st2ha.config import Host, parse_host
from st2ha.probe import Silence, Silent
from st2ha.rabbitmq.content import Content, Queue
from st2ha.rabbitmq.facts import Answer, Denied, Node, Snapshot, parse_node
from st2ha.rabbitmq.settings import Rabbitmq

FACTS = Path(__file__).parent / "facts" / "rabbitmq"
CASES = sorted(path.parent.name for path in FACTS.glob("*/facts.json"))
PORT = 15672


@functools.cache
def looks(case: str) -> list[Snapshot]:
    """The snapshots of a case: one, or an earlier and a later one."""
    facts = json.loads((FACTS / case / "facts.json").read_text())
    return [_snapshot(look) for look in facts["looks"]]


def snapshot(case: str) -> Snapshot:
    """The only, or the later, look of a case."""
    return looks(case)[-1]


@functools.cache
def expectations(case: str) -> dict[str, Any]:
    """What a person wrote that must be found."""
    return dict(yaml.safe_load((FACTS / case / "expect.yaml").read_text()))


def settings(**more: Any) -> Rabbitmq:
    """The layer as the recordings had it."""
    hosts = tuple(host(f"mq{number}") for number in (1, 2, 3))
    amqp = tuple(Host(each.name, 5672) for each in hosts)
    usual: dict[str, Any] = {"vhost": "st2", "stackstorm_user": "st2", "command": ("ssh", "{host}")}
    return Rabbitmq(hosts, amqp, "st2ha", "secret", **{**usual, **more})


def _snapshot(look: Mapping[str, Any]) -> Snapshot:
    hosts = {parse_host(text, "facts.json"): answer for text, answer in look["answers"].items()}
    open_amqp = frozenset(parse_host(text, "facts.json") for text in look["amqp_open"])
    known = {parse_host(text, "facts.json"): name for text, name in look["known"].items()}
    return Snapshot({host: _answer(host, answer) for host, answer in hosts.items()}, look["at"], open_amqp, known)


def _answer(host: Host, answer: Mapping[str, Any]) -> Answer:
    if answer["kind"] == "node":
        amqp = answer["amqp"]
        seen = {
            "blocked": answer["blocked"],
            "content_missing": answer["content_missing"],
            "tls_expires_at": answer["tls_expires_at"],
            "amqp": Silent(Silence(amqp["silence"]), amqp["reason"]) if amqp else None,
        }
        return parse_node(host, answer["replies"], **seen)
    if answer["kind"] == "denied":
        return Denied(host, answer["reason"])
    return Silent(Silence(answer["silence"]), answer["reason"], answer["after_s"])


def host(name: str) -> Host:
    """`mq2` as the recordings call it."""
    return Host(name, PORT)


def node(base: Snapshot, name: str) -> Node:
    """The answer of a host that answered."""
    answer = base.answers[host(name)]
    assert isinstance(answer, Node)
    return answer


def answered(base: Snapshot, name: str, answer: Answer) -> Snapshot:
    """The snapshot with another answer of one host."""
    return replace(base, answers={**base.answers, host(name): answer})


def changed(base: Snapshot, name: str, /, **facts: Any) -> Snapshot:
    """The snapshot with other facts of one node."""
    return answered(base, name, replace(node(base, name), **facts))


def with_view(base: Snapshot, name: str, /, **facts: Any) -> Snapshot:
    """The snapshot with other facts of what one node says of itself."""
    me = node(base, name)
    views = tuple(replace(view, **facts) if view.name == me.name else view for view in me.views)
    return changed(base, name, views=views)


def with_content(base: Snapshot, **facts: Any) -> Snapshot:
    """The snapshot with other content, wherever it was read."""
    for each in base.nodes:
        if each.content is not None:
            base = answered(base, each.host.name, replace(each, content=replace(each.content, **facts)))
    return base


def with_queues(base: Snapshot, *queues: Queue) -> Snapshot:
    """The snapshot with these queues only."""
    return with_content(base, queues=queues)


def content(base: Snapshot) -> Content:
    assert base.content is not None
    return base.content
