"""Sign-in against servers that lie, refer elsewhere, drip, fall silent or speak nonsense. No login may succeed, raise,
outlast its deadline, or show a password to anybody else."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from lab.certs import Authority
from lab.people import PASSWORD
from st2auth_ldap3 import Ldap3AuthenticationBackend
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import GroupsUnknown, Unavailable
from tests.ldap_stub import (
    PAGED,
    SID,
    USER_DN,
    Asked,
    Stub,
    control,
    entry,
    message,
    octets,
    parts,
    reference,
    result,
    tlv,
)

SERVICE = "CN=svc,DC=stub"
ME = {"sAMAccountName": ["alice"], "objectSid": [SID]}


@pytest.fixture(autouse=True)
def _all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pem(authority: Authority) -> Path:
    return authority.server("stub")


@pytest.fixture
def make(authority: Authority) -> Iterator[Callable[..., Ldap3AuthenticationBackend]]:
    def backend(*stubs: Stub, **other: Any) -> Ldap3AuthenticationBackend:
        options = {
            "host": [stub.address for stub in stubs],
            "use_ssl": True,
            "cacert": str(authority.ca_file),
            "bind_dn": SERVICE,
            "bind_password": "serv1ce-horse",
            "base_ou": "DC=stub",
            "allow_any_user": True,
            "connect_timeout": 0.6,
            "network_timeout": 1,
            "login_timeout": 2,
            **other,
        }
        return Ldap3AuthenticationBackend(**{name: value for name, value in options.items() if value is not None})

    yield backend


Make = Callable[..., Ldap3AuthenticationBackend]


def users_binds(*stubs: Stub) -> list[bytes]:
    return [password for stub in stubs for name, password in stub.binds if name == USER_DN]


def test_the_stub_itself_lets_alice_in(make: Make, pem: Path) -> None:
    """Else every test below would pass for nothing."""
    with Stub(pem) as stub:
        backend = make(stub, group_dns=["S-1-5-21-1-1-1-500"], allow_any_user=None)
        assert backend.authenticate("alice", PASSWORD) is True
        assert users_binds(stub) == [PASSWORD.encode()]


# -- binds that prove nothing


@pytest.mark.parametrize("password", ["", "\0", None])
def test_a_server_that_grants_unauthenticated_binds_is_never_asked(make: Make, pem: Path, password: Any) -> None:
    with Stub(pem) as stub:
        assert make(stub).authenticate("alice", password) is False
        assert stub.binds == []


@pytest.mark.parametrize("change", [{"bind_password": ""}, {"bind_dn": ""}, {"bind_password": None}])
def test_an_empty_service_account_is_no_anonymous_one(make: Make, pem: Path, change: dict[str, Any]) -> None:
    with Stub(pem) as stub:
        assert make(stub, **change).authenticate("alice", PASSWORD) is False
        assert stub.connections == 0


def test_anonymous_search_is_a_setting_and_sends_no_bind_for_it(make: Make, pem: Path) -> None:
    with Stub(pem) as stub:
        backend = make(stub, bind_dn=None, bind_password=None, anonymous_search=True)
        assert backend.authenticate("alice", PASSWORD) is True
        assert stub.binds == [(USER_DN, PASSWORD.encode())]


@pytest.mark.parametrize("code", [1, 2, 7, 8, 10, 14, 32, 48, 49, 50, 51, 53, 80])
def test_no_result_but_success_is_success(make: Make, pem: Path, code: int) -> None:
    with Stub(pem, user_bind=lambda asked: [message(asked.number, result(0x61, code))]) as stub:
        assert make(stub).authenticate("alice", PASSWORD) is False
        assert len(users_binds(stub)) == 1


def test_an_answer_to_another_question_is_no_success(make: Make, pem: Path) -> None:
    with Stub(pem, user_bind=lambda asked: [message(asked.number - 1, result(0x61, 0))]) as stub:
        assert make(stub).authenticate("alice", PASSWORD) is False
    with Stub(pem, user_bind=lambda asked: [message(asked.number, result(0x65, 0))]) as stub:
        assert make(stub).authenticate("alice", PASSWORD) is False


# -- referrals


@pytest.mark.parametrize("chase", [True, False])
def test_the_host_of_a_referral_sees_nothing(make: Make, pem: Path, chase: bool) -> None:
    """ldap3's default would connect there and send the service account's password."""
    with Stub(pem) as evil:
        url = f"ldaps://{evil.address}/DC=stub"
        referral = tlv(0xA3, octets(url))

        def find(asked: Asked) -> list[bytes]:
            return [message(asked.number, reference(url)), message(asked.number, result(0x65, 10, "", referral))]

        def bind(asked: Asked) -> list[bytes]:
            return [message(asked.number, result(0x61, 10, "", referral))]

        for on in ({"find": find}, {"bind": bind}, {"user_bind": bind}):
            with Stub(pem, **on) as stub:
                assert make(stub, chase_referrals=chase).authenticate("alice", PASSWORD) is False
        assert evil.connections == 0


def test_referrals_beside_the_entry_are_left_aside(make: Make, pem: Path) -> None:
    """A search at the root of a domain returns three."""
    with Stub(pem) as evil:

        def find(asked: Asked) -> list[bytes]:
            parts = [reference(f"ldap://{evil.address}/"), entry(USER_DN, ME), reference("ldap://evil.example/")]
            return [message(asked.number, part) for part in [*parts, result(0x65, 0)]]

        with Stub(pem, find=find) as stub:
            assert make(stub).authenticate("alice", PASSWORD) is True
        assert evil.connections == 0


# -- StartTLS


@pytest.mark.parametrize("code", [1, 2, 52, 53])
def test_a_stripped_starttls_ends_before_any_password(make: Make, pem: Path, code: int) -> None:
    strip = {"starttls": lambda asked: [message(asked.number, result(0x78, code))]}
    with Stub(pem, ldaps=False, **strip) as stub:
        assert make(stub, use_ssl=False, use_tls=True).authenticate("alice", PASSWORD) is False
        assert stub.binds == [] and stub.connections == 1


def test_starttls_agreed_to_and_then_plain_ends_before_any_password(make: Make, pem: Path) -> None:
    """What an attacker adds behind the agreement, in the clear, is no answer either."""

    def agree(asked: Asked) -> list[bytes]:
        return [message(asked.number, result(0x78, 0)) + message(asked.number + 1, result(0x61, 0))]

    with Stub(pem, ldaps=False, starttls=agree) as stub:
        assert make(stub, use_ssl=False, use_tls=True).authenticate("alice", PASSWORD) is False
        assert stub.binds == []


def test_an_answer_slipped_in_before_tls_is_not_read_behind_it(make: Make, pem: Path) -> None:
    """Whoever sits in between adds "success" for the next question to the agreement, then lets TLS through."""

    def agree(asked: Asked) -> list[bytes]:
        return [message(asked.number, result(0x78, 0)) + message(asked.number + 1, result(0x61, 0))]

    def refuse(asked: Asked) -> list[bytes]:
        return [message(asked.number, result(0x61, 49, "data 52e"))]

    own = {"bind_dn": None, "bind_password": None, "user_bind_pattern": "CN={username},DC=stub"}
    with Stub(pem, ldaps=False, starttls=agree, user_bind=refuse) as stub:
        stub.tls_anyway = True
        assert make(stub, use_ssl=False, use_tls=True, **own).authenticate("alice", "wr0ng") is False
        assert stub.binds == []


def test_a_link_sends_no_bind_without_tls_name_and_password(make: Make, pem: Path) -> None:
    """Behind all other checks: whatever a caller asks for."""
    with Stub(pem, ldaps=False) as stub:
        directory = make(stub, use_ssl=False, use_tls=True)._ready().directory
        server = directory.servers(Deadline(5, "x"))[0]
        for secure, name, password in ((False, USER_DN, b"x"), (True, "", b"x"), (True, USER_DN, b"")):
            with pytest.raises(Unavailable):
                directory.open(server, Deadline(5, "x"), secure=secure).bind(name, password)
        assert stub.binds == []


def test_without_tls_settings_a_password_still_goes_over_tls_only(make: Make, pem: Path) -> None:
    with Stub(pem, ldaps=False) as stub:
        backend = make(stub, use_ssl=False, port=389)
        assert backend.authenticate("alice", PASSWORD) is True
    strip = {"starttls": lambda asked: [message(asked.number, result(0x78, 2))]}
    with Stub(pem, ldaps=False, **strip) as stub:
        assert make(stub, use_ssl=False, port=389).authenticate("alice", PASSWORD) is False
        assert stub.binds == []


def test_plaintext_is_for_searches_only_and_by_name(make: Make, pem: Path) -> None:
    danger = {"bind_dn": None, "bind_password": None, "anonymous_search": True, "insecure_plaintext_searches": True}
    strip = {"starttls": lambda asked: [message(asked.number, result(0x78, 2))]}
    with Stub(pem, ldaps=False, **strip) as stub:
        assert make(stub, use_ssl=False, port=389, **danger).authenticate("alice", PASSWORD) is False
        assert stub.searches and stub.binds == []
    with Stub(pem, ldaps=False) as stub:
        assert make(stub, use_ssl=False, port=389, **danger).authenticate("alice", PASSWORD) is True


# -- time


@pytest.mark.parametrize("where", ["connect", "bind", "find", "user_bind", "groups"])
def test_silence_anywhere_ends_at_the_deadline(make: Make, pem: Path, where: str) -> None:
    with Stub(pem, **{where: lambda asked: []}) as stub:
        started = time.monotonic()
        assert (
            make(stub, group_dns=["S-1-5-21-1-1-1-500"], allow_any_user=None).authenticate("alice", PASSWORD) is False
        )
        assert time.monotonic() - started < 15


@pytest.mark.parametrize("where", ["handshake", "answers"])
def test_a_drip_ends_at_the_deadline(make: Make, pem: Path, where: str) -> None:
    """A time-out of a socket holds for one read: a byte now and then would hold a login for ever."""
    on = {"connect": lambda asked: [b"\x16\x03\x03\x3f\xff" + bytes(1000)]} if where == "handshake" else {}
    with Stub(pem, **on) as stub:
        stub.drip_s = 0.05
        started = time.monotonic()
        assert make(stub).authenticate("alice", PASSWORD) is False
        assert 0.5 < time.monotonic() - started < 15


def test_one_silent_server_costs_its_time_once(make: Make, pem: Path) -> None:
    with Stub(pem, connect=lambda asked: []) as silent, Stub(pem) as good:
        backend = make(silent, good)
        started = time.monotonic()
        assert backend.authenticate("alice", PASSWORD) is True
        assert time.monotonic() - started > 0.5
        assert all(backend.authenticate("alice", PASSWORD) for _ in range(5))
        assert silent.connections == 1


def test_a_server_that_comes_back_is_used_again_and_no_login_waits_for_it(
    make: Make, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("st2auth_ldap3.servers.FIRST_PAUSE_S", 0.2)
    with Stub(pem, connect=lambda asked: []) as first, Stub(pem) as second:
        backend = make(first, second, connect_timeout=0.3)
        assert backend.authenticate("alice", PASSWORD) is True
        slowest = 0.0
        for _ in range(30):
            started = time.monotonic()
            assert backend.authenticate("alice", PASSWORD) is True
            slowest = max(slowest, time.monotonic() - started)
            time.sleep(0.05)
        assert first.connections >= 2 and slowest < 0.25  # looked at in between, by a thread of its own
        del first.on["connect"]
        deadline = time.monotonic() + 6
        while not users_binds(first) and time.monotonic() < deadline:
            assert backend.authenticate("alice", PASSWORD) is True
            time.sleep(0.1)
        assert users_binds(first)


# -- one bind


@pytest.mark.parametrize("how", ["silence", "nonsense", "busy", "wrong password"])
def test_a_users_bind_is_sent_once_to_one_server(make: Make, pem: Path, how: str) -> None:
    """Each one may count towards lockout."""
    answers: dict[str, Callable[[Asked], list[bytes]]] = {
        "silence": lambda asked: [],
        "nonsense": lambda asked: [b"\x30\x03\x02\x01"],
        "busy": lambda asked: [message(asked.number, result(0x61, 51))],
        "wrong password": lambda asked: [message(asked.number, result(0x61, 49, "data 52e"))],
    }
    with Stub(pem, user_bind=answers[how]) as first, Stub(pem) as second:
        assert make(first, second).authenticate("alice", "wr0ng") is False
        assert users_binds(first, second) == [b"wr0ng"]


def test_a_connection_is_bound_anew_only_after_a_granted_bind_and_soon(
    make: Make, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bind that is lost cannot be repeated: so it is sent only where one has just been answered."""

    def bind(asked: Asked) -> list[bytes]:
        return [message(asked.number, result(0x61, 0 if asked.password == PASSWORD.encode() else 49, "data 52e"))]

    with Stub(pem, user_bind=bind) as stub:
        backend = make(stub)
        counts = []
        for password in (PASSWORD, PASSWORD, "wr0ng", PASSWORD, PASSWORD):
            assert backend.authenticate("alice", password) is (password == PASSWORD)
            counts.append(stub.connections)
        assert counts == [2, 2, 2, 3, 3]  # the service's, a user's, and a new one behind the refusal
        monkeypatch.setattr("st2auth_ldap3.servers.REUSE_S", 0.0)
        assert backend.authenticate("alice", PASSWORD) is True
        assert stub.connections == 4


