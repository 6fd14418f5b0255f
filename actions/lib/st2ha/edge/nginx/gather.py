"""Read the edge: balancers from inside, and every path to StackStorm as clients take it."""

from __future__ import annotations

import functools
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Optional, Union

from st2ha.edge.content import Reply
from st2ha.edge.nginx import lines
from st2ha.edge.nginx.facts import Disk, Front, Marker, Snapshot, Unread
from st2ha.edge.nginx.parse import parse_disk, parse_marker
from st2ha.edge.nginx.render import GENERATION, stamp
from st2ha.edge.nginx.script import read_script
from st2ha.edge.paths import context_of, node_questions, of_group, public_questions
from st2ha.edge.settings import Balancer, Edge, Nginx
from st2ha.edge.web import Question, ask
from st2ha.errors import BadInput, HostError
from st2ha.probe import Attempt, Silence, Silent, ask_all

READING_LIMIT = 8 * 1024 * 1024
Replies = Mapping[Question, Union[Reply, Silent]]


def gather(edge: Edge, nginx: Nginx, group: Optional[str] = None, paths: bool = True) -> Snapshot:
    """Everything, in two rounds of at most `timeout_s` each. `group`: ask its nodes directly as well.

    Without `paths`, what a decision needs and no more, in one round: balancers, markers and the group's nodes.
    """
    began = time.time()
    context = context_of(edge) if paths else None
    markers = {name: _marker_question(nginx, name, address) for name, address in edge.addresses.items()}
    public = [each for name, address in edge.addresses.items() for each in public_questions(edge, name, address)]

    def answer(target: Union[Balancer, Question], attempt: Attempt) -> Union[Disk, Reply, Unread]:
        return (
            read_disk(edge, nginx, target, attempt) if isinstance(target, Balancer) else ask(target, attempt, context)
        )

    of_nodes = of_group(edge, group)
    targets: list[Union[Balancer, Question]] = [*edge.balancers, *markers.values(), *node_questions(of_nodes)]
    found = ask_all([*targets, *(public if paths else ())], answer, edge.timeout_s)
    disks = {each.name: _disk(found[each]) for each in edge.balancers}
    told = {name: _marker(found[question]) for name, question in markers.items()}
    upstreams = {name: _conf(disk) for name, disk in disks.items()}
    servers = {name: {up: at for up, at in each[0].items() if up in edge.upstreams} for name, each in upstreams.items()}
    wanted: set[tuple[str, str]] = set()
    for name, at in servers.items() if paths else ():
        if not isinstance(told[name], Marker):  # then its marker's server cannot be asked about its nodes
            wanted |= {(upstream, address) for upstream, addresses in at.items() for address in addresses}
    questions: list[Union[Balancer, Question]] = [*node_questions(wanted - of_nodes)]
    for name, address in edge.addresses.items() if paths else ():
        questions += inner_questions(edge, nginx, name, address, told[name])
    found.update(ask_all(questions, answer, edge.timeout_s))
    replies = {
        each: reply
        for each, reply in found.items()
        if isinstance(each, Question) and not isinstance(reply, (Disk, Unread))
    }
    return Snapshot(
        disks=disks,
        fronts={
            name: replace(front_of(name, told[name], replies), occupied=_occupied(found[markers[name]]))
            for name in edge.addresses
        },
        nodes={(each.about[1], each.about[2]): reply for each, reply in replies.items() if each.about[0] == "node"},
        servers=servers,
        passed={name: each[1] for name, each in upstreams.items()},
        at=began,
    )


def read_disk(edge: Edge, nginx: Nginx, balancer: Balancer, attempt: Attempt) -> Union[Disk, Unread]:
    """One balancer from inside."""
    if balancer.prefix is None:
        return Unread("it has no `command` in the configuration")
    boundary = f"part-{os.urandom(8).hex()}"
    script = read_script(boundary, nginx.program, nginx.config_file, nginx.pid_file, edge.vip or "", nginx.files)
    try:
        output = balancer.door().run(["sh", "-s"], attempt.left_s() * 0.9, script, READING_LIMIT)
        return parse_disk(output, boundary, nginx.files)
    except HostError as error:
        return Unread(str(error))
    except (ValueError, KeyError, StopIteration):
        return Unread("what its shell printed is not whole")


