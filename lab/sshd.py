"""Real sshds, each in a box of its own network with a host key of its own, and a client that they let in.

    with SshNodes() as nodes, nodes.inside("client"):
        nodes.ssh.command()      # the pack's `command`: ssh -F ... {name}

Whoever signs in is root of that box (openssh-server; root). `Sshd` does the same in the boxes of another lab.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.boxes import HUB, Boxes, limitation
from lab.errors import LabError
from lab.process import Server
from lab.wait import wait_for

PROGRAM = "/usr/sbin/sshd"
NODES = {"node1": "10.79.0.11", "node2": "10.79.0.12"}
CONFIG = """
ListenAddress {address}
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
  HostName {address}
  HostKeyAlias {name}
  User root
  IdentityFile {keys}/client
  IdentitiesOnly yes
  UserKnownHostsFile {keys}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


class Sshd:
    """An sshd in each of these boxes (name -> address), whose `/run` is their own."""

    def __init__(self, boxes: Boxes, addresses: Mapping[str, str]) -> None:
        self.boxes, self.addresses = boxes, addresses
        self.directory = boxes.directory / "ssh"
        self.servers: dict[str, Server] = {}

    @staticmethod
    def limitation() -> str | None:
        """Why there can be none here, None if there can."""
        return limitation() if os.access(PROGRAM, os.X_OK) else "sshd is missing: apt-get install openssh-server"

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

    def make_key(self, name: str) -> None:
        """A new pair of keys `name`; `client` is the one that sshd lets in."""
        _keygen(self.directory / name)

    def up(self) -> None:
        """Start all of them and wait until they listen."""
        self.directory.mkdir(mode=0o700)
        self.make_key("client")
        clients = []
        for name, address in self.addresses.items():
            directory = self.directory / name
            directory.mkdir()
            _keygen(directory / "host_key")
            places = {"name": name, "address": address, "directory": directory, "keys": self.directory}
            (directory / "sshd_config").write_text(CONFIG.format(**places))
            clients.append(CLIENT.format(**places))
            self.boxes.run(name, ["mkdir", "-p", "-m", "755", "/run/sshd"])
            command = self.boxes.command(name, [PROGRAM, "-D", "-e", "-f", str(directory / "sshd_config")])
            self.servers[name] = Server(f"{name}-sshd", command, directory, owner=self.boxes.directory)
        self.client_config.write_text("".join(clients))
        self.restore()

    def restore(self) -> None:
        """As at the start: all run, and their host keys are known."""
        for name, server in self.servers.items():
            server.resume()
            server.start()
            self.know(name)
        for name, server in self.servers.items():
            wait_for(functools.partial(self._listens, name, server), 30, f"sshd of {name} to listen", interval_s=0.02)

    def kill(self) -> None:
        """All of them; nobody else would: sshd writes its title over the mark by which orphans are found."""
        for server in self.servers.values():
            server.kill()

    def _listens(self, name: str, server: Server) -> bool:
        server.check_alive()
        try:
            self.boxes.run(name, ["bash", "-c", f"exec 3<>/dev/tcp/{self.addresses[name]}/22"])
        except LabError:
            return False
        return True


class SshNodes(Boxes):
    """node1 and node2, each a machine with an sshd, and `client` on the same bridge."""

    kind = "sshd"

    @staticmethod
    def limitation() -> str | None:
        return Sshd.limitation()

    def restore(self) -> None:
        """Cables, at both ends, and sshds."""
        for name in NODES:
            self.mend_link(name)
            self.run(name, ["ip", "link", "set", "eth0", "up"])
        self.ssh.restore()

    def _up(self) -> None:
        for name, address in {HUB: "10.79.0.1", **NODES}.items():
            self._box(name, address, ("/run",))
        self.ssh = Sshd(self, NODES)
        self.ssh.up()

    def __exit__(self, *exc_info: object) -> None:
        self.ssh.kill()
        super().__exit__(*exc_info)


def _keygen(path: Path) -> None:
    program = shutil.which("ssh-keygen") or "ssh-keygen"
    subprocess.run(
        [program, "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True, timeout=30, input=b"y\n"
    )
