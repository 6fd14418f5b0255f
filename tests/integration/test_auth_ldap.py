"""Sign-in against OpenLDAP and 389-DS: memberOf, member, uniqueMember, memberUid, nesting, password policy."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from lab.directory import Directories
from lab.dirsrv import Dirsrv
from lab.people import PASSWORD
from lab.slapd import Slapd
from tests.fix_auth import on_ldap

GROUPS = "ou=groups,dc=lab,dc=test"


@pytest.fixture(params=["slapd", "dirsrv"])
def ldap(request: pytest.FixtureRequest) -> Directories:
    """Both servers, with the same people and groups."""
    found: Directories = request.getfixturevalue(request.param)
    return found


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.mark.parametrize(
    ("group", "name", "gets_in"),
    [
        ("st2users", "alice", True),
        ("st2users", "bob", True),  # nested
        ("st2users", "dave", True),  # through a circle
        ("st2users", "carol", False),
        ("st2users", "frank", False),
        ("st2users", "a,b (c)*", True),
        ("unique", "carol", True),  # uniqueMember
        ("around", "carol", True),  # uniqueMember, nested
        ("posix", "carol", True),  # memberUid
        ("posix", "alice", False),
    ],
)
@pytest.mark.parametrize("form", ["cn={}", "CN={} , OU=groups, dc=LAB,dc=test"])
def test_groups_of_each_kind(ldap: Directories, group: str, name: str, gets_in: bool, form: str) -> None:
    assert on_ldap(ldap, group_dns=[form.format(group)]).authenticate(name, PASSWORD) is gets_in


@pytest.mark.parametrize(
    ("change", "name", "gets_in"),
    [
        ({"use_ssl": False, "use_tls": True, "port": 389}, "alice", True),
        ({"use_ssl": False, "port": 389}, "alice", True),  # what was plain becomes StartTLS
        ({"denied_group_dns": ["cn=contractors"]}, "erin", False),
        ({"group_dns_check": "or", "group_dns": ["cn=unique", "cn=team"]}, "bob", True),
        ({"group_dns_check": "and", "group_dns": ["cn=unique", "cn=posix"]}, "carol", True),
        ({"group_dns_check": "and", "group_dns": ["cn=unique", "cn=team"]}, "carol", False),
        ({"base_ou_group": GROUPS, "base_ou": "ou=people,dc=lab,dc=test", "scope": "onelevel"}, "bob", True),
        ({"scope": "base"}, "alice", False),
        ({"account_pattern": "(&(objectClass=inetOrgPerson)(|(uid={username})(mail={username})))"}, "alice", True),
        ({"account_pattern": "uid={username}"}, "alice", True),  # without parentheses
        ({"account_pattern": "(mail={username})"}, "alice@lab.test", False),  # two entries
        ({"id_attr": "cn"}, "frank", False),
        ({"group_pattern": "(memberUid={username})", "group_dns": ["cn=posix"]}, "carol", True),
        ({"group_pattern": "(member={user_dn})"}, "bob", False),  # to the letter: direct members only
    ],
)  # fmt: skip
def test_the_incumbents_options_keep_their_meaning(
    slapd: Slapd, change: dict[str, Any], name: str, gets_in: bool
) -> None:
    assert on_ldap(slapd, **change).authenticate(name, PASSWORD) is gets_in


@pytest.mark.parametrize(
    ("name", "reason"),
    [("locked", "account locked"), ("mustchange", "must change its password"), ("nobody", "no such user")],
)
def test_account_states(slapd: Slapd, name: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """A bind that is granted although the password must be changed comes with a control that says so."""
    assert on_ldap(slapd).authenticate(name, PASSWORD) is False
    assert f"refused: {reason}" in caplog.text


@pytest.mark.parametrize(
    ("name", "reason"),
    [("locked", "account disabled"), ("mustchange", "must change its password"), ("nobody", "no such user")],
)
def test_account_states_of_389_ds(dirsrv: Dirsrv, name: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """An inactivated account gets result 53; a password that an administrator set is granted, with a control."""
    assert on_ldap(dirsrv).authenticate(name, PASSWORD) is False
    assert f"refused: {reason}" in caplog.text


def test_an_unauthenticated_bind_which_this_server_grants_is_never_sent(slapd: Slapd) -> None:
    granted = bytes.fromhex("300c02010161070a010004000400")
    with socket.create_connection((slapd.hosts[0], 389), timeout=5) as connection:
        dn = slapd.user_dn.format("alice").encode()
        body = b"\x02\x01\x03\x04" + bytes([len(dn)]) + dn + b"\x80\x00"
        message = b"\x02\x01\x01\x60" + bytes([len(body)]) + body
        connection.sendall(b"\x30" + bytes([len(message)]) + message)
        assert connection.recv(100) == granted  # the server says: success
    for password in ("", "\0"):
        assert on_ldap(slapd).authenticate("alice", password) is False


@pytest.mark.parametrize("typed", ["Alice", "ALICE", "alias", "alice ", "al*", "alice)(uid=*"])
def test_one_person_is_one_stackstorm_user(ldap: Directories, typed: str) -> None:
    """`alias` is a second uid of `twice`."""
    assert on_ldap(ldap).authenticate(typed, PASSWORD) is False
    assert on_ldap(ldap).authenticate("twice", PASSWORD) is True


@pytest.mark.parametrize(
    ("name", "gets_in"), [("alice", True), ("a,b (c)*", True), ("Alice", False), ("mustchange", False)]
)
def test_without_a_service_account(ldap: Directories, name: str, gets_in: bool) -> None:
    own = {"bind_dn": None, "bind_password": None, "user_bind_pattern": "uid={username},ou=people,dc=lab,dc=test"}
    backend = on_ldap(ldap, **own)
    assert backend.authenticate(name, PASSWORD) is gets_in
    if gets_in:
        assert backend.get_user_groups(name) == [ldap.group_dn.format("st2users")]


def test_anonymous_search_over_tls(ldap: Directories) -> None:
    backend = on_ldap(ldap, bind_dn=None, bind_password=None, anonymous_search=True)
    assert backend.authenticate("bob", PASSWORD) is True
    assert backend.authenticate("bob", "wr0ng") is False


def test_groups_and_details(ldap: Directories) -> None:
    backend = on_ldap(ldap)
    named = [ldap.group_dn.format(name) for name in ("around", "posix", "unique")]
    assert backend.get_user_groups("carol") == named
    assert backend.get_user_groups("frank") == ["(no groups)"]  # a list that is empty would keep all old roles
    user = backend.get_user("alice")
    assert user and user["mail"] == ["alice@lab.test"] and "userPassword" not in user
