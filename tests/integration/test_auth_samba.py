"""Sign-in against a real Active Directory domain (Samba): who gets in, who does not, and what is said about it."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from lab.certs import Authority
from lab.directory import DOMAIN, SambaDomain
from lab.people import ODD_NAMES, ODD_PASSWORDS, PASSWORD, person
from lab.proxy import Proxy
from st2auth_ldap3 import Ldap3AuthenticationBackend
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.directory import Directory
from st2auth_ldap3.errors import GroupsUnknown
from st2auth_ldap3.settings import parse
from tests.examples import examples
from tests.fix_auth import on_samba, samba_options

BOTH = "(|(sAMAccountName={username})(userPrincipalName={username}))"


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture
def backend(samba: SambaDomain) -> Ldap3AuthenticationBackend:
    return on_samba(samba)


def directory_says(samba: SambaDomain, dn: str, attribute: str) -> list[str]:
    """An attribute's values as the service account sees them on the first controller."""
    directory = Directory(parse(samba_options(samba, host=samba.hosts[0])))
    deadline = Deadline(10, "a look")
    found = directory.anywhere(
        lambda server: directory.reading(server, lambda reader: reader.read(dn, [attribute]), deadline), deadline
    )
    return found.texts(attribute) if found else []


# -- who gets in


@pytest.mark.parametrize("name", ["alice", "bob", "carol", "ivan", *ODD_NAMES, *ODD_PASSWORDS])
def test_direct_and_nested_members_get_in_whatever_their_names_and_passwords(
    backend: Ldap3AuthenticationBackend, name: str
) -> None:
    assert backend.authenticate(name, person(name).password) is True


@pytest.mark.parametrize(
    ("group", "name", "gets_in"),
    [
        ("st2cycle", "dave", True),  # three groups in a circle, and this one beside it
        ("ring1", "dave", True),
        ("st2primary", "grace", True),  # the primary group, which no memberOf lists
        ("crowd", "crowded", True),  # 1,511 members
        ("crowd", "alice", False),
        ("newsletter", "judy", True),  # distribution groups are not in tokenGroups
        ("newsletter", "alice", True),  # nested in one
        ("newsletter", "bob", False),
        ("Ops, (EMEA) #1", "alice", True),
        ("empty", "alice", False),
        ("st2users", "frank", False),
    ],
)
def test_groups_nested_cyclic_primary_large_and_for_distribution(
    samba: SambaDomain, group: str, name: str, gets_in: bool
) -> None:
    dn = samba.group_dn.format(re.sub(r"([,#])", r"\\\1", group))
    assert on_samba(samba, group_dns=[dn]).authenticate(name, PASSWORD) is gets_in


@pytest.mark.parametrize(
    ("change", "name", "gets_in"),
    [
        ({"group_dns": ["CN=st2users", "CN=st2admins"]}, "ivan", True),
        ({"group_dns": ["CN=st2users", "CN=st2admins"]}, "bob", False),
        ({"group_dns": ["CN=st2users", "CN=st2admins"], "group_dns_check": "or"}, "bob", True),
        ({"group_dns": ["CN=st2admins", "CN=nowhere"], "group_dns_check": "or"}, "ivan", True),
        ({"group_dns": ["CN=st2admins", "CN=nowhere"]}, "ivan", False),
        ({"group_dns": ["cn=ST2USERS , ou=groups,dc=AD,dc=lab,dc=test"]}, "alice", True),
        ({"denied_group_dns": ["CN=contractors"]}, "erin", False),
        ({"denied_group_dns": ["CN=contractors"]}, "alice", True),
        ({"denied_group_dns": ["CN=misspelled"]}, "alice", False),
        ({"denied_group_dns": ["CN=squad"]}, "carol", False),
        ({"group_dns": None, "allow_any_user": True}, "frank", True),
        ({"group_dns": None, "allow_any_user": True, "denied_group_dns": ["CN=ring1"]}, "dave", False),
        ({"group_dns": ["S-1-5-32-545"]}, "frank", True),  # BUILTIN\Users
        ({"group_pattern": "(&(objectClass=group)(member={user_dn}))"}, "alice", True),
        (
            {"group_pattern": "(&(objectClass=group)(member={user_dn}))"},
            "bob",
            False,
        ),  # what the site wrote: direct ones
    ],
)
def test_required_denied_and_optional_groups(
    samba: SambaDomain, change: dict[str, Any], name: str, gets_in: bool
) -> None:
    assert on_samba(samba, **change).authenticate(name, PASSWORD) is gets_in


