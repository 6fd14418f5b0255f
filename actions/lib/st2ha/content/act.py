"""The verbs of content_sync's plans; each looks again before it writes.

Files go by rsync from the source into a directory of ours here, and from there to the target, each way through the
node's own door: the nodes need no way to each other. rsync puts each file into its place in one move.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from st2ha.content.decide import Part, work
from st2ha.content.drift import shown
from st2ha.content.facts import Node, Root
from st2ha.content.gather import look
from st2ha.content.settings import Content
from st2ha.errors import CommandFailed, HostError, StepFailed, WorldChanged
from st2ha.hosts import Door
from st2ha.naming import count
from st2ha.plan import Step, Verb

RSH = 'import json, os, sys; words = json.loads(os.environ["ST2HA_DOOR"]) + sys.argv[2:]; os.execvp(words[0], words)'
"""rsync gives it a host that means nothing, and the far command."""
OPTIONS = ("-lptgo", "--dirs", "--ignore-times", "--delay-updates", "--protect-args", "--from0", "--files-from=-")
REMOVE = """cd -- "$1" || exit
xargs -0 sh -c 'for each
do if [ -d "$each" ] && [ ! -L "$each" ]; then rmdir -- "$each"; else rm -f -- "$each"; fi || exit
done' sh
"""


class Acting:
    """Carries out one plan. What was pulled from the source stays until the end, for the next target."""

    def __init__(self, settings: Content, part: Part, source: str, delete: bool, deadline_s: float) -> None:
        self.settings, self.part, self.source, self.delete = settings, part, source, delete
        self._end = time.monotonic() + deadline_s
        self._pulled: set[str] = set()
        self._relay = tempfile.TemporaryDirectory(prefix="st2ha-content-")

    def verbs(self) -> Mapping[str, Verb]:
        return {"copy": self.copy, "delete": self.remove, "prove": self.prove}

    def close(self) -> None:
        self._relay.cleanup()

    def copy(self, step: Step) -> str:
        """What differs, from the source by way of this host."""
        self._unchanged(step)
        paths: Sequence[str] = step.expect["paths"]
        began = time.monotonic()
        missing = [path for path in paths if path not in self._pulled]
        place = self.settings.roots[self.part.root] + "/"
        if missing:
            self._rsync(self.source, f"node:{place}", f"{self._relay.name}/", missing)
            self._pulled.update(missing)
        self._rsync(step.target, f"{self._relay.name}/", f"node:{place}", paths)
        return f"{count(len(paths), 'entry')} in {time.monotonic() - began:.1f} s"

    def remove(self, step: Step) -> str:
        """What only the target has, the inmost first; a directory only if it is empty then."""
        self._unchanged(step)
        paths = sorted(step.expect["paths"], key=lambda path: (-path.count("/"), path))
        text = b"".join(os.fsencode(f"./{path}") + b"\0" for path in paths)
        door, place = self.settings.node(step.target).door(), self.settings.roots[self.part.root]
        try:
            door.run(["sh", "-c", REMOVE, "sh", place], self._left_s(), text)
        except HostError as error:
            raise StepFailed(str(error)) from None
        return f"{count(len(paths), 'entry')} removed"

    def prove(self, step: Step) -> str:
        """Both sides read once more."""
        left = work(self.part, self._root(self.source), self._root(step.target))
        wrong = left.copied + left.clashing + (left.extra if self.delete else ())
        if wrong:
            raise StepFailed(f"{count(len(wrong), 'entry')} still not alike, the first {shown(wrong[0])}")
        return f"as on {self.source}" + (f", {len(left.extra)} more are only there" if left.extra else "")

    def _unchanged(self, step: Step) -> None:
        expected = step.expect["state"]
        if expected is not None and self.part.state(self._root(step.target)) != expected:
            raise WorldChanged(f"{self.part} on {step.target} is not as it was read: run it again")

    def _root(self, name: str) -> Root:
        told = {self.part.root: [self.part.entry] if self.part.entry else ["*"]}
        looked = look(self.settings, self.settings.node(name), (self.part.root,), told, self._left_s())
        root = looked.roots.get(self.part.root) if isinstance(looked, Node) else None
        if root is None or root.state != "read":
            raise WorldChanged(f"{self.part.root} of {name} cannot be read any more")
        return root

    def _rsync(self, node: str, origin: str, target: str, paths: Sequence[str]) -> None:
        door = self.settings.node(node).door()
        rsh = f"\"{sys.executable}\" -I -S -c '{RSH}'"
        words: list[Any] = ["rsync", *OPTIONS, f"--rsh={rsh}", "--", origin, target]
        text = b"".join(os.fsencode(path) + b"\0" for path in paths)
        try:
            Door(("env", f"ST2HA_DOOR={json.dumps(list(door.prefix))}")).run(words, self._left_s(), text)
        except CommandFailed as error:
            raise StepFailed(f"{error} (with {node}; rsync must be installed there and here)") from None
        except HostError as error:
            raise StepFailed(f"{error} (with {node})") from None

    def _left_s(self) -> float:
        return max(0.5, self._end - time.monotonic())