def inner_questions(
    edge: Edge, nginx: Nginx, name: str, address: str, marker: object, members: bool = True
) -> list[Question]:
    """What the marker's server is asked, where it runs: each upstream, and each node of its group."""
    if not isinstance(marker, Marker):
        return []
    found = [Question(("inner", name, each), address, nginx.marker_port, f"/{each}") for each in edge.upstreams]
    nodes = edge.groups.get(marker.group, ()) if members and name != "vip" else ()
    return found + [
        Question(("member", name, each, node), address, nginx.marker_port, f"/{each}/{node}")
        for each in edge.upstreams
        for node in nodes
    ]


def front_of(name: str, marker: Union[Marker, Silent, None], replies: Replies) -> Front:
    """What the address answered."""
    own = [(each.about, reply) for each, reply in replies.items() if each.about[1] == name]
    return Front(
        marker=marker,
        inner={about[2]: reply for about, reply in own if about[0] == "inner"},
        public={about[2]: reply for about, reply in own if about[0] == "public"},
        members={(about[2], about[3]): reply for about, reply in own if about[0] == "member"},
    )


def ask_markers(edge: Edge, nginx: Nginx, name: str, times: int, timeout_s: float) -> list[Union[Marker, Silent, None]]:
    """What so many fresh connections are told at an address right now."""
    question = _marker_question(nginx, name, edge.addresses[name])
    questions = [replace(question, about=(*question.about, str(number))) for number in range(times)]
    return [_marker(reply) for reply in ask_all(questions, ask, timeout_s).values()]


def ask_front(
    edge: Edge,
    nginx: Nginx,
    name: str,
    marker: Union[Marker, Silent, None],
    context: Optional[ssl.SSLContext],
    public: bool = True,
) -> Front:
    """One address, by clients' paths (if `public`) and, of a balancer, through the upstreams."""
    address = edge.addresses[name]
    questions = public_questions(edge, name, address) if public else []
    if name != "vip":
        questions += inner_questions(edge, nginx, name, address, marker, members=False)
    replies = ask_all(questions, lambda question, attempt: ask(question, attempt, context), edge.timeout_s)
    return front_of(name, marker, replies)


def _marker_question(nginx: Nginx, name: str, address: str) -> Question:
    return Question(("marker", name), address, nginx.marker_port, GENERATION)


def _disk(answer: object) -> Union[Disk, Unread]:
    if isinstance(answer, (Disk, Unread)):
        return answer
    return Unread(answer.reason if isinstance(answer, Silent) else "no answer")


def _marker(answer: object) -> Union[Marker, Silent, None]:
    if isinstance(answer, Reply):
        return parse_marker(answer)
    if isinstance(answer, Silent) and answer.kind is Silence.REFUSED:
        return None  # nothing listens there: the pack's file does not run
    return answer if isinstance(answer, Silent) else None


def _occupied(answer: object) -> bool:
    """Whether somebody accepts there who is not this pack's server."""
    if isinstance(answer, Reply):
        return parse_marker(answer) is None
    return isinstance(answer, Silent) and answer.kind in (Silence.HUNG, Silence.BROKEN)


def _conf(disk: Union[Disk, Unread]) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The upstreams' servers, and the upstreams passed to, in all files that nginx reads."""
    servers: dict[str, tuple[str, ...]] = {}
    passed: set[str] = set()
    for file in disk.files if isinstance(disk, Disk) else ():
        own_servers, own_passed = _of_file(file.text)
        servers.update(own_servers)
        passed |= own_passed
    return servers, frozenset(passed)


@functools.lru_cache(maxsize=64)
def _of_file(text: str) -> tuple[Mapping[str, tuple[str, ...]], frozenset[str]]:
    """Of one file, remembered: the balancers have the same. What the pack's own file passes to proves nothing."""
    if "upstream" not in text and "proxy_pass" not in text:
        return {}, frozenset()
    content = text.encode("utf-8", "surrogateescape")
    try:
        directives = lines.read(content)
    except BadInput:
        return {}, frozenset()
    return lines.servers(directives), frozenset() if stamp(content) else lines.passed(directives)
