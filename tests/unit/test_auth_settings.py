"""The options: st2-auth-ldap's with their meaning, ours, and what is wrong said without a value."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.cluster import ROOT
from st2auth_ldap3 import Ldap3AuthenticationBackend
from st2auth_ldap3.errors import Misconfigured
from st2auth_ldap3.options import OPTIONS
from st2auth_ldap3.settings import fill_dn, fill_filter, parse
from tests.examples import examples

SECRET = "s3cret-horse"
SITE: dict[str, Any] = {
    "bind_dn": "CN=svc,DC=x",
    "bind_password": SECRET,
    "base_ou": "DC=x",
    "group_dns": ["CN=st2users"],
    "host": "dc1,dc2",
    "port": 636,
    "use_ssl": True,
}
INCUMBENT = {
    **SITE,
    "id_attr": "uid",
    "account_pattern": "(|(uid={username})(mail={username}))",
    "group_pattern": "(member={user_dn})",
    "scope": "onelevel",
    "network_timeout": 4,
    "chase_referrals": True,
    "debug": True,
    "client_options": {"20482": 9, "24582": 0},
    "group_dns_check": "or",
    "cache_user_groups_response": True,
    "cache_user_groups_cache_ttl": 120,
    "cache_user_groups_cache_max_size": 100,
    "cache_user_groups_ttl": 120,
    "base_ou_group": "OU=g,DC=x",
    "use_tls": False,
    "cacert": None,
}
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=4), PLAIN, max_size=2)


def problems(**change: Any) -> str:
    with pytest.raises(Misconfigured) as caught:
        parse({**SITE, **change})
    return str(caught.value)


def test_all_options_of_the_incumbent_are_taken_with_their_meaning() -> None:
    settings = parse(INCUMBENT)
    assert settings.servers == (("dc1", 0), ("dc2", 0)) and settings.default_port == 636
    assert not settings.starttls and not settings.require_all and settings.scope == 1
    assert settings.group_base == "OU=g,DC=x" and settings.operation_s == 4 and settings.connect_s == 3
    assert settings.canonical_attribute == "uid" and settings.group_pattern == "(member={user_dn})"
    said = " ".join(settings.remarks)
    assert "chase_referrals" in said and "cache_user_groups" in said and "24582" in said


def test_a_site_without_tls_gets_starttls_and_never_plain() -> None:
    settings = parse({**SITE, "port": 389, "use_ssl": False})
    assert settings.starttls and settings.default_port == 389
    assert "StartTLS is used all the same" in " ".join(settings.remarks)


def test_ldaps_is_the_default() -> None:
    settings = parse({**SITE, "port": None, "use_ssl": None})
    assert not settings.starttls and settings.default_port == 636


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_tls": True}, "exclude each other"),
        ({"bind_password": ""}, "bind_dn needs exactly one of"),
        ({"bind_password_file": "/x"}, "bind_dn needs exactly one of"),
        ({"bind_dn": None}, "exactly one of bind_dn"),
        ({"group_dns": []}, "group_dns must be given, or else allow_any_user"),
        ({"allow_any_user": True}, "group_dns must be given, or else allow_any_user"),
        ({"group_dns": ["st2users"]}, "no DN, RDN or SID"),
        ({"group_dns_check": "xor"}, "group_dns_check must be one of and, or"),
        ({"denied_groups_dns": ["CN=x"]}, "is denied_group_dns meant?"),
        ({"insecure_plaintext_searches": True}, "a password is never sent in the clear"),
        ({"cacert": "/nowhere"}, "cacert names no file"),
        ({"host": None}, "one of host and srv_domain"),
        ({"srv_domain": "x"}, "one of host and srv_domain"),
        ({"host": "dc1/evil"}, "host must be host names"),
        ({"port": "many"}, "port has a wrong value"),
        ({"port": 70000}, "port must be a port number"),
        ({"use_ssl": "certainly"}, "use_ssl must be true or false"),
        ({"network_timeout": 0}, "network_timeout must be between"),
        ({"username_format": "domain"}, "needs domain"),
        ({"account_pattern": "uid=alice"}, "account_pattern is no pattern"),
        ({"account_pattern": "(uid={username}"}, "account_pattern is no pattern"),
        ({"base_ou": "nonsense"}, "base_ou is no DN"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    assert said in problems(**change)


def test_the_readme_names_each_option_and_its_example_is_good() -> None:
    readme = (ROOT / "auth_backend" / "README.md").read_text()
    named = {word for line in readme.splitlines() if line.startswith("| ") for word in re.split("[ ,|]+", line)}
    assert set(OPTIONS) <= named
    (example,) = re.findall(r"backend_kwargs = (\{.*\})", readme)
    assert parse({**json.loads(example), "cacert": None}).bind_dn


def test_the_word_false_is_not_true() -> None:
    assert parse({**SITE, "use_ssl": "false", "use_tls": "true", "port": 389}).starttls


def test_all_problems_come_at_once_and_without_values() -> None:
    said = problems(bind_password=SECRET, port=SECRET, scope=SECRET, network_timeout=SECRET, host=[SECRET + "/"])
    assert all(name in said for name in ("port", "scope", "network_timeout", "host")) and SECRET not in said


@pytest.fixture(scope="module")
def no_authorities() -> Iterator[None]:
    """OpenSSL finds none: to read this machine's takes 40 ms of each backend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.devnull)
        yield


def test_a_pattern_is_filled_escaped_and_is_no_format_string() -> None:
    assert fill_filter("(a={username}{username.__class__})", username="*)(", user_dn="") == (
        "(a=\\2a\\29\\28{username.__class__})"
    )
    assert fill_dn("uid={username},dc=x", "a,dc=evil") == "uid=a\\2cdc\\3devil,dc=x"
    assert fill_dn("{username}@x", "a=b,c") == "a=b,c@x"


@pytest.mark.usefixtures("no_authorities")
@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("host", "srv_domain", "dns_server")])
@example(value="")
@examples(20)
@given(value=JSON)
def test_no_json_makes_constructor_or_login_raise_or_succeed(name: str, value: Any) -> None:
    backend = Ldap3AuthenticationBackend(**{**SITE, "host": "127.0.0.1:1", name: value})
    assert backend.authenticate("alice", "x") is False


def test_positional_arguments_are_no_exception_either() -> None:
    assert Ldap3AuthenticationBackend("dc1", SECRET).authenticate("alice", "x") is False


@pytest.mark.parametrize("change", [{}, {"bind_pasword": SECRET}, {"port": SECRET}, {"host": "127.0.0.1:1"}])
def test_the_password_is_nowhere_to_be_seen(change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend = Ldap3AuthenticationBackend(**{**SITE, "host": "127.0.0.1:1", **change})
    assert backend.authenticate("alice", "us3r-horse") is False
    shown = caplog.text + repr(backend) + str(backend) + repr(backend._engine and backend._engine.settings)
    assert "sign-in user='alice'" in shown and "horse" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(backend)


def test_a_password_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    secret = parse({**SITE, "bind_password": None, "bind_password_file": str(file)}).bind_password
    assert secret.reveal() == b"first"
    file.write_text(" second \n")
    assert secret.reveal() == b" second "
    file.write_text("\n")
    with pytest.raises(Misconfigured):
        secret.reveal()
    file.unlink()
    with pytest.raises(Misconfigured):
        secret.reveal()


def test_st2auth_finds_what_it_asks_for() -> None:
    assert "has_groups_info" in Ldap3AuthenticationBackend.CAPABILITIES