def test_a_kept_connection_that_the_server_closed_is_not_used(make: Make, pem: Path) -> None:
    with Stub(pem) as stub:
        backend = make(stub)
        for _ in range(3):
            assert backend.authenticate("alice", PASSWORD) is True
            stub.drop()
            time.sleep(0.05)


def test_all_that_comes_before_the_bind_goes_on_at_another_server(make: Make, pem: Path) -> None:
    busy = {"find": lambda asked: [message(asked.number, result(0x65, 51))]}
    with Stub(pem, **busy) as first, Stub(pem) as second:
        assert make(first, second).authenticate("alice", PASSWORD) is True
        assert users_binds(first) == [] and len(users_binds(second)) == 1


def test_groups_are_read_elsewhere_when_the_server_dies_after_the_bind(make: Make, pem: Path) -> None:
    with Stub(pem, groups=lambda asked: []) as first, Stub(pem) as second:
        backend = make(first, second, group_dns=["S-1-5-21-1-1-1-500"], allow_any_user=None)
        assert backend.authenticate("alice", PASSWORD) is True
        assert len(users_binds(first, second)) == 1


def test_a_refused_service_account_is_not_tried_at_each_login(make: Make, pem: Path, tmp_path: Path) -> None:
    """Five users at the door would lock it. A new password is tried at once."""
    file = tmp_path / "password"
    file.write_text("old")

    def bind(asked: Asked) -> list[bytes]:
        good = asked.password == b"new"
        return [message(asked.number, result(0x61, 0 if good else 49, "data 52e"))]

    with Stub(pem, bind=bind) as first, Stub(pem, bind=bind) as second:
        backend = make(first, second, bind_password=None, bind_password_file=str(file))
        assert not any(backend.authenticate("alice", PASSWORD) for _ in range(5))
        assert len(first.binds + second.binds) == 1
        file.write_text("new")
        assert backend.authenticate("alice", PASSWORD) is True


