"""The saved state of a cluster: how another process finds its network and ends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.network import Endpoint, Network
from lab.process import sweep

# The uid of a server is this plus its first port: unique on the machine, and far from real users.
UID_BASE = 1_000_000


def network_of(state: dict[str, Any]) -> Network:
    """The network of a cluster from its saved state."""
    groups = grouped(state["ports"], state["ports_per_member"])
    ends = [Endpoint(name, UID_BASE + own[0], own) for name, own in zip(state["names"], groups)]
    return Network(groups[0][0], ends)


def grouped(ports: list[int], size: int) -> list[tuple[int, ...]]:
    """The ports of each member."""
    return [tuple(ports[i : i + size]) for i in range(0, len(ports), size)]


def read_state(directory: Path) -> dict[str, Any]:
    """The saved state of the cluster in a directory. Raises LabError if there is none."""
    try:
        state: dict[str, Any] = json.loads((directory / "state.json").read_text())
    except FileNotFoundError:
        raise LabError(f"no cluster in {directory}: start one with python -m lab up") from None
    return state


def dispose(directory: Path) -> None:
    """End the cluster in a directory, whoever started it, and delete the directory. Can be repeated."""
    if directory == Path() or not directory.exists():
        return
    sweep(directory)
    if (directory / "state.json").exists():
        network_of(read_state(directory)).down()
    shutil.rmtree(directory, ignore_errors=True)
