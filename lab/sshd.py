"""Real sshds on loopback ports, each with a host key of its own, and a client that they let in (openssh-server).

    with Sshd(members=2) as nodes:
        nodes.command()      # the pack's `command`: ssh -F ... {name}

Whoever signs in is root, or the user that runs the lab; nothing outside of the lab's directory is read or written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.cluster import Cluster, Member
from lab.errors import LabError

PROGRAM = "/usr/sbin/sshd"
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {keys}/client.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
CLIENT = """
Host {name}
  HostName 127.0.0.1
  Port {port}
  HostKeyAlias {name}
  User {user}
  IdentityFile {keys}/client
  IdentitiesOnly yes
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
"""


class Sshd(Cluster):
    """Nodes node1, node2 ... of this very machine, each behind an sshd."""

    service = "sshd"
    prefix = "node"

    def __init__(self, directory: Path | str | None = None, members: int = 1) -> None:
        if not os.access(PROGRAM, os.X_OK):
            raise LabError("sshd is missing: apt-get install openssh-server")
        super().__init__(directory, members, {"members": members})

    @property
    def client_config(self) -> Path:
        return self.directory / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    def command(self, *more: str) -> str:
        """As the pack's configuration has it; `more` stands before the command on the node."""
        return " ".join(["ssh", "-F", str(self.client_config), "{name}", *more])

    def know(self, name: str, key_of: str | None = None) -> None:
        """Enter a node's host key (or that of another node) into known_hosts; what stood there for it goes."""
        key = (self.directory / (key_of or name) / "host_key.pub").read_text().split()
        self.forget(name)
        with open(self.known_hosts, "a") as file:
            file.write(f"{name} {key[0]} {key[1]}\n")

    def forget(self, name: str) -> None:
        """Strike a node from known_hosts."""
        lines = self.known_hosts.read_text().splitlines(keepends=True) if self.known_hosts.exists() else []
        self.known_hosts.write_text("".join(line for line in lines if line.split()[0] != name))

    def wait_healthy(self, deadline_s: float = 30) -> None:
        for member in self.members:
            self._await_start(member.name, deadline_s)

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.make_key("client")
        clients = []
        for member in self.members:
            directory = self.directory / member.name
            _keygen(directory / "host_key")
            text = CONFIG.format(port=member.port, directory=directory, keys=self.directory)
            (directory / "sshd_config").write_text(text)
            user = "root" if os.geteuid() == 0 else os.environ.get("USER", "")
            places = {"name": member.name, "port": member.port, "user": user, "keys": self.directory}
            clients.append(CLIENT.format(**places, known_hosts=self.known_hosts))
            self.know(member.name)
        self.client_config.write_text("".join(clients))

    def make_key(self, name: str) -> None:
        """A new pair of keys `name`; `client` is the one that sshd lets in."""
        _keygen(self.directory / name)

    def _launch(self) -> None:
        self.wait_healthy()

    def _runs_as(self, member: Member) -> int | None:
        return None

    def _command(self, member: Member) -> list[str]:
        return [PROGRAM, "-D", "-e", "-f", str(self.directory / member.name / "sshd_config")]


def _keygen(path: Path) -> None:
    program = shutil.which("ssh-keygen") or "ssh-keygen"
    subprocess.run(
        [program, "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True, timeout=30, input=b"y\n"
    )
