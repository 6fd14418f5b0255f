"""st2.conf: read as oslo.config reads it, shown without passwords, changed in two lines and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg

from st2auth_ldap3.conf import convert, read_auth, replace_auth, section

OLD = """[api]
host = 0.0.0.0
# backend = ldap3 is not this section's

[auth]
# a comment
mode = standalone
backend = ldap
backend_kwargs = {"bind_dn": "CN=svc,DC=x",
    "bind_password": "pa$$w0rd",
    "host": "dc1"}
use_ssl = True

[messaging]
url = amqp://x
"""


def by_oslo(text: str, tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "st2.conf"
    file.write_text(text)
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt(name) for name in ("mode", "backend", "backend_kwargs", "use_ssl")], group="auth")
    conf(args=[], default_config_files=[str(file)])
    return {name: conf.auth[name] for name in ("mode", "backend", "backend_kwargs", "use_ssl")}


def test_read_as_oslo_config_reads_it(tmp_path: Path) -> None:
    ours, theirs = read_auth(OLD), by_oslo(OLD, tmp_path)
    assert json.loads(ours["backend_kwargs"]) == json.loads(theirs["backend_kwargs"])
    assert json.loads(ours["backend_kwargs"])["bind_password"] == "pa$w0rd"
    assert ours["backend"] == theirs["backend"] == "ldap"


@given(password=st.text(max_size=12), name=st.text(max_size=12))
def test_any_password_comes_back_through_oslo_config(
    tmp_path_factory: pytest.TempPathFactory, password: str, name: str
) -> None:
    kwargs = {"bind_password": password, "host": "${x} $$ %s " + name}
    read = by_oslo(replace_auth(OLD, kwargs), tmp_path_factory.mktemp("conf"))
    assert json.loads(read["backend_kwargs"]) == kwargs
    assert (read["backend"], read["mode"], read["use_ssl"]) == ("ldap3", "standalone", "True")
    assert json.loads(read_auth(replace_auth(OLD, kwargs))["backend_kwargs"]) == kwargs


def test_nothing_else_changes() -> None:
    new = replace_auth(OLD, {"host": "dc1"})
    gone = set(OLD.splitlines()) - set(new.splitlines())
    assert all(any(word in line for word in ("backend", "bind_password", '"host"')) for line in gone)
    assert set(new.splitlines()) - set(OLD.splitlines()) == {"backend = ldap3", 'backend_kwargs = {"host": "dc1"}'}
    assert replace_auth(new, {"host": "dc1"}) == new


@pytest.mark.parametrize("text", ["", "[api]\nx = 1\n", "[auth]\n\n[api]\nx = 1\n"])
def test_a_section_that_is_missing_or_empty_is_filled(text: str, tmp_path: Path) -> None:
    new = replace_auth(text, {"host": "dc1"})
    assert by_oslo(new, tmp_path)["backend"] == "ldap3" and new.count("[auth]") == 1


def test_the_section_is_shown_without_passwords() -> None:
    shown = section({"bind_password": "s3cret", "host": "dc1"})
    assert "s3cret" not in shown and '"***"' in shown


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("(|(&(objectClass=*)(|(member={user_dn})(uniqueMember={user_dn})(memberUid={username}))))", False),
        ("(member:1.2.840.113556.1.4.1941:={user_dn})", False),
        ("(&(objectClass=group)(member={user_dn}))", False),
        ("(&(objectClass=group)(member={user_dn})(!(cn=guests)))", True),
    ],
)
def test_a_group_pattern_that_only_says_member_is_left_out(pattern: str, kept: bool) -> None:
    new, said = convert({"group_pattern": pattern, "use_ssl": True, "chase_referrals": True})
    assert ("group_pattern" in new) is kept and "chase_referrals" not in new and said


def test_tls_is_turned_on() -> None:
    assert convert({"port": 389})[0]["use_tls"] and convert({"port": 636})[0]["use_ssl"]