# -- entries


def answer(*entries: bytes, code: int = 0) -> Callable[[Asked], list[bytes]]:
    return lambda asked: [message(asked.number, part) for part in (*entries, result(0x65, code))]


@pytest.mark.parametrize(
    ("find", "gets_in"),
    [
        (answer(entry(USER_DN, ME)), True),
        (answer(), False),
        (answer(entry(USER_DN, ME), entry("CN=other,DC=stub", ME)), False),
        (answer(entry(USER_DN, ME), code=4), False),  # a limit of one: there may be another
        (answer(entry(USER_DN, {"sAMAccountName": ["Alice"]})), False),
        (answer(entry(USER_DN, {})), False),
        (answer(entry("", ME)), False),
    ],
)
def test_exactly_one_entry_with_this_very_name(make: Make, pem: Path, find: Any, gets_in: bool) -> None:
    with Stub(pem, find=find) as stub:
        assert make(stub).authenticate("alice", PASSWORD) is gets_in


def test_values_in_ranges_are_read_to_the_end(make: Make, pem: Path) -> None:
    """AD gives 1,500 values at a time."""
    groups = [f"CN=g{number},DC=stub" for number in range(3200)]

    def find(asked: Asked) -> list[bytes]:
        wanted = [name for name in asked.attributes if name.lower().startswith("memberof")]
        if not wanted:
            return answer()(asked)
        start = int(wanted[0].partition("range=")[2].partition("-")[0] or 0)
        part = groups[start : start + 1500]
        last = "*" if start + 1500 >= len(groups) else str(start + len(part) - 1)
        return answer(entry(USER_DN, {**ME, f"memberOf;range={start}-{last}": part}))(asked)

    with Stub(pem, find=find) as stub:
        assert set(make(stub).get_user_groups("alice")) == set(groups)


