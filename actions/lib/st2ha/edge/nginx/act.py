"""The verbs of a switch. Each looks again before it writes, and may be repeated."""

from __future__ import annotations

import functools
import hashlib
import ssl
from collections.abc import Mapping
from typing import Optional

from st2ha.change import wait_until
from st2ha.edge.content import Reply, amiss
from st2ha.edge.nginx.decide import Target
from st2ha.edge.nginx.facts import Front, Marker
from st2ha.edge.nginx.gather import ask_front, ask_markers
from st2ha.edge.nginx.script import CHANGED, NGINX_REFUSES, NOT_TOLD, write_script
from st2ha.edge.paths import context_of
from st2ha.edge.settings import Edge, Nginx
from st2ha.errors import CommandFailed, DeadlineExceeded, StepFailed, WorldChanged
from st2ha.plan import Step, Verb
from st2ha.probe import Silent

CONNECTIONS = 3
"""Fresh ones that must tell the new generation: several workers accept."""
LOG_LINES = 40


class Acting:
    """Carries out a plan whose balancers shall have `targets`."""

    def __init__(self, edge: Edge, nginx: Nginx, targets: Mapping[str, Target], keep_former: bool) -> None:
        self.edge, self.nginx, self.targets = edge, nginx, targets
        self._keep_former = keep_former

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "write": self.write,
            "reload": self.reload,
            "prove": self.prove,
            "prove_upstreams": self.prove_upstreams,
        }

    def write(self, step: Step) -> str:
        """Put the files in place, have nginx test them, put back what it refuses, load what it takes: one way there.

        That nginx says yes to the reload proves nothing.
        """
        target, nginx = self.targets[step.target], self.nginx
        files = {
            path: (str(step.expect[path]), hashlib.sha256(content).hexdigest(), content)
            for path, content in target.files.items()
        }
        script = write_script(nginx.program, nginx.config_file, nginx.pid_file, files, self._keep_former)
        try:
            self.edge.balancer(step.target).door().run(["sh", "-s"], self.edge.timeout_s, script)
        except CommandFailed as error:
            words = str(error).partition(": ")[2]
            if error.code == CHANGED:
                raise WorldChanged(f"{words}; nothing was written: look at it, then decide anew") from None
            if error.code == NGINX_REFUSES:
                raise StepFailed(f"nginx refuses it, the file is as it was: {words}") from None
            if error.code == NOT_TOLD:
                raise StepFailed(f"it is written and tested, but nginx was not told to load it: {words}") from None
            raise
        return f"{len(files)} file(s), tested, reload asked"

    def reload(self, step: Step) -> str:
        """Ask nginx to load what is on disk already."""
        command = [self.nginx.program, "-s", "reload", "-c", self.nginx.config_file]
        self.edge.balancer(step.target).door().run(command, self.edge.timeout_s)
        return "asked"

    def prove(self, step: Step) -> str:
        """The new generation on fresh connections, then the right content through every path."""
        return self._proved(step.target)

    def prove_upstreams(self, step: Step) -> str:
        """Without clients' paths, of a balancer where the proof of the VIP takes just these."""
        return self._proved(step.target, public=False)

    def _proved(self, name: str, public: bool = True) -> str:
        target = self.targets[name] if name in self.targets else next(iter(self.targets.values()))
        try:
            took_s = wait_until(lambda: self._old(name, target), self.nginx.reload_s, f"{name} to run {target.group}")
        except DeadlineExceeded as error:
            raise StepFailed(f"{error}{self._log(name)}") from None
        wait_until(lambda: self._unproved(name, target, public), self.nginx.reload_s, f"every path of {name} to work")
        return f"{target.group} after {took_s:.2f} s"

    def _old(self, name: str, target: Target) -> Optional[str]:
        """What shows that the files do not run yet; files without a marker run when no marker is told any more."""
        for marker in ask_markers(self.edge, self.nginx, name, CONNECTIONS, min(self.edge.timeout_s, 1.0)):
            found = marker.generation if isinstance(marker, Marker) else None
            if found != target.generation:
                said = marker.reason if isinstance(marker, Silent) else f"generation {found}, not {target.generation}"
                return f"a fresh connection is told: {said}"
        return None

    def _unproved(self, name: str, target: Target, public: bool) -> Optional[str]:
        """The first path whose answer is not right, or does not come from the group."""
        marker = Marker(target.generation, target.group) if target.generation else None
        front = ask_front(self.edge, self.nginx, name, marker, self._context, public)
        return faulty(front, self.edge, target.group)

    @functools.cached_property
    def _context(self) -> Optional[ssl.SSLContext]:
        """One for all proofs: to read the system's authorities takes longer than to ask."""
        return context_of(self.edge)

    def _log(self, name: str) -> str:
        """nginx's own last complaint: a reload that failed tells nobody else."""
        if name not in self.edge.addresses or name == "vip":
            return ""
        try:
            command = ["tail", "-n", str(LOG_LINES), self.nginx.error_log]
            text = self.edge.balancer(name).door().run(command, self.edge.timeout_s).decode("utf-8", "replace")
        except Exception:  # noqa: BLE001 - the reason is told without it
            return ""
        found = [line for line in text.splitlines() if "[emerg]" in line and "still could not" not in line]
        return f"; its log: {found[-1].partition('[emerg]')[2].strip()[:160]}" if found else ""


def faulty(front: Front, edge: Edge, group: str) -> Optional[str]:
    """The first of a front's answers that is not right: clients' paths, each upstream, each node of the group."""
    nodes = edge.groups.get(group)
    for where, replies in (("clients' path to", front.public), ("upstream", front.inner)):
        for upstream, reply in replies.items():
            why = amiss(upstream, reply)
            if why is not None:
                return f"{where} {upstream}: {why}"
            if isinstance(reply, Reply) and reply.via and nodes and reply.via.rpartition(":")[0] not in nodes:
                return f"{where} {upstream}: answered by {reply.via}, which is not of {group}"
    return None
