"""Read and write by haproxy's runtime socket, on the balancer, with socat."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from typing import Optional, Union

from st2ha.change import wait_until
from st2ha.edge.content import Reply, amiss
from st2ha.edge.haproxy.decide import Seen, Slot, World, parse
from st2ha.edge.paths import context_of, node_questions, of_group, public_questions
from st2ha.edge.settings import Balancer, Edge, Haproxy
from st2ha.edge.web import Question, ask
from st2ha.errors import HostError, StepFailed, WorldChanged
from st2ha.plan import Step, Verb
from st2ha.probe import Attempt, Silent, ask_all

PROOF_S = 5.0
"""A server whose health is checked may take a moment after its address has changed."""
READ = """
printf 'show servers state\\n' | socat -t5 - "UNIX-CONNECT:$socket"
printf '\\n# vip\\n'
[ -z "$vip" ] || ip -o address show to "$vip"
printf '\\n# former\\n'
cat -- "$state_file" 2>/dev/null
exit 0
"""
WRITE = """
set -eu
umask 077
base64 -d >"$state_file.new" <<'END'
{former}END
mv -- "$state_file.new" "$state_file"
"""


def gather(edge: Edge, haproxy: Haproxy, group: Optional[str]) -> World:
    """One round of at most `timeout_s`."""
    context = context_of(edge)

    def answer(target: Union[Balancer, Question], attempt: Attempt) -> Union[Seen, Reply, str]:
        if isinstance(target, Question):
            return ask(target, attempt, context)
        return read(edge, haproxy, target, attempt.left_s() * 0.9)

    questions = [*node_questions(of_group(edge, group))]
    for name, address in edge.addresses.items():
        questions += public_questions(edge, name, address)
    targets: list[Union[Balancer, Question]] = [*edge.balancers, *questions]
    found = ask_all(targets, answer, edge.timeout_s)
    seen = {each.name: got.reason if isinstance(got := found[each], Silent) else got for each in edge.balancers}
    replies = {(q.about, q): got for q in questions if isinstance(got := found[q], (Reply, Silent))}
    return World(
        seen={name: got for name, got in seen.items() if isinstance(got, (Seen, str))},
        public={(about[1], about[2]): got for (about, _), got in replies.items() if about[0] == "public"},
        nodes={(about[1], about[2]): got for (about, _), got in replies.items() if about[0] == "node"},
    )


def read(edge: Edge, haproxy: Haproxy, balancer: Balancer, deadline_s: float) -> Union[Seen, str]:
    """One balancer's slots by its socket; a text where that fails."""
    if balancer.prefix is None:
        return "it has no `command` in the configuration"
    head = variables(socket=haproxy.socket, state_file=haproxy.state_file, vip=edge.vip or "")
    try:
        output = balancer.door().run(["sh", "-s"], deadline_s, (head + READ).encode()).decode("utf-8", "replace")
    except HostError as error:
        return str(error)
    states, _, rest = output.partition("\n# vip\n")
    vip, _, former = rest.partition("\n# former\n")
    slots = parse(states, tuple(edge.upstreams))
    if not slots:
        return f"{haproxy.socket} tells no server of the backends {', '.join(edge.upstreams)}"
    try:
        kept = tuple(Slot(*each) for each in json.loads(former)) if former.strip() else ()
    except (ValueError, TypeError):
        kept = ()
    return Seen(slots, kept, "inet" in vip)


class Acting:
    """The verbs: `set` looks again before it writes, and may be repeated."""

    def __init__(self, edge: Edge, haproxy: Haproxy, targets: Mapping[str, tuple[Slot, ...]], keep: bool) -> None:
        self.edge, self.haproxy, self.targets, self._keep = edge, haproxy, targets, keep

    def verbs(self) -> Mapping[str, Verb]:
        return {"set": self.set, "prove": self.prove}

    def set(self, step: Step) -> str:
        """Keep what was, then change slot after slot: first those that get a node."""
        balancer, target = self.edge.balancer(step.target), self.targets[step.target]
        seen = read(self.edge, self.haproxy, balancer, self.edge.timeout_s)
        if not isinstance(seen, Seen) or sorted(map(str, seen.slots)) != step.expect["slots"]:
            raise WorldChanged("its servers have changed since they were read; nothing was written: decide anew")
        commands = [line for slot in sorted(target, key=lambda slot: slot.address is None) for line in _lines(slot)]
        head = variables(socket=self.haproxy.socket, state_file=self.haproxy.state_file)
        script = head
        if self._keep:
            former = json.dumps([[slot.backend, slot.name, slot.address] for slot in seen.slots])
            script += WRITE.format(former=base64.encodebytes(former.encode()).decode())
        script += f"printf '%s\\n' {shlex.quote('; '.join(commands))} | socat -t5 - \"UNIX-CONNECT:$socket\"\n"
        balancer.door().run(["sh", "-s"], self.edge.timeout_s, script.encode())
        return f"{len(target)} servers"

    def prove(self, step: Step) -> str:
        """The socket says so, and clients get StackStorm."""
        took_s = wait_until(lambda: self._missing(step.target), PROOF_S, f"{step.target} to serve")
        return f"after {took_s:.2f} s"

    def _missing(self, name: str) -> Optional[str]:
        if name in self.targets:
            seen = read(self.edge, self.haproxy, self.edge.balancer(name), self.edge.timeout_s)
            if not isinstance(seen, Seen):
                raise StepFailed(seen)
            if set(seen.slots) != set(self.targets[name]):
                return "its servers are not what they shall be"
        context = context_of(self.edge)
        questions = public_questions(self.edge, name, self.edge.addresses[name])
        replies = ask_all(questions, lambda question, attempt: ask(question, attempt, context), self.edge.timeout_s)
        told = {question.about[2]: amiss(question.about[2], reply) for question, reply in replies.items()}
        return next((f"{upstream}: {why}" for upstream, why in told.items() if why is not None), None)


def _lines(slot: Slot) -> list[str]:
    server = f"set server {slot.backend}/{slot.name}"
    if slot.address is None:
        return [f"{server} state maint"]
    node, _, port = slot.address.rpartition(":")
    return [f"{server} addr {node} port {port}", f"{server} state ready"]


def variables(**values: str) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
