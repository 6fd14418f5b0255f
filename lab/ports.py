"""Ports for clusters: free ones, reserved for the life of the cluster, across all sessions on the machine.

They lie below the kernel's range for outgoing connections: a port of a killed member out of that range could be taken
by somebody's outgoing connection before the member starts again.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
from pathlib import Path

from lab.errors import LabError

FIRST, LAST = 20000, 31999
DEFAULT_STATE_DIR = Path("/tmp/st2ha-lab")


def state_dir(path: Path | None = None) -> Path:
    """The state directory, made with mode 0700 if need be. Raises LabError if it belongs to somebody else."""
    directory = (path or DEFAULT_STATE_DIR).absolute()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
        raise LabError(f"{directory} is not ours (a link, or another user's): name another one with --dir")
    return directory


def reserve(count: int, owner: Path, base_port: int = 0) -> list[int]:
    """``count`` consecutive ports, reserved as long as the directory ``owner`` exists.

    ``base_port`` 0 chooses. Raises LabError if the wanted ports are taken.
    """
    with open(state_dir() / "ports.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        register = state_dir() / "ports.json"
        taken = json.loads(register.read_text()) if register.exists() else {}
        taken = {port: holder for port, holder in taken.items() if holder != str(owner) and Path(holder).exists()}
        ports = _choose(count, taken, base_port)
        taken.update({str(port): str(owner) for port in ports})
        register.write_text(json.dumps(taken))
        return ports


def _choose(count: int, taken: dict[str, str], base_port: int) -> list[int]:
    starts = [base_port] if base_port else random.sample(range(FIRST, LAST - count, 10), 200)
    for start in starts:
        ports = list(range(start, start + count))
        if all(str(port) not in taken and _is_free(port) for port in ports):
            return ports
    raise LabError(f"ports {base_port}..{base_port + count - 1} are in use" if base_port else "no free ports found")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
