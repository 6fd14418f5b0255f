"""`python -m st2auth_ldap3 config`, as a person calls it, against real directories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cluster import ROOT
from lab.directory import SambaDomain
from lab.people import PASSWORD
from lab.slapd import Slapd
from st2auth_ldap3 import Ldap3AuthenticationBackend
from st2auth_ldap3.conf import read_auth
from tests.fix_auth import ldap_options, samba_options


def config(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "st2auth_ldap3", "config", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "auth_backend" / "src")},
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert PASSWORD not in done.stdout + done.stderr and "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(PASSWORD + "\n")
    return file


def kwargs_of(file: Path) -> dict[str, object]:
    auth = read_auth(file.read_text())
    assert auth["backend"] == "ldap3"
    found: dict[str, object] = json.loads(auth["backend_kwargs"])
    return found


def test_a_new_section_is_asked_of_the_directory_tested_and_written(
    samba: SambaDomain, secret: Path, tmp_path: Path
) -> None:
    file = tmp_path / "st2.conf"
    file.write_text("[api]\nhost = x\n")
    code, said = config(
        *("--host", ",".join(samba.hosts), "--cacert", samba.authority.ca_file, "--bind-dn", samba.service_dn),
        *("--bind-password-file", secret, "--group", "CN=st2users", "--deny", "CN=contractors"),
        *("--test-user", "carol", "--test-password-file", secret, "--write", file),
    )
    assert code == 0, said
    assert said.count("Active Directory") == 2 and "ok      login of carol" in said
    assert kwargs_of(file)["base_ou"] == samba.base  # asked of the server
    backend = Ldap3AuthenticationBackend(**kwargs_of(file))
    assert backend.authenticate("carol", PASSWORD) is True and backend.authenticate("erin", PASSWORD) is False


@pytest.mark.parametrize("flaw", ["group", "user", "authority", "account"])
def test_nothing_is_written_unless_all_is_well(samba: SambaDomain, secret: Path, tmp_path: Path, flaw: str) -> None:
    file = tmp_path / "st2.conf"
    file.write_text("[auth]\nbackend = pam\n")
    code, said = config(
        *("--host", samba.hosts[0], "--bind-password-file", secret, "--write", file),
        *(() if flaw == "authority" else ("--cacert", samba.authority.ca_file)),
        *("--bind-dn", samba.service_dn.replace("Service", "Nobody") if flaw == "account" else samba.service_dn),
        *("--group", "CN=nowhere" if flaw == "group" else "CN=st2users"),
        *("--test-user", "frank" if flaw == "user" else "alice", "--test-password-file", secret),
    )
    assert code == 1 and "FAILED" in said
    assert file.read_text() == "[auth]\nbackend = pam\n"


def test_a_section_of_st2_auth_ldap_is_converted(slapd: Slapd, secret: Path, tmp_path: Path) -> None:
    old = ldap_options(slapd, use_ssl=False, port=389, cache_user_groups_ttl=60, chase_referrals=False)
    file = tmp_path / "st2.conf"
    file.write_text(f"[auth]\n# ours\nbackend = ldap\nbackend_kwargs = {json.dumps(old)}\napi_url = http://x\n")
    code, said = config("--from", file, "--test-user", "bob", "--test-password-file", secret, "--write", file)
    assert code == 0, said
    new = kwargs_of(file)
    assert new["use_tls"] is True and new["bind_password"] == PASSWORD and "cache_user_groups_ttl" not in new
    assert "# ours" in file.read_text() and "api_url = http://x" in file.read_text()
    assert "backend = ldap\n" in (tmp_path / "st2.conf.before-ldap3").read_text()
    assert Ldap3AuthenticationBackend(**new).authenticate("bob", PASSWORD) is True


def test_the_password_moves_to_a_file(samba: SambaDomain, secret: Path, tmp_path: Path) -> None:
    file = tmp_path / "st2.conf"
    file.write_text(f"[auth]\nbackend = ldap\nbackend_kwargs = {json.dumps(samba_options(samba))}\n")
    code, said = config("--from", file, "--bind-password-file", secret, "--write", file)
    assert code == 0, said
    assert PASSWORD not in file.read_text() and kwargs_of(file)["bind_password_file"] == str(secret)


def test_without_a_service_account(samba: SambaDomain, secret: Path) -> None:
    code, said = config(
        *(
            "--host",
            samba.hosts[0],
            "--cacert",
            samba.authority.ca_file,
            "--user-bind-pattern",
            "{username}@ad.lab.test",
        ),
        *("--group", "CN=st2users", "--test-user", "alice", "--test-password-file", secret),
    )
    assert code == 0, said
