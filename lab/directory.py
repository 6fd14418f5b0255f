"""A real Samba Active Directory domain for sign-in. Root, Debian 12.

    with SambaDomain() as ad: ...      # 10 s; the second controller is a snapshot of the first at another address

It serves LDAP only, on loopback addresses of its own (AD's ports are fixed), and dies with its parent.
"""

from __future__ import annotations

import fcntl
import functools
import json
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab import people
from lab.certs import Authority
from lab.cluster import ROOT
from lab.errors import LabError
from lab.place import Place
from lab.ports import state_dir
from lab.process import Server
from lab.wait import wait_for

REALM, DOMAIN = "AD.LAB.TEST", "ADLAB"
BASE = "DC=ad,DC=lab,DC=test"
SYSTEM_PYTHON = "/usr/bin/python3"
SERVICES = "server services=ldap", "dcerpc endpoint servers="
MISSING = "samba is missing: apt-get install samba samba-ad-dc samba-ad-provision winbind"


@dataclass(frozen=True)
class Controller:
    """One LDAP server of the lab."""

    name: str
    host: str
    server: Server
    ldaps: int = 636
    ldap: int = 389


class Directories(Place):
    """A directory with servers in it that ends with this process; `user_dn` and `group_dn` take a name."""

    authority: Authority
    base = service_dn = user_dn = group_dn = ""

    def __init__(self) -> None:
        super().__init__()
        self.controllers: list[Controller] = []
        self._lock: IO[str] | None = None

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        for each in self.controllers:
            each.server.alive()  # reaps our children
        if self._lock is not None:
            self._lock.close()

    @property
    def hosts(self) -> list[str]:
        return [each.host for each in self.controllers]

    def server(self, index: int) -> Server:
        return self.controllers[index].server

    def restore(self) -> None:
        """Undo kills and hangs."""
        for each in self.controllers:
            each.server.resume()
            each.server.start()
        self._await()

    def _await(self) -> None:
        for each in self.controllers:
            wait_for(functools.partial(_listens, each), 30, f"{each.name} to listen on {each.host}", interval_s=0.02)


class SambaDomain(Directories):
    """`ad.lab.test` with the people and groups of lab.people; `controllers` are twins that do not replicate."""

    base = BASE
    service_dn = f"CN=Service,OU=Staff,{BASE}"
    group_dn = f"CN={{}},OU=Groups,{BASE}"

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self._size = size

    kind = "samba"

    @staticmethod
    def limitation() -> str | None:
        return None if shutil.which("samba") else MISSING

    def set_member(self, group: str, name: str, member: bool) -> None:
        """Add a person to a group or take it out, on every controller (they do not replicate)."""
        verb = "addmembers" if member else "removemembers"
        for each in self.controllers:
            database = f"tdb://{each.server.directory}/private/sam.ldb"
            config = ("-s", str(each.server.directory / "etc" / "smb.conf"), "-H", database)
            run(["samba-tool", "group", verb, group, name, *config], self.directory / "member.log")

    def _up(self) -> None:
        network, self._lock = own_network()
        addresses = [f"{network}.{10 + number}" for number in range(self._size)]
        self.authority = Authority(self.directory / "certs")
        first = self.directory / "dc1"
        self._provision(first, addresses[0])
        fill = [SYSTEM_PYTHON, str(ROOT / "lab" / "samba_fill.py"), str(first / "etc" / "smb.conf")]
        run(fill, self.directory / "fill.log", json.dumps(people.as_json()))
        for number, address in enumerate(addresses, start=1):
            directory = self.directory / f"dc{number}"
            if number > 1:
                shutil.copytree(first, directory, symlinks=True)
            self._configure(first, directory, addresses[0], address)
            self.controllers.append(Controller(directory.name, address, self._server(directory)))
        for each in self.controllers:
            each.server.start()
        self._await()

    def _provision(self, directory: Path, address: str) -> None:
        options = [f"{name}={directory}/{value}" for name, value in _PLACES.items()]
        command = [
            *("samba-tool", "domain", "provision", "-s", "/dev/null", f"--targetdir={directory}"),
            *(f"--realm={REALM}", f"--domain={DOMAIN}", "--server-role=dc", "--dns-backend=NONE"),
            *("--host-name=dc1", f"--host-ip={address}", f"--option=interfaces={address}/8"),
            *(f"--option={option}" for option in ["bind interfaces only=yes", *options]),
        ]
        run(command, self.directory / "provision.log")

    def _configure(self, first: Path, directory: Path, old: str, new: str) -> None:
        """Its own paths, address and certificate in a copy's smb.conf."""
        pem = self.authority.server(
            directory.name, [new, f"{directory.name}.{REALM.lower()}", "localhost", "127.0.0.1"]
        )
        target = directory / "tls.pem"
        shutil.copy(pem, target)
        target.chmod(0o600)
        file = directory / "etc" / "smb.conf"
        text = file.read_text() if directory == first else file.read_text().replace(f"{first}/", f"{directory}/")
        lines = [line for line in text.replace(f"{old}/8", f"{new}/8").splitlines() if "server services" not in line]
        tls = (f"tls certfile={target}", f"tls keyfile={target}", f"tls cafile={self.authority.ca_file}")
        extra = "\n".join((*SERVICES, *tls, "ldap server require strong auth=yes"))
        file.write_text("\n".join(lines).replace("[global]", f"[global]\n{extra}", 1))

    def _server(self, directory: Path) -> Server:
        config = ("-s", str(directory / "etc" / "smb.conf"), "-l", str(directory))
        command = ["samba", *config, "-M", "single", "--no-process-group", "-F"]
        return Server(directory.name, command, directory, owner=self.directory)


_PLACES = {
    "pid directory": "run",
    "ncalrpc dir": "ncalrpc",
    "winbindd socket directory": "wbsock",
    "ntp signd socket directory": "ntp",
}


def own_network() -> tuple[str, IO[str]]:
    """A network 127.77.x that nobody else on this machine uses; ours as long as the file is open."""
    for number in range(1, 250):
        lock = open(state_dir() / f"network-{number}.lock", "w")  # noqa: SIM115 - kept open
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        return f"127.77.{number}", lock
    raise LabError("all 249 loopback networks of the lab are in use")


def run(command: Sequence[str], log: Path, stdin: str = "") -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    log.write_text(done.stdout + done.stderr)
    if done.returncode:
        raise LabError(f"{command[0]} failed: {(done.stderr or done.stdout)[-800:]}")


def _listens(controller: Controller) -> bool:
    controller.server.check_alive()
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((controller.host, controller.ldaps)) == 0
