"""The layer `mysql` of the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from st2ha.config import Host, Section, Tls, parse_tls
from st2ha.errors import BadInput

PORT = 3306


@dataclass(frozen=True)
class MysqlLimits:
    """From where a healthy number is a finding. Sources: orchestrator's and MHA's gates, the servers' own defaults."""

    lag_s: float = 10.0
    lag_transactions: float = 1000.0
    long_transaction_s: float = 60.0
    connections_used: float = 0.8
    disk_used: float = 0.85
    tls_days: float = 21.0


@dataclass(frozen=True)
class Mysql:
    """A primary and its replicas as they are meant to be. `prefer` is the order of candidates for a failover."""

    hosts: tuple[Host, ...]
    username: str
    password: str = field(repr=False)
    cluster: str = "main"
    replication_username: Optional[str] = None
    replication_password: Optional[str] = field(default=None, repr=False)
    tls: Tls = field(default_factory=Tls)
    timeout_s: float = 3.0
    canary_database: str = "st2ha_canary"
    prefer: tuple[Host, ...] = ()
    block_s: float = 3600.0
    limits: MysqlLimits = field(default_factory=MysqlLimits)

    def replication_login(self) -> tuple[str, str]:
        """The replication user and its password, or BadInput that says where they belong."""
        if self.replication_username is None or self.replication_password is None:
            raise BadInput(
                "mysql has no `replication_username` and `replication_password_file`: no server can be made a replica "
                "without them, add them to the deployment"
            )
        return self.replication_username, self.replication_password


def parse(section: Section) -> Mysql:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "hosts", "username", "password", "password_file", "cluster", "replication_username", "replication_password",
        "replication_password_file", "tls", "timeout_s", "canary_database", "prefer", "block_s", "limits",
    )  # fmt: skip
    hosts = section.hosts("hosts", PORT)
    replication = section.optional_text("replication_username"), section.secret("replication_password")
    if (replication[0] is None) != (replication[1] is None):
        missing = "replication_password_file" if replication[1] is None else "replication_username"
        raise BadInput(f"{section.path} has no `{missing}`: give a replication user and its password, or neither")
    return Mysql(
        hosts=hosts,
        username=section.text("username"),
        password=_password(section),
        cluster=section.optional_text("cluster") or "main",
        replication_username=replication[0],
        replication_password=replication[1],
        tls=parse_tls(section),
        timeout_s=section.number("timeout_s", 3.0, low=0.05, high=600),
        canary_database=_identifier(section, "canary_database", "st2ha_canary"),
        prefer=_prefer(section, hosts),
        block_s=section.number("block_s", 3600.0, low=0, high=30 * 86_400),
        limits=_limits(section),
    )


def _password(section: Section) -> str:
    password = section.secret("password")
    if password is None:
        raise BadInput(f"{section.path} has no `password` or `password_file`: give the password of `username`")
    return password


def _identifier(section: Section, name: str, default: str) -> str:
    value = section.optional_text(name) or default
    if not value.replace("_", "a").isalnum() or len(value) > 64:
        raise BadInput(f"{section.at(name)} is {value[:60]!r}: use letters, digits and _ only")
    return value


def _prefer(section: Section, hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    if section.values.get("prefer") in (None, "", []):
        return ()
    preferred = section.hosts("prefer", PORT)
    for host in preferred:
        if host not in hosts:
            raise BadInput(f"{section.at('prefer')} names {str(host)!r}, which is not in {section.at('hosts')}")
    return preferred


def _limits(parent: Section) -> MysqlLimits:
    section, defaults = parent.optional_section("limits"), MysqlLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    shares = ("connections_used", "disk_used")
    numbers = {
        name: section.number(name, default, low=0, high=1 if name in shares else 1e9)
        for name, default in vars(defaults).items()
    }
    return MysqlLimits(**numbers)
