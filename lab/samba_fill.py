"""Fill a provisioned Samba domain that does not run yet. Run by Debian's own Python, which has Samba's module.

Reads JSON from standard input (passwords never stand in argv): `people`, `groups` and `crowd`, see lab.people.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

BYPASS_PWD_LAST_SET = "local_oid:1.3.6.1.4.1.7165.4.3.20:0"


def fill(smb_conf: str, wanted: dict[str, Any]) -> None:
    """Everything in one transaction: a tenth of the time."""
    lp = LoadParm()
    lp.load(smb_conf)
    sam = SamDB(lp=lp, session_info=system_session(lp))
    base = str(sam.domain_dn())
    sam.transaction_start()
    for ou in ("Staff", "Groups", "Crowd"):
        sam.add({"dn": f"OU={ou},{base}", "objectClass": "organizationalUnit"})
    sam.modify(changes(sam, base, {"lockoutThreshold": "5"}))
    for person in wanted["people"]:
        add_person(sam, base, person)
    crowd = [f"CN=crowd{number},OU=Crowd,{base}" for number in range(wanted["crowd"])]
    for dn in crowd:
        sam.add({"dn": dn, "objectClass": "contact"})
    for group in wanted["groups"]:
        kind = -0x80000000 + 2 if group["security"] else 2
        dn = f"CN={escape(group['name'])},OU=Groups,{base}"
        account = "".join(filter(str.isalnum, group["name"]))
        sam.add({"dn": dn, "objectClass": "group", "sAMAccountName": account, "groupType": str(kind)})
    for group in wanted["groups"]:
        members = [dn_of(name, wanted, base) for name in group["members"]] + (crowd if group["crowded"] else [])
        if members:
            sam.modify(changes(sam, dn_of(group["name"], wanted, base), {"member": members}, ldb.FLAG_MOD_ADD))
    sam.transaction_commit()
    for person in wanted["people"]:
        finish(sam, base, person, wanted)


def add_person(sam: Any, base: str, person: dict[str, str]) -> None:
    dn = f"CN={escape(person['cn'])},OU=Staff,{base}"
    entry = {"dn": dn, "objectClass": "user", "sAMAccountName": person["name"], "userPrincipalName": person["upn"]}
    sam.add({**entry, "displayName": person["display"], "userAccountControl": "544"})
    quoted = f'"{person["password"]}"'.encode("utf-16-le")
    sam.modify(changes(sam, dn, {"unicodePwd": quoted}))
    sam.modify(changes(sam, dn, {"userAccountControl": "514" if person["state"] == "disabled" else "512"}))


def finish(sam: Any, base: str, person: dict[str, str], wanted: dict[str, Any]) -> None:
    """The states that need a finished account."""
    dn = dn_of(person["name"], wanted, base)
    controls = [BYPASS_PWD_LAST_SET] if person["state"] == "password expired" else []
    states: dict[str, dict[str, Any]] = {
        "must change": {"pwdLastSet": "0"},
        "password expired": {"pwdLastSet": "128000000000000000"},
        "account expired": {"accountExpires": "128000000000000000"},
        "hours": {"logonHours": bytes(21)},
        "workstation": {"userWorkstations": "ELSEWHERE"},
    }
    if person["state"] in states:
        sam.modify(changes(sam, dn, states[person["state"]]), controls=controls)
    if person["primary"]:
        found = sam.search(dn_of(person["primary"], wanted, base), ldb.SCOPE_BASE, attrs=["primaryGroupToken"])
        sam.modify(changes(sam, dn, {"primaryGroupID": str(found[0]["primaryGroupToken"])}))


def dn_of(name: str, wanted: dict[str, Any], base: str) -> str:
    for person in wanted["people"]:
        if person["name"] == name:
            return f"CN={escape(person['cn'])},OU=Staff,{base}"
    return f"CN={escape(name)},OU=Groups,{base}"


def escape(value: str) -> str:
    return "".join("\\" + character if character in ',+"\\<>;=#' else character for character in value)


def changes(sam: Any, dn: str, values: Mapping[str, Any], flag: int = ldb.FLAG_MOD_REPLACE) -> Any:
    message = ldb.Message()
    message.dn = ldb.Dn(sam, dn)
    for name, value in values.items():
        message[name] = ldb.MessageElement(value, flag, name)
    return message


if __name__ == "__main__":
    fill(sys.argv[1], json.load(sys.stdin))
