"""pytest plugin: real directories for sign-in, once a session, made whole after each test that takes them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import dns
import ldap3
import pyasn1
import pytest

from lab.cluster import ROOT
from lab.directory import SambaDomain
from lab.people import PASSWORD
from lab.slapd import Slapd
from st2auth_ldap3 import Ldap3AuthenticationBackend


@pytest.fixture(scope="session")
def samba_session() -> Iterator[SambaDomain]:
    with SambaDomain() as domain:
        yield domain


@pytest.fixture
def samba(samba_session: SambaDomain) -> Iterator[SambaDomain]:
    """An Active Directory domain with two controllers, both healthy."""
    yield samba_session
    samba_session.restore()


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    with Slapd() as directory:
        yield directory


def samba_options(samba: SambaDomain, **other: Any) -> dict[str, Any]:
    """`backend_kwargs` as a site of st2-auth-ldap has them; None takes one away."""
    options = {
        "host": ",".join(samba.hosts),
        "port": 636,
        "use_ssl": True,
        "cacert": str(samba.authority.ca_file),
        "bind_dn": samba.service_dn,
        "bind_password": PASSWORD,
        "base_ou": samba.base,
        "id_attr": "sAMAccountName",
        "group_dns": [samba.group_dn.format("st2users")],
        **other,
    }
    return {name: value for name, value in options.items() if value is not None}


def slapd_options(slapd: Slapd, **other: Any) -> dict[str, Any]:
    options = {
        "host": slapd.hosts[0],
        "port": 636,
        "use_ssl": True,
        "cacert": str(slapd.authority.ca_file),
        "bind_dn": slapd.service_dn,
        "bind_password": PASSWORD,
        "base_ou": slapd.base,
        "group_dns": ["cn=st2users"],
        **other,
    }
    return {name: value for name, value in options.items() if value is not None}


def on_samba(samba: SambaDomain, **other: Any) -> Ldap3AuthenticationBackend:
    return Ldap3AuthenticationBackend(**samba_options(samba, **other))


def on_slapd(slapd: Slapd, **other: Any) -> Ldap3AuthenticationBackend:
    return Ldap3AuthenticationBackend(**slapd_options(slapd, **other))


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Site-packages with the built distribution and what it needs, all pure Python: for any interpreter."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*pip, "--disable-pip-version-check", "--target", str(site), str(_copy(tmp_path_factory.mktemp("source")))],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    needed: tuple[ModuleType, ...] = (ldap3, pyasn1, dns)
    for module in needed:
        (site / module.__name__).symlink_to(Path(module.__path__[0]))
    return site


def _copy(target: Path) -> Path:
    """The distribution's sources: setuptools leaves its traces beside what it builds."""
    shutil.copytree(
        ROOT / "auth_backend", target / "auth_backend", ignore=shutil.ignore_patterns("*.egg-info", "build")
    )
    return target / "auth_backend"


class Harness:
    """tests/auth_harness.py in a process of its own, under StackStorm's own versions of Python's libraries."""

    def __init__(self, site: Path, options: dict[str, Any], log: Path) -> None:
        self.log = log
        self._stderr: IO[bytes] = log.open("wb")
        self._process = subprocess.Popen(
            [str(ROOT / ".venv-st2" / "bin" / "python"), str(ROOT / "tests" / "auth_harness.py")],
            env={**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
        )  # fmt: skip
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(options).encode() + b"\n")
        self._process.stdin.close()
        line = self._process.stdout.readline()
        assert line, log.read_text()
        self.port = int(line)

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait(10)
        self._stderr.close()

    def login(self, username: str, password: str) -> tuple[int, Any]:
        """HTTP status, and the token's user and groups."""
        basic = base64.b64encode(f"{username}:{password}".encode()).decode()
        status, body = self._ask("POST", "/tokens", {"Authorization": f"Basic {basic}"})
        return status, json.loads(body) if status == 201 else body

    def stall_ms(self) -> float:
        """The longest stall of the hub since the last question."""
        return float(json.loads(self._ask("GET", "/stall", {})[1])["ms"])

    def _ask(self, verb: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(verb, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