def test_results_in_pages_are_read_to_the_end(make: Make, pem: Path) -> None:
    """Servers give 500 or 1,000 entries at the most in one answer."""

    def find(asked: Asked) -> list[bytes]:
        if "1.1" not in asked.attributes:
            return answer(entry(USER_DN, ME))(asked)
        if PAGED not in asked.controls:
            return answer(entry("CN=g0,DC=stub", {}), code=4)(asked)
        _, (_, cookie) = parts(parts(asked.controls[PAGED])[0][1])
        page = cookie[0] if cookie else 0
        found = [message(asked.number, entry(f"CN=g{page * 2 + number},DC=stub", {})) for number in range(2)]
        next_cookie = octets(bytes([page + 1])) if page < 3 else octets(b"")
        value = tlv(0x30, tlv(2, b"\0"), next_cookie)
        return [*found, message(asked.number, result(0x65, 0), control(PAGED, value))]

    pattern = "(&(objectClass=group)(member={user_dn}))"
    with Stub(pem, find=find) as stub:
        backend = make(stub, group_dns=["CN=g7"], allow_any_user=None, group_pattern=pattern)
        assert backend.authenticate("alice", PASSWORD) is True
        assert len(backend.get_user_groups("alice")) == 8
    with Stub(pem, find=find) as stub:
        stub.on["find"] = lambda asked: (
            answer(entry(USER_DN, ME))(asked) if "1.1" not in asked.attributes else answer(code=4)(asked)
        )
        assert (
            make(stub, group_dns=["CN=g7"], allow_any_user=None, group_pattern=pattern).authenticate("alice", PASSWORD)
            is False
        )
        with pytest.raises(GroupsUnknown):
            make(stub, group_pattern=pattern).get_user_groups("alice")


