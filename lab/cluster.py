"""What every cluster of the lab has in common: a directory, servers, faults, and an end without orphans.

A cluster lives in a directory of its own: ``state.json`` (how to attach to it again) and a directory for each server.
As a context manager it dies with its parent, even by SIGKILL (see lab.guardian); a persistent one outlives it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, TypeVar

from lab.errors import LabError
from lab.network import Network
from lab.ports import reserve, state_dir
from lab.process import Server
from lab.state import UID_BASE, dispose, grouped, network_of, read_state
from lab.wait import wait_for

ROOT = Path(__file__).resolve().parent.parent
C = TypeVar("C", bound="Cluster")


@dataclass(frozen=True)
class Member:
    """One server of a cluster. ``uid`` is None if we are not root."""

    name: str
    host: str
    port: int
    uid: int | None
    ports: tuple[int, ...] = ()  # all of them, ``port`` first

    @property
    def address(self) -> str:
        """``host:port``"""
        return f"{self.host}:{self.port}"


class Cluster:
    """Base of the services. A subclass sets ``service`` and ``prefix`` and writes ``_command``, ``_prepare``,
    ``_launch``, ``_await_start`` and ``wait_healthy``; ``settings`` are its constructor's arguments (plain JSON).
    """

    service: ClassVar[str]
    prefix: ClassVar[str]
    ports_per_member: ClassVar[int] = 1

    def __init__(self, directory: Path | str | None, size: int, settings: dict[str, Any], base_port: int = 0) -> None:
        self._given = Path(directory).absolute() if directory is not None else None
        self._size = size
        self._settings = settings
        self._base_port = base_port
        self._guardian: subprocess.Popen[bytes] | None = None
        self._persistent = False
        self.directory = Path()
        self.members: list[Member] = []
        self.servers: dict[str, Server] = {}
        self.network = Network(0, [])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.directory}, {', '.join(m.address for m in self.members)})"

    # -- life

    def up(self: C, *, persistent: bool = False) -> C:
        """Start everything and wait until it is ready. ``persistent`` servers outlive this process.

        On any failure nothing is left behind. Raises LabError, ServerDied or WaitTimeout.
        """
        self._persistent = persistent
        self._claim_directory()
        try:
            self._attach(reserve(self._size * self.ports_per_member, self.directory, self._base_port))
            self._save()
            self._set_guardian()
            self.network.up()
            self._prepare()
            self._start_all()
            self._launch()
        except BaseException:
            self.down()
            raise
        if persistent:
            self._dismiss_guardian()
        return self

    def down(self) -> None:
        """Kill every server, undo the network, delete the directory. Can be repeated."""
        self._disconnect()
        dispose(self.directory)
        for server in self.servers.values():
            server.alive()  # reaps our children
        self._dismiss_guardian()

    def __enter__(self: C) -> C:
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.down()

    @classmethod
    def attach(cls: type[C], directory: Path | str) -> C:
        """The running cluster in a directory, for another process. Raises LabError if there is none."""
        state = read_state(Path(directory))
        if state["service"] != cls.service:
            raise LabError(f"{directory} holds {state['service']}, not {cls.service}")
        cluster = cls(directory, **state["settings"])
        cluster.directory = Path(directory).absolute()
        cluster._persistent = True
        cluster._attach(state["ports"])
        return cluster

    # -- faults, the same for every service

    def kill(self, name: str) -> None:
        """SIGKILL: connections are refused from now on."""
        self._server(name).kill()

    def stop(self, name: str) -> None:
        """A clean stop."""
        self._server(name).stop()

    def start(self, name: str, deadline_s: float = 30) -> None:
        """Start a dead member and wait until it answers (it may still be catching up: see wait_healthy)."""
        self._server(name).start()
        self._await_start(name, deadline_s)

    def hang(self, name: str) -> None:
        """SIGSTOP: it accepts and is silent."""
        self._server(name).hang()

    def resume(self, name: str) -> None:
        """Undo ``hang``."""
        self._server(name).resume()

    def cut_off(self, name: str, *, keep_clients: bool = False) -> None:
        """A black hole around a member, or with ``keep_clients`` only between it and the other members."""
        self._server(name)
        self.network.cut_off(name, keep_clients=keep_clients)

    def heal(self, name: str) -> None:
        """Undo ``cut_off``."""
        self._server(name)
        self.network.heal(name)

    def states(self) -> dict[str, str]:
        """``running``, ``hung`` or ``dead`` of each member, with ``, cut off`` where it is."""
        return {
            name: server.state + (", cut off" if self.network.is_cut_off(name) else "")
            for name, server in self.servers.items()
        }

    def member(self, name: str) -> Member:
        """Raises LabError if there is no such member."""
        for member in self.members:
            if member.name == name:
                return member
        raise LabError(f"no member {name}: there are {', '.join(m.name for m in self.members)}")

    def undo_faults(self) -> None:
        """Heal, resume and start every member that needs it."""
        for name, server in self.servers.items():
            self.network.heal(name)
            server.resume()
        dead = [name for name, server in self.servers.items() if not server.alive()]
        for name in dead:
            self.servers[name].start()
        for name in dead:
            self._await_start(name, 30)

    # -- what a service adds

    def wait_healthy(self, deadline_s: float = 30) -> None:
        """Return when the service works with all members. Raises WaitTimeout."""
        raise NotImplementedError

    def facts(self) -> dict[str, str]:
        """What a person needs to connect; names files of secrets, never secrets."""
        return {m.name: m.address for m in self.members}

    def deployment(self) -> dict[str, Any]:
        """This cluster as the pack's configuration names it: a deployment with one layer, without secrets."""
        raise NotImplementedError

    def _name(self, number: int) -> str:
        """The name of the member ``number``, from 1; overridden where there is more than one kind."""
        return f"{self.prefix}{number}"

    def _command(self, member: Member) -> list[str]:
        raise NotImplementedError

    def _runs_as(self, member: Member) -> int | None:
        """The user that starts a server; its command may take another one."""
        return member.uid

    def _environment(self, member: Member) -> dict[str, str]:
        """What a server's environment holds besides ours."""
        return {}

    def _prepare(self) -> None:
        """Write files before the first start."""

    def _start_all(self) -> None:
        """Start the servers; overridden where the order matters."""
        for server in self.servers.values():
            server.start()

    def _launch(self) -> None:
        """Make a cluster of the started servers and wait until it is ready."""

    def _await_start(self, name: str, deadline_s: float) -> None:
        """Wait until a started server listens; a service adds what else it takes."""
        member = self.member(name)
        wait_for(lambda: self._listens(member), deadline_s, f"{name} to listen on {member.address}", interval_s=0.02)

    def _disconnect(self) -> None:
        """Close our own connections."""

    # -- inside

    def _listens(self, member: Member) -> bool:
        self.servers[member.name].check_alive()
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((member.host, member.port)) == 0

    def _server(self, name: str) -> Server:
        self.member(name)
        return self.servers[name]

    def _claim_directory(self) -> None:
        if self._given is None:
            self.directory = Path(tempfile.mkdtemp(prefix=f"{self.service}-", dir=state_dir()))
            return
        self.directory = self._given
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(self.directory.iterdir()):
            message = f"{self.directory} is not empty: a cluster gets a directory of its own (python -m lab down?)"
            self.directory = Path()
            raise LabError(message)

    def _attach(self, ports: list[int]) -> None:
        root = os.geteuid() == 0
        self.members = [
            Member(self._name(i), "127.0.0.1", own[0], UID_BASE + own[0] if root else None, own)
            for i, own in enumerate(grouped(ports, self.ports_per_member), start=1)
        ]
        self.network = network_of(self._state())
        self.servers = {
            m.name: Server(
                m.name, self._command(m), self.directory / m.name, owner=self.directory, uid=self._runs_as(m),
                env=self._environment(m),
            )
            for m in self.members
        }  # fmt: skip

    def _state(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "names": [m.name for m in self.members],
            "ports": [port for m in self.members for port in m.ports],
            "ports_per_member": self.ports_per_member,
            "settings": self._settings,
        }

    def _save(self) -> None:
        (self.directory / "state.json").write_text(json.dumps(self._state(), indent=1))
        for member in self.members:
            directory = self.directory / member.name
            directory.mkdir(mode=0o700)
            self._give(directory, member)

    def _give(self, path: Path, member: Member) -> None:
        """Hand a file or directory to a member's user."""
        if member.uid is not None:
            os.chown(path, member.uid, member.uid)

    def _set_guardian(self) -> None:
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "lab.guardian", str(os.getpid()), str(self.directory)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait(10)
            self._guardian = None
