"""pytest plugin: real directories for sign-in, once a session, made whole after each test that takes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.directory import Directories, SambaDomain
from lab.dirsrv import Dirsrv
from lab.people import PASSWORD
from lab.slapd import Slapd
from lab.st2auth import install
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


@pytest.fixture(scope="session")
def dirsrv() -> Iterator[Dirsrv]:
    with Dirsrv() as directory:
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


def ldap_options(ldap: Directories, **other: Any) -> dict[str, Any]:
    options = {
        "host": ldap.hosts[0],
        "port": 636,
        "use_ssl": True,
        "cacert": str(ldap.authority.ca_file),
        "bind_dn": ldap.service_dn,
        "bind_password": PASSWORD,
        "base_ou": ldap.base,
        "group_dns": ["cn=st2users"],
        **other,
    }
    return {name: value for name, value in options.items() if value is not None}


def on_samba(samba: SambaDomain, **other: Any) -> Ldap3AuthenticationBackend:
    return Ldap3AuthenticationBackend(**samba_options(samba, **other))


def on_ldap(ldap: Directories, **other: Any) -> Ldap3AuthenticationBackend:
    """On OpenLDAP or 389-DS."""
    return Ldap3AuthenticationBackend(**ldap_options(ldap, **other))


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built distribution and what it needs, for any interpreter."""
    return install(tmp_path_factory.mktemp("site"))
