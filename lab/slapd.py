"""OpenLDAP as the second flavour: memberOf, member, uniqueMember, memberUid, nesting, password policy."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping, Sequence
from typing import Union

from lab.certs import Authority
from lab.directory import Controller, Directories, own_network, run
from lab.people import PASSWORD
from lab.process import Server

BASE = "dc=lab,dc=test"
ROOT_DN = f"cn=root,{BASE}"
Values = Mapping[str, Union[str, Sequence[str]]]
CONF = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload ppolicy
pidfile {directory}/slapd.pid
allow bind_anon_dn
TLSCertificateFile {pem}
TLSCertificateKeyFile {pem}
TLSCACertificateFile {ca}
database mdb
suffix "{base}"
rootdn "{root}"
rootpw {password}
directory {directory}/data
index objectClass,uid,member,uniqueMember,memberUid eq
access to attrs=userPassword by anonymous auth by * none
access to * by * read
overlay memberof
overlay ppolicy
ppolicy_default "cn=policy,{base}"
ppolicy_use_lockout
"""
POLICY: dict[str, Values] = {
    f"cn=policy,{BASE}": {
        "objectClass": ["device", "pwdPolicy"], "cn": "policy", "pwdAttribute": "userPassword",
        "pwdLockout": "TRUE", "pwdMustChange": "TRUE", "pwdMaxFailure": "5",
    },
}  # fmt: skip


class Slapd(Directories):
    """`allow bind_anon_dn` is on: a DN with an empty password binds anonymously and is answered by success."""

    base = BASE
    service_dn = f"uid=service,ou=people,{BASE}"
    user_dn = f"uid={{}},ou=people,{BASE}"
    group_dn = f"cn={{}},ou=groups,{BASE}"

    kind = "slapd"

    @staticmethod
    def limitation() -> str | None:
        return None if shutil.which("slapd") else "slapd is missing: apt-get install slapd ldap-utils"

    def _up(self) -> None:
        network, self._lock = own_network()
        host = f"{network}.10"
        self.authority = Authority(self.directory / "certs")
        pem = self.authority.server("slapd", [host, "localhost", "127.0.0.1"])
        directory = self.directory / "slapd"
        (directory / "data").mkdir(parents=True)
        conf = directory / "slapd.conf"
        conf.touch(mode=0o600)
        places = {"directory": directory, "pem": pem, "ca": self.authority.ca_file, "base": BASE, "root": ROOT_DN}
        conf.write_text(CONF.format(**places, password=PASSWORD))
        command = ["slapd", "-d", "0", "-f", str(conf), "-h", f"ldap://{host}:389 ldaps://{host}:636"]
        self.controllers.append(Controller("slapd", host, Server("slapd", command, directory, owner=self.directory)))
        self.server(0).start()
        self._await()
        self._load(host)

    def _load(self, host: str) -> None:
        """Through the server, because memberOf is filled by its overlay only."""
        secret = self.directory / "root-password"
        secret.touch(mode=0o600)
        secret.write_text(PASSWORD)
        ldif = "\n".join(record(dn, values) for dn, values in {**people_and_groups(), **POLICY}.items())
        login = ["-x", "-H", f"ldap://{host}", "-D", ROOT_DN, "-y", str(secret)]
        run(["ldapadd", *login], self.directory / "ldapadd.log", ldif)
        run(
            ["ldapmodify", *login],
            self.directory / "ldapmodify.log",
            "\n".join(map(_locked_or_reset, ("locked", "mustchange"))),
        )


def people_and_groups() -> dict[str, Values]:
    """Distinguished name -> attributes, in the order in which they can be added."""
    people = ["service", "alice", "bob", "carol", "dave", "erin", "frank", "locked", "mustchange", "a,b (c)*"]
    entries: dict[str, Values] = {
        BASE: {"objectClass": ["dcObject", "organization"], "dc": "lab", "o": "lab"},
    }
    for unit in ("people", "groups"):
        entries[f"ou={unit},{BASE}"] = {"objectClass": "organizationalUnit", "ou": unit}
    for name in people:
        values = {"objectClass": "inetOrgPerson", "uid": name, "cn": name, "sn": name, "userPassword": PASSWORD}
        entries[_user(name)] = {**values, "mail": f"{name.split(',')[0]}@lab.test"}
    entries[_user("twice")] = {**entries[_user("alice")], "uid": ["twice", "alias"], "cn": "twice"}
    entries[_group("team")] = _group_values("groupOfNames", "member", "team", [_user("bob")])
    users = [_user(name) for name in ("alice", "erin", "locked", "mustchange", "a,b (c)*", "twice")]
    entries[_group("st2users")] = _group_values(
        "groupOfNames", "member", "st2users", [*users, _group("team"), _group("ring1")]
    )
    entries[_group("ring1")] = _group_values("groupOfNames", "member", "ring1", [_group("ring2")])
    entries[_group("ring2")] = _group_values("groupOfNames", "member", "ring2", [_group("ring1"), _user("dave")])
    entries[_group("unique")] = _group_values("groupOfUniqueNames", "uniqueMember", "unique", [_user("carol")])
    entries[_group("around")] = _group_values("groupOfUniqueNames", "uniqueMember", "around", [_group("unique")])
    entries[_group("posix")] = {"objectClass": "posixGroup", "cn": "posix", "gidNumber": "500", "memberUid": ["carol"]}
    entries[_group("contractors")] = _group_values("groupOfNames", "member", "contractors", [_user("erin")])
    return entries


def _user(name: str) -> str:
    return Slapd.user_dn.format(name.replace(",", "\\,"))


def _group(name: str) -> str:
    return Slapd.group_dn.format(name)


def _group_values(kind: str, attribute: str, name: str, members: list[str]) -> Values:
    return {"objectClass": kind, "cn": name, attribute: members}


def _locked_or_reset(name: str) -> str:
    change = {"locked": ("pwdAccountLockedTime", "000001010000Z"), "mustchange": ("pwdReset", "TRUE")}[name]
    return f"dn: {_user(name)}\nchangetype: modify\nreplace: {change[0]}\n{change[0]}: {change[1]}\n"


def record(dn: str, values: Values) -> str:
    """An entry as LDIF, every value in base64."""
    lines = [f"dn:: {_base64(dn)}"]
    for name, value in values.items():
        lines += [f"{name}:: {_base64(each)}" for each in ([value] if isinstance(value, str) else value)]
    return "\n".join(lines) + "\n"


def _base64(value: str) -> str:
    return base64.b64encode(value.encode()).decode()
