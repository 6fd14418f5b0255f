"""The layer `auth` of the configuration."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from st2ha.config import Host, Section
from st2ha.errors import BadInput
from st2ha.hosts import Door, door, parse_prefix

ST2_CONF = "/etc/st2/st2.conf"
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class AuthLimits:
    """From where a healthy number is a finding. Kerberos bears 5 minutes between clocks: a warning comes before."""

    latency_s: float = 2.0
    tls_days: float = 21.0
    clock_skew_s: float = 60.0


@dataclass(frozen=True)
class Url:
    """Where st2auth answers: directly (http://127.0.0.1:9100) or behind nginx (https://st2.example.com/auth/v1)."""

    text: str
    secure: bool
    host: Host
    path: str

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host.name).is_loopback
        except ValueError:
            return self.host.name == "localhost"


@dataclass(frozen=True)
class AuthNode:
    """A node that runs st2auth. `prefix` leads inside; None: we may not look there."""

    name: str
    url: Url
    prefix: Optional[tuple[str, ...]] = None
    st2_conf: tuple[str, ...] = (ST2_CONF,)

    def door(self) -> Door:
        """The way in; only for a node that has a prefix."""
        return door(self.prefix or (), {"name": self.name, "host": self.url.host.name})

    @property
    def is_here(self) -> bool:
        return self.prefix == ()


@dataclass(frozen=True)
class Auth:
    """Sign-in as it is meant to be."""

    nodes: tuple[AuthNode, ...]
    vip: Optional[Url] = None
    test_username: Optional[str] = None
    test_password: Optional[str] = field(default=None, repr=False)
    ca_file: Optional[str] = None
    timeout_s: float = 10.0
    rbac_directory: Optional[str] = None
    limits: AuthLimits = field(default_factory=AuthLimits)


def parse(section: Section) -> Auth:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "nodes", "vip", "command", "test_username", "test_password", "test_password_file", "tls", "timeout_s",
        "rbac_directory", "limits",
    )  # fmt: skip
    user, password = section.optional_text("test_username"), section.secret("test_password")
    if (user is None) != (password is None):
        missing = "test_password_file" if password is None else "test_username"
        raise BadInput(f"{section.path} has no `{missing}`: give a test user and its password, or neither")
    if user is not None and ":" in user:
        raise BadInput(
            f"{section.at('test_username')} holds a colon, which HTTP cannot send in a name: use another user"
        )
    vip = _url(section, "vip", user is not None) if section.optional_text("vip") else None
    tls = section.optional_section("tls")
    if tls is not None:
        tls.known("ca_file")
    return Auth(
        nodes=_nodes(section, user is not None),
        vip=vip,
        test_username=user,
        test_password=password,
        ca_file=tls.file("ca_file") if tls is not None else None,
        timeout_s=section.number("timeout_s", 10.0, low=0.05, high=600),
        rbac_directory=_directory(section, "rbac_directory"),
        limits=_limits(section),
    )


def _nodes(parent: Section, with_password: bool) -> tuple[AuthNode, ...]:
    everywhere = parse_prefix(parent, "command")
    nodes: list[AuthNode] = []
    for section in parent.sections("nodes"):
        section.known("name", "url", "command", "st2_conf")
        own = parse_prefix(section, "command")
        node = AuthNode(
            name=section.text("name"),
            url=_url(section, "url", with_password),
            prefix=own if own is not None else everywhere,
            st2_conf=_paths(section, "st2_conf"),
        )
        if node.name in (each.name for each in nodes):
            raise BadInput(f"{section.at('name')} is {node.name!r}, which is used twice: give each node its own name")
        nodes.append(node)
    if not nodes:
        raise BadInput(f"{parent.at('nodes')} is empty: list each node that runs st2auth with its name and url")
    return tuple(nodes)


def _url(section: Section, name: str, with_password: bool) -> Url:
    """BadInput also where the test user's password would go over a network in the clear."""
    text, where = section.text(name), section.at(name)
    example = "for example https://st2-1.example.com/auth/v1 or http://127.0.0.1:9100"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadInput(f"{where} is {text[:60]!r}: write a URL, {example}") from None
    if parts.username is not None or parts.password is not None:
        raise BadInput(f"{where} holds a user name or a password: put these into test_username and test_password_file")
    if parts.scheme not in PORTS or not parts.hostname or parts.query or parts.fragment:
        raise BadInput(f"{where} is {text[:60]!r}: write a URL, {example}")
    url = Url(
        text=text,
        secure=parts.scheme == "https",
        host=Host(parts.hostname, port or PORTS[parts.scheme]),
        path=parts.path.rstrip("/"),
    )
    if with_password and not url.secure and not url.loopback:
        raise BadInput(
            f"{where} is {text[:60]!r}: the test user's password would go over the network in the clear; use https, or "
            "leave test_username away"
        )
    return url


def _paths(section: Section, name: str) -> tuple[str, ...]:
    """Several files as st2auth's own --config-file options have them: a later one wins."""
    text = section.optional_text(name) or ST2_CONF
    paths = tuple(path.strip() for path in text.split(","))
    for path in paths:
        if not path.startswith("/"):
            raise BadInput(f"{section.at(name)} holds {path[:60]!r}: give absolute paths, separated by commas")
    return paths


def _directory(section: Section, name: str) -> Optional[str]:
    path = section.optional_text(name)
    if path is not None and not os.path.isdir(path):
        raise BadInput(
            f"{section.at(name)} is {path[:60]!r}: no such directory; give that of `mappings` and `assignments`"
        )
    return path


def _limits(parent: Section) -> AuthLimits:
    section, defaults = parent.optional_section("limits"), AuthLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    numbers: Mapping[str, float] = {
        name: section.number(name, default, low=0, high=1e9) for name, default in vars(defaults).items()
    }
    return AuthLimits(**numbers)
