"""An Active Directory domain of two controllers that replicate: the second one has truly joined the first.

    with JoinedDomain() as ad: ad.command("client", [...])      # 20 s; root, Debian 12

A controller needs a machine of its own (ports, host name, /var/lib/samba, resolv.conf), so each is a box (lab.boxes),
beside a third one for clients, whose bridge joins them.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import people
from lab.boxes import Boxes, limitation
from lab.certs import Authority
from lab.cluster import ROOT
from lab.directory import BASE, DOMAIN, MISSING, REALM, SYSTEM_PYTHON, Controller, Directories
from lab.errors import LabError
from lab.process import Server
from lab.wait import wait_for

ZONE = REALM.lower()
ADDRESSES = {"client": "10.77.0.1", "dc1": "10.77.0.11", "dc2": "10.77.0.12"}
PLACES = "/run", "/etc/samba", "/var/lib/samba", "/var/cache/samba", "/var/log/samba"
ADMIN = {"USER": "Administrator", "PASSWD": people.PASSWORD}
"""Samba's tools take them from here."""
OPTIONS = """
old password allowed period = 0
prefork children = 1
server services = -dnsupdate
dreplsrv:periodic_startup_interval = 1
dreplsrv:periodic_interval = 2
"""
"""Else Samba takes the previous password for another hour, and pulls changes every 5 minutes. Its names for DNS and
Kerberos are registered here, one after the other: replication needs them, and the service takes its time."""
KERBEROS = {"KRB5_CONFIG": "/var/lib/samba/private/krb5.conf"}
"""Without it the first replication takes 15 s more."""
NAMES = f"""
import sys, dns.resolver
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [sys.argv[1]]
found = [record.target for record in resolver.resolve("_ldap._tcp.dc._msdcs.{ZONE}", "SRV", lifetime=5)]
print(*sorted(name.to_text(True) for name in found if resolver.resolve(name, "A", lifetime=5)))
"""
PROBE = "import socket, sys; socket.create_connection((sys.argv[1], 636), 1)"


class JoinedDomain(Directories, Boxes):
    """`ad.lab.test` with the people of lab.people, on dc1 and dc2; `boxes` are the namespaces."""

    base = BASE
    service_dn = f"CN=Service,OU=Staff,{BASE}"
    group_dn = f"CN={{}},OU=Groups,{BASE}"

    kind = "joined"

    @staticmethod
    def limitation() -> str | None:
        return (None if shutil.which("samba") else MISSING) or limitation()

    def names(self, controller: str) -> list[str]:
        """The controllers that its DNS names and has addresses of."""
        return self.run("client", [sys.executable, "-c", NAMES, ADDRESSES[controller]]).split()

    def _replicated(self, controller: str) -> bool:
        """Whether what was registered on the first after the join is there: in two of the domain's partitions."""
        return len(self.names(controller)) == len(self.controllers)

    def _up(self) -> None:
        self.authority = Authority(self.directory / "certs")
        for name, address in ADDRESSES.items():
            self._box(name, address, PLACES)
            self.run(name, ["mkdir", "/run/samba"])
        self._name_servers("dc1", "dc1")
        self._name_servers("dc2", "dc1")
        self._name_servers("client", "dc1", "dc2")
        provision = ("--realm", REALM, "--domain", DOMAIN, "--server-role=dc", "--dns-backend=SAMBA_INTERNAL")
        place = (f"--adminpass={people.PASSWORD}", "--host-name=dc1", f"--host-ip={ADDRESSES['dc1']}")
        self.run("dc1", ["samba-tool", "domain", "provision", *provision, *place])
        fill = [SYSTEM_PYTHON, str(ROOT / "lab" / "samba_fill.py"), "/etc/samba/smb.conf"]
        self.run("dc1", fill, json.dumps({**people.as_json(), "crowd": 0}))
        self._serve("dc1")
        self.run("dc2", ["samba-tool", "domain", "join", ZONE, "DC", "--dns-backend=SAMBA_INTERNAL"], env=ADMIN)
        self._serve("dc2")
        self.run("dc2", ["samba_dnsupdate", "--use-samba-tool", f"--rpc-server-ip={ADDRESSES['dc1']}"])
        replicated = functools.partial(self._replicated, "dc2")
        wait_for(replicated, 60, "the second to replicate", interval_s=0.5, retry_on=(LabError,))

    def _await(self) -> None:
        for each in self.controllers:
            probe = self.command("client", [SYSTEM_PYTHON, "-c", PROBE, each.host])
            wait_for(functools.partial(_succeeds, each.server, probe), 30, f"{each.name} to listen", interval_s=0.1)

    def _name_servers(self, name: str, *servers: str) -> None:
        file = self.directory / f"box-{name}" / "resolv.conf"
        lines = [f"search {ZONE}", "options timeout:1 attempts:1"]
        file.write_text("\n".join([*lines, *(f"nameserver {ADDRESSES[each]}" for each in servers)]) + "\n")
        self.run(name, ["mount", "--bind", str(file), "/etc/resolv.conf"])

    def _serve(self, name: str) -> None:
        """All of Samba's services, with the authority's certificate."""
        pem = self.authority.server(name, [f"{name}.{ZONE}", ADDRESSES[name]])
        tls = f"tls certfile={pem}\ntls keyfile={pem}\ntls cafile={self.authority.ca_file}"
        file = Path(f"/proc/{self.boxes[name].pid}/root/etc/samba/smb.conf")
        file.write_text(file.read_text().replace("[global]", f"[global]\n{tls}\n{OPTIONS}", 1))
        self.run(name, ["samba_spnupdate"])
        directory = self.directory / name
        directory.mkdir()
        command = self.command(name, ["samba", "-F", "--no-process-group", "--debug-stdout"])
        server = Server(name, command, directory, owner=self.directory, env=KERBEROS)
        self.controllers.append(Controller(name, ADDRESSES[name], server))
        server.start()
        self._await()


def _succeeds(server: Server, probe: Sequence[str]) -> bool:
    server.check_alive()
    return not subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode
