"""Machines of their own on one machine: network, host name and mount namespaces without a name, on a common bridge.

They belong to processes of the lab and vanish with them, with addresses, mounts and data: nothing on the machine
itself is changed, and two runs never meet.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.place import Place
from lab.process import MARKER, Server
from lab.wait import wait_for

NAMESPACES = ("unshare", "--net", "--uts", "--mount", "--propagation=private")
ENTER = ("--net", "--uts", "--mount", "--")
HUB = "client"
"""The box that has the bridge; make it first."""
NETWORK_NAMESPACE = 0x40000000


class Boxes(Place):
    """`boxes` are the processes that hold the namespaces, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, Server] = {}

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        for box in self.boxes.values():
            box.alive()  # reaps our children

    def prefix(self, where: str) -> list[str]:
        """What stands before a command to run it in that box."""
        return ["nsenter", f"--target={self.boxes[where].pid}", *ENTER]

    def command(self, where: str, command: Sequence[str]) -> list[str]:
        """The argv that runs a command in that box."""
        return [*self.prefix(where), *command]

    def environment(self, **other: str) -> dict[str, str]:
        """For what runs there: it ends with the lab."""
        return {**os.environ, MARKER: str(self.directory), **other}

    def run(self, where: str, command: Sequence[str], stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """Run it there to its end. Raises LabError if it fails."""
        done = subprocess.run(
            self.command(where, command), input=stdin, env=self.environment(**env or {}),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        if done.returncode:
            raise LabError(f"{' '.join(command[:3])} in {where} failed: {(done.stderr or done.stdout)[-1500:]}")
        return done.stdout

    def file(self, where: str, path: str) -> Path:
        """A file of that box as this process can open it."""
        return Path(f"/proc/{self.boxes[where].pid}/root{path}")

    def cut_link(self, name: str) -> None:
        """Pull the cable of a box: its link goes down."""
        self.run(HUB, ["ip", "link", "set", name, "down"])

    def mend_link(self, name: str) -> None:
        """Undo `cut_link`; harmless otherwise."""
        self.run(HUB, ["ip", "link", "set", name, "up"])

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """This thread, and the threads and processes that it starts, are in that box's network meanwhile."""
        with open("/proc/thread-self/ns/net") as home:
            with open(f"/proc/{self.boxes[where].pid}/ns/net") as there:
                enter_network(there.fileno())
            try:
                yield
            finally:
                enter_network(home.fileno())

    def _box(self, name: str, address: str, places: Sequence[str]) -> None:
        """A machine: a host name, `places` of its own on memory, and a cable to the hub's bridge."""
        directory = self.directory / f"box-{name}"
        directory.mkdir()
        mounts = "".join(f"mkdir -p {place}; mount -t tmpfs -o mode=755 tmpfs {place}; " for place in places)
        setup = f"set -e; hostname {name}; {mounts} ip link set lo up; touch {directory}/up; "
        box = Server(name, [*NAMESPACES, "sh", "-c", f"{setup} exec sleep infinity"], directory, owner=self.directory)
        self.boxes[name] = box
        box.start()
        wait_for(functools.partial(_is_up, box), 10, f"the namespaces of {name}", interval_s=0.02)
        plug = "eth0"
        if name == HUB:
            plug = "bridge"
            self.run(name, ["ip", "link", "add", plug, "type", "bridge"])
        else:
            veth = f"link add {name} master bridge type veth peer name {plug} netns {box.pid}"
            self.run(HUB, ["ip", *veth.split()])
            self.run(HUB, ["ip", "link", "set", name, "up"])
        self.run(name, ["ip", "address", "add", f"{address}/24", "dev", plug])
        self.run(name, ["ip", "link", "set", plug, "up"])


def limitation() -> str | None:
    """Why this machine has no namespaces for boxes, None if it has."""
    if os.geteuid() != 0:
        return "namespaces need root"
    links = "ip link add hub type bridge && ip link add box master hub type veth peer name eth0"
    tried = subprocess.run(
        [*NAMESPACES, "sh", "-c", f"{links} && mount -t tmpfs tmpfs /run"],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    return f"this machine cannot make namespaces: {tried.stderr.strip()}" if tried.returncode else None


def _is_up(box: Server) -> bool:
    box.check_alive()
    return (box.directory / "up").exists()


def enter_network(descriptor: int) -> None:
    """os.setns is new in Python 3.12."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, NETWORK_NAMESPACE) != 0:
        raise LabError(f"cannot enter the network of a box: {os.strerror(ctypes.get_errno())}")
