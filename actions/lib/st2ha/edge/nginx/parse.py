"""From what the scripts print to facts. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Optional

from st2ha.edge.content import Reply
from st2ha.edge.nginx.facts import ConfFile, Disk, Marker, Owned, Worker
from st2ha.edge.parts import parts

FILE = re.compile(r"^# configuration file (.*):$", re.MULTILINE)
WORDS = 300


def parse_disk(output: bytes, boundary: str, owned: Sequence[str]) -> Disk:
    """The whole reading of one balancer. ValueError or KeyError if it is not whole."""
    found = dict(parts(output.decode("utf-8", "surrogateescape"), boundary))
    test = next(name for name in found if name.startswith("test "))
    now = float(found["now"])
    changed = {path: time for time, _, path in (line.partition(" ") for line in found["files"].splitlines())}
    master, workers = _processes(found["processes"])
    valid = test == "test 0"
    return Disk(
        refusal=None if valid else _refusal(found[test]),
        files=tuple(
            ConfFile(path, text, now - float(changed[path]) if path in changed else None)
            for path, text in (_files(found[test]) if valid else ())
        ),
        master=master,
        workers=workers,
        owned={path: _owned(path, found[f"owned {path}"]) for path in owned},
        has_vip="inet" in found["vip"],
    )


def parse_marker(reply: Reply) -> Optional[Marker]:
    """None where another server answers on the port."""
    try:
        said = json.loads(reply.body)
        return Marker(str(said["generation"]), str(said["group"]))
    except (ValueError, KeyError, TypeError):
        return None


def _files(dump: str) -> list[tuple[str, str]]:
    pieces = FILE.split(dump)
    return list(dict(zip(pieces[1::2], pieces[2::2])).items())


def _refusal(words: str) -> str:
    """nginx's own first complaint on one line."""
    lines = [line for line in words.splitlines() if "[emerg]" in line or "[crit]" in line] or words.splitlines()
    return re.sub(r"^nginx: \[\w+\] ", "", " ".join(lines[0].split()))[:WORDS] if lines else "it says nothing"


def _processes(text: str) -> tuple[Optional[int], tuple[Worker, ...]]:
    """The master is the first. Cache managers are no workers, nor is a fork that has not its own title yet.

    Ages come in hundredths of a second.
    """
    master: Optional[int] = None
    workers = []
    for line in text.splitlines():
        pid, age, title = line.split(None, 2)
        if master is None and "master process" in title:
            master = int(pid)
        elif "worker process" in title:
            workers.append(Worker(int(pid), float(age) / 100, "shutting down" in title))
    return master, tuple(workers)


def _owned(path: str, text: str) -> Owned:
    writable, finished, content, former = text.splitlines()
    return Owned(path, _bytes(content), _bytes(former), writable == "writable", finished == "unfinished")


def _bytes(line: str) -> Optional[bytes]:
    return None if line == "absent" else base64.b64decode(line.partition(" ")[2])