def test_unreadable_token_groups_let_nobody_in(make: Make, pem: Path) -> None:
    for groups in (answer(), answer(entry(USER_DN, {}))):
        with Stub(pem, groups=groups) as stub:
            backend = make(stub, group_dns=["S-1-5-21-1-1-1-500"], allow_any_user=None)
            assert backend.authenticate("alice", PASSWORD) is False


# -- nonsense

NONSENSE = {
    "text": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(64),
    "indefinite": b"\x30\x80\x02\x01\x01\x00\x00",
    "huge": b"\x30\x84\x7f\xff\xff\xff\x02\x01",
    "five octets of length": b"\x30\x85\x01\x00\x00\x00\x00",
    "empty": b"\x30\x00",
    "no operation": b"\x30\x03\x02\x01\x01",
    "unknown operation": b"\x30\x05\x02\x01\x01\x7e\x00",
    "lying lengths": b"\x30\x0c\x02\x01\x01\x61\x7f\x0a\x01\x00\x04\x00\x04\x00",
    "bind without fields": b"\x30\x05\x02\x01\x01\x61\x00",
    "bind with a wrong type": b"\x30\x0b\x02\x01\x01\x61\x06\x04\x01\x00\x04\x00\x04",
    "deep": b"\x30\x82\x20\x00" + b"\x30\x84\x00\x00\x1f\x00" * 1300,
    "disconnection": message(0, result(0x78, 52)),
}


@pytest.mark.parametrize("where", ["connect", "bind", "find", "user_bind", "groups"])
@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_a_no(make: Make, pem: Path, what: str, where: str, caplog: pytest.LogCaptureFixture) -> None:
    with Stub(pem, **{where: lambda asked: [NONSENSE[what]]}) as stub:
        backend = make(
            stub, group_dns=["S-1-5-21-1-1-1-500"], allow_any_user=None, connect_timeout=0.2, network_timeout=0.2
        )
        assert backend.authenticate("alice", PASSWORD) is False
        assert "internal error" not in caplog.text and "horse" not in caplog.text
