"""The verbs of a switch, by haproxy's runtime socket, on the balancer, with socat."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from typing import Optional

from st2ha.change import wait_until
from st2ha.edge.content import amiss
from st2ha.edge.haproxy.facts import Seen, Slot
from st2ha.edge.haproxy.gather import read, variables
from st2ha.edge.paths import context_of, public_questions
from st2ha.edge.settings import Edge, Haproxy
from st2ha.edge.web import ask
from st2ha.errors import StepFailed, WorldChanged
from st2ha.plan import Step, Verb
from st2ha.probe import ask_all

PROOF_S = 5.0
"""A server whose health is checked may take a moment after its address has changed."""
WRITE = """
set -eu
umask 077
base64 -d >"$state_file.new" <<'END'
{former}END
mv -- "$state_file.new" "$state_file"
"""


class Acting:
    """The verbs: `set` looks again before it writes, and may be repeated."""

    def __init__(self, edge: Edge, haproxy: Haproxy, targets: Mapping[str, tuple[Slot, ...]], keep: bool) -> None:
        self.edge, self.haproxy, self.targets, self._keep = edge, haproxy, targets, keep

    def verbs(self) -> Mapping[str, Verb]:
        return {"set": self.set, "prove": self.prove}

    def set(self, step: Step) -> str:
        """Keep what was, then change slot after slot: first those that get a node."""
        balancer, target = self.edge.balancer(step.target), self.targets[step.target]
        seen = read(self.edge, self.haproxy, balancer, self.edge.timeout_s, quick=True)
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
            seen = read(self.edge, self.haproxy, self.edge.balancer(name), self.edge.timeout_s, quick=True)
            if not isinstance(seen, Seen):
                raise StepFailed(seen.why)
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
    return [f"{server} addr {node.strip('[]')} port {port}", f"{server} state ready"]
