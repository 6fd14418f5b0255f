"""389 Directory Server as the third flavour: memberOf of its own plugin, account inactivation, must-change control."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lab.certs import Authority
from lab.directory import Controller, Directories, own_network, run
from lab.people import PASSWORD
from lab.process import Server
from lab.slapd import BASE, ROOT_DN, Slapd, people_and_groups, record

PACKAGED = Path("/usr/share/dirsrv")
TEMPLATE = PACKAGED / "data" / "template-dse.ldif"
PLACES = ("lock", "tmp", "cert", "ldif", "bak", "run", "inst", "log", "config", "db", "db_home")
BACKEND = f"""
dn: cn=userroot,cn=ldbm database,cn=plugins,cn=config
objectClass: top
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userroot
nsslapd-suffix: {BASE}

dn: cn="{BASE}",cn=mapping tree,cn=config
objectClass: top
objectClass: extensibleObject
objectClass: nsMappingTree
cn: {BASE}
nsslapd-state: backend
nsslapd-backend: userroot
"""
READABLE = f"""
dn: {BASE}
changetype: modify
add: aci
aci: (targetattr != "userPassword")(version 3.0; acl "lab"; allow (read, search, compare) userdn = "ldap:///anyone";)
"""
FOREGROUND = "16384"
"""Of -d: with 0 it goes into the background. 16384 is what its log tells by default."""


class Dirsrv(Directories):
    """The people and groups of lab.slapd; `locked` is inactivated, `mustchange` got its password from the root DN."""

    base = BASE
    service_dn, user_dn, group_dn = Slapd.service_dn, Slapd.user_dn, Slapd.group_dn

    kind = "dirsrv"

    @staticmethod
    def limitation() -> str | None:
        return None if shutil.which("ns-slapd") else "ns-slapd is missing: apt-get install 389-ds-base"

    def _up(self) -> None:
        network, self._lock = own_network()
        host = f"{network}.10"
        self.authority = Authority(self.directory / "certs")
        directory = self.directory / "dirsrv"
        self._lay_out(directory, host)
        command = ["ns-slapd", "-D", str(directory / "config"), "-i", str(directory / "pid"), "-d", FOREGROUND]
        self.controllers.append(Controller("dirsrv", host, Server("dirsrv", command, directory, owner=self.directory)))
        self.server(0).start()
        self._await()
        self._load(host)

    def _lay_out(self, directory: Path, host: str) -> None:
        """An instance without its installer, which insists on systemd's places."""
        for place in PLACES:
            (directory / place).mkdir(mode=0o700, parents=True)
        schema = directory / "config" / "schema"
        schema.mkdir()
        for file in (PACKAGED / "schema").glob("*.ldif"):
            shutil.copy(file, schema)
        for file in Path("/etc/dirsrv/config").iterdir():
            shutil.copy(file, directory / "config")
        config = directory / "config" / "dse.ldif"
        config.touch(mode=0o600)
        config.write_text(_dse(directory, host))
        pem = self.authority.server("dirsrv", [host, "localhost", "127.0.0.1"])
        bundle = self.directory / "certs" / "dirsrv.p12"
        convert = ["openssl", "pkcs12", "-export", "-in", str(pem), "-name", "Server-Cert", "-passout", "pass:"]
        run([*convert, "-out", str(bundle)], self.directory / "pkcs12.log")
        store = str(directory / "cert")
        run(["certutil", "-N", "-d", store, "--empty-password"], self.directory / "certutil.log")
        run(["pk12util", "-i", str(bundle), "-d", store, "-W", ""], self.directory / "pk12util.log")

    def _load(self, host: str) -> None:
        secret = self.directory / "root-password"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD)
        login = ["-x", "-H", f"ldap://{host}", "-D", ROOT_DN, "-y", str(secret)]
        ldif = "\n".join(record(dn, values) for dn, values in people_and_groups().items())
        run(["ldapadd", *login], self.directory / "ldapadd.log", ldif)
        policy = (("passwordLockout", "on"), ("passwordMustChange", "on"))
        changes = [_set("cn=config", name, value) for name, value in policy]
        changes += [_set(self.user_dn.format("locked"), "nsAccountLock", "true")]
        changes += [_set(self.user_dn.format("mustchange"), "userPassword", PASSWORD), READABLE]
        run(["ldapmodify", *login], self.directory / "ldapmodify.log", "\n".join(changes))


def _set(dn: str, name: str, value: str) -> str:
    return f"dn: {dn}\nchangetype: modify\nreplace: {name}\n{name}: {value}\n"


def _dse(directory: Path, host: str) -> str:
    """The packaged template filled in: TLS and memberOf on, one backend, listening on `host` alone."""
    values = {
        **{f"{place}_dir": str(directory / place) for place in PLACES},
        "schema_dir": str(directory / "config" / "schema"),
        "fqdn": "localhost", "ds_port": "389", "ds_user": "root", "rootdn": ROOT_DN,
        "ds_passwd": f"{{CLEAR}}{PASSWORD}",
        "ldapi_enabled": "off", "ldapi_autobind": "off", "ldapi": str(directory / "ldapi"), "db_lib": "bdb",
        "ds_suffix": BASE,
    }  # fmt: skip
    text = re.sub(r"%(\w+)%", lambda match: values[match[1]], TEMPLATE.read_text())
    listen = (
        f"nsslapd-listenhost: {host}\nnsslapd-securelistenhost: {host}\nnsslapd-secureport: 636\nnsslapd-security: on"
    )
    text = text.replace("nsslapd-port: 389", f"nsslapd-port: 389\n{listen}", 1)
    head, plugin, tail = text.partition("cn: MemberOf Plugin\n")
    tail = tail.replace("nsslapd-pluginenabled: off", "nsslapd-pluginenabled: on", 1)
    tail = tail.replace(
        "memberOfGroupAttr: member\n", "memberOfGroupAttr: member\nmemberOfGroupAttr: uniqueMember\n", 1
    )
    return f"{head}{plugin}{tail.rstrip()}\n{BACKEND}"
