"""Read haproxy by its runtime socket, on the balancer, with socat; and every path to StackStorm as clients take it."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import replace
from typing import Optional, Union

from st2ha.edge.content import Reply
from st2ha.edge.haproxy.facts import Seen, Unread, World
from st2ha.edge.haproxy.parse import parse_seen
from st2ha.edge.parts import parts
from st2ha.edge.paths import context_of, node_questions, of_group, public_questions
from st2ha.edge.settings import Balancer, Edge, Haproxy
from st2ha.edge.web import Question, ask
from st2ha.errors import HostError
from st2ha.probe import Attempt, Silent, ask_all

READING_LIMIT = 8 * 1024 * 1024
READ = r"""
part() { printf '\n%s %s\n' "$boundary" "$1"; }
ask() { printf '%s\n' "$1" | socat -t5 - "UNIX-CONNECT:$socket" 2>&1; }
part states
ask 'show servers state'
part stat
ask 'show stat -1 6 -1'
part vip
[ -z "$vip" ] || ip -o address show to "$vip"
if [ -e "$state_file" ]; then part former; cat -- "$state_file"; fi
if [ -z "$quick" ] && [ -r "$config_file" ]; then
  part conf
  cat -- "$config_file"
  words=$("$program" -c -f "$config_file" 2>&1 </dev/null)
  part "test $?"
  printf '%s\n' "$words"
else
  part 'test none'
fi
exit 0
"""


def gather(edge: Edge, haproxy: Haproxy, group: Optional[str] = None, members: bool = False) -> World:
    """One round of at most `timeout_s`. `group`: ask its nodes, too; `members`: those that serve, in a second."""
    context, began = context_of(edge), time.time()

    def answer(target: Union[Balancer, Question], attempt: Attempt) -> Union[Seen, Reply, Unread]:
        if isinstance(target, Question):
            return ask(target, attempt, context)
        return read(edge, haproxy, target, attempt.left_s() * 0.9)

    questions = [*node_questions(of_group(edge, group))]
    for name, address in edge.addresses.items():
        questions += public_questions(edge, name, address)
    targets: list[Union[Balancer, Question]] = [*edge.balancers, *questions]
    found = ask_all(targets, answer, edge.timeout_s)
    answers = {each.name: found[each] for each in edge.balancers}
    replies = {q.about: got for q in questions if isinstance(got := found[q], (Reply, Silent))}
    world = World(
        seen={
            name: got if isinstance(got, (Seen, Unread)) else Unread(got.reason if isinstance(got, Silent) else "?")
            for name, got in answers.items()
        },
        public={(about[1], about[2]): got for about, got in replies.items() if about[0] == "public"},
        nodes={(about[1], about[2]): got for about, got in replies.items() if about[0] == "node"},
        at=began,
    )
    return _with_members(edge, world) if members else world


def _with_members(edge: Edge, world: World) -> World:
    """The nodes to which clients are passed, each asked by content."""
    slots = {slot for seen in world.read.values() for slot in seen.slots}
    wanted = {(slot.backend, slot.address) for slot in slots if slot.address} - set(world.nodes)
    replies = ask_all(node_questions(wanted), ask, edge.timeout_s)
    told = {(question.about[1], question.about[2]): reply for question, reply in replies.items()}
    return replace(world, nodes={**world.nodes, **told})


def read(
    edge: Edge, haproxy: Haproxy, balancer: Balancer, deadline_s: float, quick: bool = False
) -> Union[Seen, Unread]:
    """One balancer by one command; `quick`: its slots, and nothing of files."""
    if balancer.prefix is None:
        return Unread("it has no `command` in the configuration")
    boundary = f"part-{os.urandom(8).hex()}"
    head = variables(boundary=boundary, vip=edge.vip or "", quick="yes" if quick else "", **vars(haproxy))
    try:
        output = balancer.door().run(["sh", "-s"], deadline_s, (head + READ).encode(), READING_LIMIT)
    except HostError as error:
        return Unread(str(error))
    found = dict(parts(output.decode("utf-8", "replace"), boundary))
    try:
        return parse_seen(found, tuple(edge.upstreams))
    except (ValueError, KeyError, StopIteration):
        said = " ".join(found.get("states", "").split())[-200:] or "it says nothing"
        return Unread(f"{haproxy.socket} tells no servers: {said}", inside=True)


def variables(**values: str) -> str:
    """Lines of shell that set them."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
