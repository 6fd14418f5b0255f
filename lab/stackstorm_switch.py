"""Point a lab balancer (nginx) to a side: `python -m lab.stackstorm_switch DIRECTORY BALANCER old|new`.

Write, test, reload, and ask on fresh connections until the new generation answers: nginx's own exit codes lie. Whatever
fails, the file is as it was before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

WAIT_S = 10.0


def switch(directory: Path, side: str) -> str:
    """A line about what was done; raises OSError or CalledProcessError."""
    facts = json.loads((directory / "balancer.json").read_text())
    file = directory / "upstreams.conf"
    before = file.read_text()
    generation = f"{side}-{time.time_ns()}"
    file.write_text(upstreams(facts["sides"][side], generation))
    try:
        for words in (("-t",), ("-s", "reload")):
            subprocess.run(nginx(directory, *words), check=True, capture_output=True, text=True, timeout=20)
        _await(facts["port"], generation)
    except Exception:
        file.write_text(before)
        raise
    return f"{directory.name} answers as generation {generation}"


def nginx(directory: Path, *words: str) -> list[str]:
    return ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf"), *words]


def upstreams(ports: Sequence[int], generation: str) -> str:
    """The one file that a switch writes."""
    servers = dict(zip(("st2", "st2stream"), ports))
    blocks = "".join(f"upstream {name} {{ server 127.0.0.1:{port}; }}\n" for name, port in servers.items())
    return f'{blocks}map $host $generation {{ default "{generation}"; }}\n'


def current(port: int) -> str:
    """What a fresh connection is told."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/__generation", timeout=5) as reply:
        return str(reply.read().decode())


def _await(port: int, generation: str) -> None:
    end = time.monotonic() + WAIT_S
    while any(current(port) != generation for _ in range(5)):
        if time.monotonic() > end:
            raise OSError(f"port {port} still answers as another generation than {generation}")
        time.sleep(0.02)


if __name__ == "__main__":
    try:
        print(switch(Path(sys.argv[1], sys.argv[2]), sys.argv[3]))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{sys.argv[2]}: {getattr(error, 'stderr', '') or error}", file=sys.stderr)
        sys.exit(1)