def test_the_gate_is_never_cached(samba: SambaDomain, backend: Ldap3AuthenticationBackend) -> None:
    """The incumbent lets a removed user in for 120 s more; here the group is taken away between two logins."""
    for member, gets_in in ((True, True), (False, False), (True, True)):
        samba.set_member("st2admins", "counted", member)
        assert on_samba(samba).authenticate("counted", PASSWORD) is True
        strict = on_samba(samba, group_dns=["CN=st2admins"])
        assert strict.authenticate("counted", PASSWORD) is gets_in
    backend_once = on_samba(samba, group_dns=["CN=st2admins"])
    assert backend_once.authenticate("counted", PASSWORD) is True
    samba.set_member("st2admins", "counted", False)
    assert backend_once.authenticate("counted", PASSWORD) is False
    assert not any("st2admins" in dn for dn in backend_once.get_user_groups("counted"))


# -- who does not, and what is said


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("disabled", "account disabled (533)"),
        ("mustchange", "must change its password (773)"),
        ("pwexpired", "password expired (532)"),
        ("expired", "account expired (701)"),
        ("hours", "outside its logon hours (530)"),
        ("workstation", "not from this workstation (531)"),
    ],
)
def test_account_states_end_in_false_and_one_line(
    backend: Ldap3AuthenticationBackend, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    assert backend.authenticate(name, PASSWORD) is False
    lines = [record.getMessage() for record in caplog.records if "sign-in" in record.getMessage()]
    assert len(lines) == 1
    assert re.fullmatch(
        rf"sign-in user='{name}' server=127\S+:636 duration_ms=\d+ refused: {re.escape(reason)}", lines[0]
    )


def test_with_a_wrong_password_a_state_is_not_told(
    backend: Ldap3AuthenticationBackend, caplog: pytest.LogCaptureFixture
) -> None:
    assert backend.authenticate("disabled", "wrong") is False
    assert "wrong password (52e)" in caplog.text


def test_lockout_after_five_and_each_login_counts_once(samba: SambaDomain, caplog: pytest.LogCaptureFixture) -> None:
    backend = on_samba(samba)
    dn = f"CN=Lockme,OU=Staff,{samba.base}"
    for count in range(1, 6):
        assert backend.authenticate("lockme", "wrong") is False
        assert directory_says(samba, dn, "badPwdCount") == [str(count)]
    assert backend.authenticate("lockme", PASSWORD) is False
    assert "account locked (775)" in caplog.text


SPELLINGS = [
    "Alice", "ALICE", "alice ", " alice", "alice\0", "alice\0x", "ADLAB\\alice", "AD.LAB.TEST\\alice",
    "alice@ad.lab.test", "*", "a*", "alice)(cn=*", "CN=Alice Direct,OU=Staff,DC=ad,DC=lab,DC=test", "", "ali\u200bce",
]  # fmt: skip


@pytest.mark.parametrize("typed", SPELLINGS)
def test_one_person_is_one_stackstorm_user(backend: Ldap3AuthenticationBackend, typed: str) -> None:
    assert backend.authenticate(typed, PASSWORD) is False


def test_the_log_names_the_expected_spelling(
    backend: Ldap3AuthenticationBackend, caplog: pytest.LogCaptureFixture
) -> None:
    assert backend.authenticate("ALICE", PASSWORD) is False
    assert "the name must be typed as 'alice'" in caplog.text


@pytest.mark.parametrize(
    ("change", "typed", "gets_in"),
    [
        ({"username_format": "upn", "id_attr": None}, "h.otherwise@corp.example", True),
        ({"username_format": "upn", "id_attr": None}, "H.Otherwise@corp.example", False),
        ({"username_format": "upn", "id_attr": None}, "heidi@ad.lab.test", False),
        ({"username_format": "upn", "id_attr": None}, "heidi", False),
        ({"username_format": "domain", "domain": DOMAIN}, "ADLAB\\heidi", True),
        ({"username_format": "domain", "domain": DOMAIN}, "adlab\\heidi", False),
        ({"username_format": "domain", "domain": DOMAIN}, "OTHER\\heidi", False),
        ({"username_format": "domain", "domain": DOMAIN}, "heidi", False),
        ({"id_attr": None}, "heidi", True),  # on AD the default is sAMAccountName, not uid
        ({"account_pattern": BOTH, "id_attr": None}, "heidi", True),
        ({"account_pattern": BOTH, "id_attr": None}, "h.otherwise@corp.example", False),
        ({"account_pattern": "(|(sAMAccountName={username})(cn=Bob Nested))"}, "heidi", False),  # two entries
    ],
)  # fmt: skip
def test_accounts_upns_and_domain_names_as_configured(
    samba: SambaDomain, change: dict[str, Any], typed: str, gets_in: bool
) -> None:
    assert on_samba(samba, **change).authenticate(typed, PASSWORD) is gets_in


def test_passwords_are_taken_to_the_letter(backend: Ldap3AuthenticationBackend) -> None:
    """ldap3 would turn full-width letters and NBSP of a `str` into others, Samba and AD ignore what follows a NUL."""
    for name, near in (
        ("wide", "Pass-w0rd1"),
        ("nbsp", "Pass w0rd-1"),
        ("spaces", "Sp4ced word"),
        ("alice", PASSWORD + " "),
    ):
        assert backend.authenticate(name, near) is False
    for odd in (PASSWORD + "\0", PASSWORD + "\0junk", "", "\0"):
        assert backend.authenticate("alice", odd) is False


@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=20), password=st.text(max_size=20))
def test_no_text_raises_or_gets_in(backend: Ldap3AuthenticationBackend, name: str, password: str) -> None:
    assert backend.authenticate(name, password) is False


