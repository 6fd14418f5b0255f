"""The layer `redis` of a deployment as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from st2ha.config import Host, Section, Tls, parse_tls
from st2ha.errors import BadInput

PORT, SENTINEL_PORT = 6379, 26379


@dataclass(frozen=True)
class RedisLimits:
    """From where a healthy number is a finding."""

    lag_s: float = 10.0
    lag_bytes: float = 10e6
    latency_s: float = 0.1
    memory_used: float = 0.8
    clients_used: float = 0.8
    tls_days: float = 21.0


@dataclass(frozen=True)
class Redis:
    """A primary with its replicas, and the Sentinels that watch over it, as they are meant to be."""

    hosts: tuple[Host, ...]
    sentinels: tuple[Host, ...] = ()
    master_name: str = "mymaster"
    username: Optional[str] = None
    password: Optional[str] = field(default=None, repr=False)
    sentinel_username: Optional[str] = None
    sentinel_password: Optional[str] = field(default=None, repr=False)
    coordination_url: Optional[str] = field(default=None, repr=False)  # may hold a password
    tls: Tls = field(default_factory=Tls)
    timeout_s: float = 3.0
    limits: RedisLimits = field(default_factory=RedisLimits)


def parse(section: Section) -> Redis:
    """The layer from its section. BadInput names what is wrong."""
    section.known(
        "hosts", "sentinels", "master_name", "username", "password", "password_file", "sentinel_username",
        "sentinel_password", "sentinel_password_file", "coordination_url", "coordination_url_file", "tls", "timeout_s",
        "limits",
    )  # fmt: skip
    given = section.values.get("sentinels") not in (None, "", [])
    return Redis(
        hosts=section.hosts("hosts", PORT),
        sentinels=section.hosts("sentinels", SENTINEL_PORT) if given else (),
        master_name=_master_name(section),
        **_login(section, ""),
        **_login(section, "sentinel_"),
        coordination_url=section.secret("coordination_url"),
        tls=parse_tls(section),
        timeout_s=section.number("timeout_s", 3.0, low=0.05, high=600),
        limits=_limits(section),
    )


def _master_name(section: Section) -> str:
    name = section.optional_text("master_name") or "mymaster"
    if any(sign.isspace() for sign in name):
        raise BadInput(f"{section.at('master_name')} is {name[:60]!r}: give the name of `sentinel monitor`, one word")
    return name


def _login(section: Section, prefix: str) -> dict[str, Optional[str]]:
    """A password without a user name is that of the user `default`; a user name without a password is a mistake."""
    username, password = section.optional_text(f"{prefix}username"), section.secret(f"{prefix}password")
    if username is not None and password is None:
        raise BadInput(f"{section.path} has no `{prefix}password_file`: give the password of `{prefix}username`")
    return {f"{prefix}username": username, f"{prefix}password": password}


def _limits(parent: Section) -> RedisLimits:
    section, defaults = parent.optional_section("limits"), RedisLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    shares = ("memory_used", "clients_used")
    numbers = {
        name: section.number(name, default, low=0, high=1 if name in shares else 1e15)
        for name, default in vars(defaults).items()
    }
    return RedisLimits(**numbers)
