"""auth_explain on a real domain and on slapd: it says what the backend then does, and why."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lab.directory import SYSTEM_PYTHON, SambaDomain
from lab.people import ODD_NAMES, PASSWORD, PEOPLE, STATES, person
from lab.slapd import Slapd
from st2auth_ldap3 import Ldap3AuthenticationBackend, explain
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import Unavailable
from st2auth_ldap3.settings import parse
from tests.fix_auth import ldap_options, on_samba, samba_options
from tests.real import run

SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"group_dns": ["CN=st2users", "CN=st2admins"]},
    {"group_dns": ["CN=st2admins", "CN=gone"], "group_dns_check": "or"},
    {"group_dns": ["CN=newsletter"]},
    {"group_dns": ["CN=st2primary", "CN=st2cycle"], "group_dns_check": "or"},
    {"denied_group_dns": ["CN=contractors", "CN=squad"]},
    {"denied_group_dns": ["CN=misspelled"]},
    {"group_dns": None, "allow_any_user": True},
    {"group_pattern": "(&(objectClass=group)(member={user_dn}))"},
    {"username_format": "upn"},
)


def said(caplog: pytest.LogCaptureFixture) -> str:
    """What the audit line says after the duration."""
    return re.split(r"duration_ms=\d+ ", caplog.records[-1].getMessage())[1]


@pytest.mark.parametrize("change", SETTINGS, ids=lambda change: ",".join(change) or "plain")
def test_it_says_what_the_backend_does_then(
    samba: SambaDomain, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """For everybody: with the right password they get in where it says so, and else for the reason that it tells."""
    caplog.set_level(logging.INFO, "st2auth_ldap3.backend")
    backend, settings = on_samba(samba, **change), parse(samba_options(samba, **change))
    upn = change.get("username_format") == "upn"
    for each in PEOPLE:
        name = (each.upn or f"{each.name}@ad.lab.test") if upn else each.name
        explained = explain.explain(settings, name, Deadline(10, "a test"), 1.8e9)
        gets_in = backend.authenticate(name, each.password)
        assert gets_in is (explained.refusal is None), each.name
        if explained.refusal is not None:
            assert said(caplog).split(": ", 1)[1] == explained.refusal


@pytest.mark.parametrize("typed", ["Alice", "nobody", "alice ", "*", "", "a\0b", "mallory\n", "alice)(cn=*"])
def test_names_that_are_not_there(samba: SambaDomain, caplog: pytest.LogCaptureFixture, typed: str) -> None:
    caplog.set_level(logging.INFO, "st2auth_ldap3.backend")
    explained = explain.explain(parse(samba_options(samba)), typed, Deadline(10, "a test"), 1.8e9)
    assert explained.refusal is not None and explained.dn is None and not explained.paths
    assert on_samba(samba).authenticate(typed, PASSWORD) is False
    assert said(caplog) == f"refused: {explained.refusal}"


def test_a_locked_account(samba: SambaDomain) -> None:
    settings, backend = parse(samba_options(samba, host=samba.hosts[0])), on_samba(samba, host=samba.hosts[0])
    assert explain.explain(settings, "lockmetoo", Deadline(10, "a test"), 1.8e9).refusal is None
    for _ in range(6):
        backend.authenticate("lockmetoo", "wr0ng-horse")
    explained = explain.explain(settings, "lockmetoo", Deadline(10, "a test"), 1.8e9)
    assert (explained.refusal, explained.decided_by) == ("account locked (775)", "account")


PUT = """
import sys, ldb
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
lp = LoadParm()
lp.load(sys.argv[1])
sam = SamDB(lp=lp, session_info=system_session(lp))
message = ldb.Message(ldb.Dn(sam, sys.argv[2]))
value = bytes.fromhex(sys.argv[4])
message[sys.argv[3]] = ldb.MessageElement([value] if value else [], ldb.FLAG_MOD_REPLACE, sys.argv[3])
sam.modify(message)
"""


def put(samba: SambaDomain, name: str, value: bytes) -> None:
    """An attribute of Ivan's on the first controller; none takes it away."""
    conf = samba.controllers[0].server.directory / "etc" / "smb.conf"
    command = [SYSTEM_PYTHON, "-c", PUT, str(conf), f"CN=Ivan Both,OU=Staff,{samba.base}", name, value.hex()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def hours(at: float, only: bool) -> bytes:
    """This hour of the week only, or all but this one: a bit an hour in UTC, from Sunday on."""
    then = time.gmtime(at)
    number = (then.tm_wday + 1) % 7 * 24 + then.tm_hour
    bits = 1 << number if only else ((1 << 168) - 1) ^ (1 << number)
    return bits.to_bytes(21, "little")


@pytest.mark.parametrize(
    ("attribute", "value", "gets_in"),
    [
        ("logonHours", "only now", True),
        ("logonHours", "not now", False),
        ("userWorkstations", "DC1", True),
        ("userWorkstations", "ELSEWHERE,dc1", True),
        ("userWorkstations", "dc1.ad.lab.test", False),
        ("userWorkstations", "DC10,ELSEWHERE", False),
        ("accountExpires", "9223372036854775807", True),
        ("accountExpires", "200000000000000000", True),  # in the year 2234
        ("accountExpires", "116444736000000001", False),  # just after 1970 began
    ],
)
def test_attributes_mean_here_what_they_mean_to_a_controller(
    samba: SambaDomain, caplog: pytest.LogCaptureFixture, attribute: str, value: str, gets_in: bool
) -> None:
    caplog.set_level(logging.INFO, "st2auth_ldap3.backend")
    if time.time() % 3600 > 3590:
        time.sleep(11)  # the hour must not end between the two
    now = time.time()
    put(samba, attribute, hours(now, value == "only now") if attribute == "logonHours" else value.encode())
    try:
        options = samba_options(samba, host=samba.hosts[0])
        explained = explain.explain(parse(options), "ivan", Deadline(10, "a test"), now)
        assert Ldap3AuthenticationBackend(**options).authenticate("ivan", PASSWORD) is gets_in
        assert (explained.refusal is None) is gets_in
        assert gets_in or said(caplog) == f"refused: {explained.refusal}"
    finally:
        put(samba, attribute, b"0" if attribute == "accountExpires" else b"")


def test_without_a_service_account_nobody_can_tell(samba: SambaDomain) -> None:
    options = samba_options(samba, bind_dn=None, bind_password=None, user_bind_pattern="{username}@ad.lab.test")
    with pytest.raises(Unavailable, match="without a service account"):
        explain.explain(parse(options), "alice", Deadline(10, "a test"), 1.8e9)


@pytest.mark.parametrize("name", ["alice", "bob", "carol", "dave", "frank", "erin", "nobody"])
def test_on_openldap(slapd: Slapd, name: str) -> None:
    options = ldap_options(slapd, denied_group_dns=["cn=contractors"])
    explained = explain.explain(parse(options), name, Deadline(10, "a test"), 1.8e9)
    gets_in = Ldap3AuthenticationBackend(**options).authenticate(name, PASSWORD)
    assert gets_in is (explained.refusal is None)
    ways = {tuple(dn.split(",")[0] for dn in path.dns) for path in explained.paths}
    if name == "bob":
        assert {("cn=team",), ("cn=team", "cn=st2users")} <= ways
    if name == "carol":
        assert {("cn=unique",), ("cn=unique", "cn=around"), ("cn=posix",)} <= ways  # uniqueMember, memberUid


# -- the action


class Site:
    """One node, looked into locally, with RBAC files."""

    def __init__(self, samba: SambaDomain, tmp: Path) -> None:
        self.samba = samba
        self.conf = tmp / "st2.conf"
        self.rbac = tmp / "rbac"
        for kind in ("mappings", "assignments", "roles"):
            (self.rbac / kind).mkdir(parents=True)
        self.configure()

    def configure(self, backend: str = "ldap3", rbac: str = "enable = True\nbackend = default", **other: Any) -> None:
        options = json.dumps(samba_options(self.samba, **other)).replace("$", "$$")
        text = f"[auth]\nbackend = {backend}\nbackend_kwargs = {options}\n[rbac]\n{rbac}\nsync_remote_groups = True\n"
        self.conf.write_text(text)

    def role(self, file: str, text: str) -> None:
        (self.rbac / file).write_text(text)

    def explain(self, user: Any, **parameters: Any) -> tuple[bool, dict[str, Any]]:
        node = {"name": "st2-1", "url": "http://127.0.0.1:9100", "command": "local", "st2_conf": str(self.conf)}
        auth = {"nodes": [node], "rbac_directory": str(self.rbac), "timeout_s": 5}
        config = {"deployments": [{"name": "lab", "auth": auth}]}
        passed, result = run(config, "auth_explain", user=user, **parameters)
        assert PASSWORD not in json.dumps(result)
        return passed, result


@pytest.fixture
def site(samba: SambaDomain, tmp_path: Path) -> Site:
    return Site(samba, tmp_path)


def told(result: dict[str, Any]) -> list[str]:
    return [f"{each['severity']} {each['code']} {each['subject']}" for each in result["details"]]


def test_who_may_sign_in_by_which_way(site: Site) -> None:
    passed, result = site.explain("carol")
    assert passed and result["severity"] == "ok"
    assert result["summary"] == (
        "OK Sign-in: carol may sign in with the right password: in st2users by carol > squad > team > st2users"
    )
    facts = result["facts"]
    assert facts["entry"] == f"CN=Carol Deep,OU=Staff,{site.samba.base}" and facts["may_sign_in"] is True
    (rule,) = facts["rules"]
    assert (rule["rule"], rule["member"], rule["path"]) == ("required", True, "carol > squad > team > st2users")
    ways = {row["path"]: row["for_roles"] for row in facts["groups"]}
    assert ways["carol > Domain Users"] is True and ways["carol > squad > team"] is True


def test_who_may_not_and_which_rule_says_so(site: Site) -> None:
    site.configure(denied_group_dns=["CN=contractors"])
    _, result = site.explain("erin")
    assert told(result) == ["warning SignInRefused auth/erin"]
    assert "in the denied group 'CN=contractors'" in result["findings"][0]
    assert [(row["rule"], row["member"], row["path"]) for row in result["facts"]["rules"]] == [
        ("required", True, "erin > st2users"), ("denied", True, "erin > contractors"),
    ]  # fmt: skip
    passed, result = site.explain("frank", fail_on="warning")
    assert not passed and "not in the required group" in result["summary"]
    _, result = site.explain("alice", node="st2-1")
    assert [row["member"] for row in result["facts"]["rules"]] == [True, False]


@pytest.mark.parametrize("name", STATES[:6])
def test_the_state_of_an_account_decides(site: Site, name: str) -> None:
    _, result = site.explain(name)
    assert result["facts"]["decided_by"] == "account" and not result["facts"]["may_sign_in"]
    assert result["facts"]["rules"][0]["member"] is True  # the groups are told all the same


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(site: Site, name: str) -> None:
    passed, result = site.explain(name)
    assert passed and f"{person(name).name} > st2users" in result["facts"]["because"]


def test_the_roles_that_follow(site: Site) -> None:
    users, team = (site.samba.group_dn.format(name) for name in ("st2users", "team"))
    site.role("mappings/users.yaml", f"group: {users}\nroles: [observer, ops]\n")
    site.role("mappings/team.yaml", f"group: {team.upper()}\nroles: [admin]\n")
    site.role("mappings/off.yaml", f"group: {team}\nroles: [system_admin]\nenabled: false\n")
    site.role("mappings/other.yaml", "group: CN=else\nroles: [admin]\n")
    site.role("assignments/carol.yaml", "username: carol\nroles: [night]\n")
    site.role("roles/night.yaml", "name: night\n")
    _, result = site.explain("carol")
    assert result["facts"]["roles"] == [
        {"role": "night", "because": "assignments/carol.yaml"}, {"role": "observer", "because": "mappings/users.yaml"},
    ]  # fmt: skip
    assert told(result) == ["warning RoleMappingMisspelled auth/carol", "warning RoleUndefined auth/carol"]
    _, result = site.explain("frank")
    assert result["facts"]["roles"] == [] and told(result) == ["warning SignInRefused auth/frank"]
    site.role("mappings/broken.yaml", "group: [x\n")
    assert "warning RoleFilesBroken auth/carol" in told(site.explain("carol")[1])
    site.configure(rbac="enable = False")
    assert "[rbac] enable is off" in str(site.explain("carol")[1]["facts"]["notes"])


def test_the_incumbents_settings_are_explained_as_ldap3_takes_them(site: Site) -> None:
    site.configure(backend="ldap")
    _, result = site.explain("bob")
    assert result["facts"]["may_sign_in"] and "what ldap3 would decide" in str(result["facts"]["notes"])


@pytest.mark.parametrize(
    ("user", "parameters", "sentence"),
    [
        ("", {}, "parameter `user` is '': give the name as the user types it, for example alice"),
        (None, {}, "parameter `user` is None: give the name"),
        ("********", {}, "parameter `user` is '********'"),
        (5, {}, "parameter `user` is 5: give the name"),
        ("alice", {"node": "st2-9"}, "parameter `node` is 'st2-9': use one of st2-1"),
        ("alice", {"timeout_s": -1}, "parameter `timeout_s` is -1: it must be between 0.05 and 600"),
        ("alice", {"deployment": "x"}, "deployment 'x' is not configured: use one of 'lab'"),
        ("alice", {"fail_on": "x"}, "parameter `fail_on` is 'x': use one of"),
    ],
)
def test_wrong_parameters(site: Site, user: Any, parameters: dict[str, Any], sentence: str) -> None:
    passed, result = site.explain(user, **parameters)
    assert (passed, result["kind"]) == (False, "bad_input")
    assert result["error"].startswith(sentence)


def test_what_cannot_be_explained(site: Site) -> None:
    site.conf.write_text("[auth]\nbackend = pam\n")
    assert "no node asks a directory" in site.explain("x")[1]["error"]
    assert "(st2-1 asks pam in mode standalone)" in site.explain("x")[1]["error"]
    site.conf.write_text("[auth]\nbackend = ldap3\nbackend_kwargs = [1]\n")
    assert "backend_kwargs of st2-1 is no JSON object" in site.explain("x")[1]["error"]
    site.configure(base_ou=None)
    assert "base_ou must be given; correct st2.conf" in site.explain("x")[1]["error"]
    site.conf.unlink()
    assert "No such file or directory" in site.explain("x")[1]["error"]
    site.configure(host="127.0.0.1", port=1)
    passed, result = site.explain("x")
    assert (passed, result["kind"]) == (False, "failed") and result["error"].startswith("the directory does not tell: ")