def malformed() -> Iterator[tuple[Any, Any]]:
    """10,000 names and passwords that no directory has, most of them one touch away from good ones."""
    touches = ["\0", " ", "\n", "*", "\\", ")(", "\ud800", "\u00a0", "\x7f", "\\00", "=", ",", "%00", "\u202e"]
    for number in range(2500):
        touch = touches[number % len(touches)] * (1 + number % 3)
        place = number % 6
        yield "alice"[:place] + touch + "alice"[place:], PASSWORD
        yield "alice", "\0" * (1 + number % 7) if number % 2 else PASSWORD + "\0" + touch
        yield touch * (number % 300), touch
        yield [None, b"alice", 7, [], {}, object()][number % 6], [None, b"x", 3.5, PASSWORD][number % 4]


def test_10_000_malformed_names_and_passwords(backend: Ldap3AuthenticationBackend) -> None:
    tried = [backend.authenticate(name, password) for name, password in malformed()]
    assert len(tried) == 10_000 and not any(tried) and all(answer is False for answer in tried)
    assert backend.authenticate("alice", PASSWORD) is True  # and it was not locked by them


def test_no_password_in_any_line(
    samba: SambaDomain, backend: Ldap3AuthenticationBackend, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("ldap3").setLevel(logging.DEBUG)
    for name, password in (("alice", PASSWORD), ("alice", "wr0ng-horse"), ("nobody", "wr0ng-horse")):
        backend.authenticate(name, password)
    on_samba(samba, debug=True, bind_password="wr0ng-horse").authenticate("bob", "wr0ng-horse")
    assert len([line for line in caplog.messages if "sign-in" in line]) == 4 and "horse" not in caplog.text


# -- roles


def test_groups_are_dns_as_the_directory_spells_them(backend: Ldap3AuthenticationBackend, samba: SambaDomain) -> None:
    groups = backend.get_user_groups("carol")
    assert {samba.group_dn.format(name) for name in ("squad", "team", "st2users")} < set(groups)
    assert "CN=Domain Users,CN=Users," + samba.base in groups
    assert f"CN=letters,OU=Groups,{samba.base}" in backend.get_user_groups("alice")
    assert any("st2primary" in dn for dn in backend.get_user_groups("grace"))


def test_only_the_configured_groups_are_told_with_optional_group_dns(samba: SambaDomain) -> None:
    backend = on_samba(samba, optional_group_dns=["CN=st2admins", "CN=contractors", "S-1-5-32-545"])
    expected = [
        "CN=Users,CN=Builtin," + samba.base,
        *(samba.group_dn.format(name) for name in ("st2admins", "st2users")),
    ]
    assert backend.get_user_groups("ivan") == sorted(expected)


def test_groups_that_cannot_be_told_are_an_exception_that_st2auth_does_not_swallow(
    samba: SambaDomain, backend: Ldap3AuthenticationBackend
) -> None:
    """st2auth takes NotImplementedError, AttributeError and an empty list for "no sync" and leaves old roles."""
    for unknown in ("nobody", "Alice", "alice\0"):
        with pytest.raises(GroupsUnknown) as caught:
            backend.get_user_groups(unknown)
        assert not isinstance(caught.value, (NotImplementedError, AttributeError))
    with pytest.raises(GroupsUnknown):
        on_samba(samba, host="127.0.0.1:1").get_user_groups("alice")


def test_details_of_a_user(backend: Ldap3AuthenticationBackend, samba: SambaDomain) -> None:
    user = backend.get_user("comma")
    assert user and user["dn"] == f"CN=Lastname\\, First,OU=Staff,{samba.base}" and user["cn"] == ["Lastname, First"]
    assert backend.get_user("nobody") is None


# -- without a service account


def own(samba: SambaDomain, **other: Any) -> Ldap3AuthenticationBackend:
    without = {"bind_dn": None, "bind_password": None, "user_bind_pattern": "{username}@ad.lab.test"}
    return on_samba(samba, **{**without, **other})


@pytest.mark.parametrize("name", ["alice", "carol", "heidi"])
def test_without_a_service_account(samba: SambaDomain, name: str) -> None:
    assert own(samba).authenticate(name, PASSWORD) is True


@pytest.mark.parametrize("name", ["frank", "Alice", "disabled", "alice@ad.lab.test"])
def test_without_a_service_account_all_rules_hold(samba: SambaDomain, name: str) -> None:
    assert own(samba).authenticate(name, PASSWORD) is False


def test_the_entry_must_be_that_of_the_user_who_was_bound(samba: SambaDomain, caplog: pytest.LogCaptureFixture) -> None:
    """Mallory's display name is `victim`: the name binds one user and finds another."""
    assert own(samba, id_attr="displayName").authenticate("victim", PASSWORD) is False
    assert "belongs to somebody else" in caplog.text


def test_groups_are_handed_over_once_by_the_login(samba: SambaDomain) -> None:
    backend = own(samba)
    assert backend.authenticate("alice", PASSWORD) is True
    assert samba.group_dn.format("st2users") in backend.get_user_groups("alice")
    with pytest.raises(GroupsUnknown):
        backend.get_user_groups("alice")


# -- TLS


@pytest.mark.parametrize("starttls", [False, True])
@pytest.mark.parametrize("by", ["address", "name"])
def test_certificates_are_checked_by_address_and_by_name(samba: SambaDomain, by: str, starttls: bool) -> None:
    port = 389 if starttls else 636
    with Proxy((samba.hosts[0], port)) as proxy:
        host = samba.hosts[0] if by == "address" else "localhost"
        port = port if by == "address" else proxy.port
        options = {"host": host, "port": port, "use_ssl": not starttls, "use_tls": starttls}
        assert on_samba(samba, **options).authenticate("alice", PASSWORD) is True


def test_a_certificate_for_another_name_or_address_is_refused(
    samba: SambaDomain, caplog: pytest.LogCaptureFixture
) -> None:
    """The second controller's certificate is for its own address: behind a proxy of another one it is wrong."""
    with Proxy((samba.hosts[0], 636)) as proxy:
        for host in ("localhost.localdomain", "127.1.2.3", "ip6-localhost"):
            backend = on_samba(samba, host=f"{host}:{proxy.port}")
            assert backend.authenticate("alice", PASSWORD) is False
    directory = Directory(parse(samba_options(samba, host=samba.hosts[0])))
    server = directory._servers.candidates(Deadline(5, "x"))[0]
    server.host = "wrong.example"
    directory._resolver._known["wrong.example", 636] = (time.monotonic(), [(2, (samba.hosts[0], 636))])
    with pytest.raises(Exception, match=r"TLS with wrong.example:636 failed: [Hh]ostname mismatch"):
        directory.open(server, Deadline(5, "x"))


@pytest.mark.parametrize("ca", ["other", "none"])
def test_an_unknown_authority_is_refused(
    samba: SambaDomain, tmp_path: Path, ca: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path / "other")
    assert (
        on_samba(samba, cacert=str(other.ca_file) if ca == "other" else None).authenticate("alice", PASSWORD) is False
    )
    assert "TLS with" in caplog.text and "certificate" in caplog.text


def test_a_changed_ca_file_is_read_again_and_a_broken_one_is_not_taken(samba: SambaDomain, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    other = Authority(tmp_path / "other").ca_file.read_bytes()
    good = samba.authority.ca_file.read_bytes()
    file.write_bytes(other)
    backend = on_samba(samba, cacert=str(file))
    assert backend.authenticate("alice", PASSWORD) is False
    file.write_bytes(other + good)
    assert backend.authenticate("alice", PASSWORD) is True
    file.write_bytes(b"nonsense")
    assert backend.authenticate("alice", PASSWORD) is True  # the last good one
    file.write_bytes(other)
    assert backend.authenticate("alice", PASSWORD) is False
