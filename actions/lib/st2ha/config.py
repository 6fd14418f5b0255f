"""The pack's configuration as frozen dataclasses, parsed once, every mistake named by its path."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from st2ha.errors import BadInput

if TYPE_CHECKING:
    from st2ha.auth.settings import Auth
    from st2ha.content.settings import Content
    from st2ha.edge.settings import Edge
    from st2ha.mysql.settings import Mysql
    from st2ha.partition.settings import Sensors
    from st2ha.platform.settings import Stackstorm
    from st2ha.rabbitmq.settings import Rabbitmq
    from st2ha.redis.settings import Redis
    from st2ha.upgrade.settings import Upgrade

MASKED = "********"
"""What StackStorm puts in a secret's place; a rerun sends it literally (facts: forms)."""


class Host(NamedTuple):
    """A server's address; prints as `name:port`, IPv6 as `[::1]:port`."""

    name: str
    port: int

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True)
class Tls:
    """How to speak TLS to a service; certificates are always verified, by name."""

    enabled: bool = False
    ca_file: Optional[str] = None
    certificate_key_file: Optional[str] = None


@dataclass(frozen=True)
class MongodbLimits:
    """From where a healthy number is a finding. Sources: Atlas' failover gate, the server's own defaults."""

    lag_s: float = 10.0
    oplog_window_s: float = 3 * 3600.0
    client_patience_s: float = 3.0  # StackStorm's server selection gives up after this
    clock_skew_s: float = 1.0
    connections_used: float = 0.8
    disk_used: float = 0.85
    tls_days: float = 21.0


@dataclass(frozen=True)
class Mongodb:
    """One replica set as it is meant to be."""

    hosts: tuple[Host, ...]
    replica_set: str
    username: Optional[str] = None
    password: Optional[str] = field(default=None, repr=False)
    auth_source: str = "admin"
    tls: Tls = Tls()
    timeout_s: float = 3.0
    canary_database: str = "st2ha_canary"
    reviewed_rollbacks: Mapping[str, int] = field(default_factory=dict)
    limits: MongodbLimits = MongodbLimits()


@dataclass(frozen=True)
class Deployment:
    """One StackStorm installation and the layers it stands on; a layer that is None is not configured."""

    name: str
    mongodb: Optional[Mongodb] = None
    mysql: Optional[Mysql] = None
    rabbitmq: Optional[Rabbitmq] = None
    redis: Optional[Redis] = None
    stackstorm: Optional[Stackstorm] = None
    sensors: Optional[Sensors] = None
    auth: Optional[Auth] = None
    upgrade: Optional[Upgrade] = None
    edge: Optional[Edge] = None
    content: Optional[Content] = None

    def require_mongodb(self) -> Mongodb:
        settings: Mongodb = self.require("mongodb")
        return settings

    def require(self, layer: str, timeout_s: Optional[float] = None) -> Any:
        """The settings of a layer, with the timeout of this run if one is given; BadInput if there is no such layer."""
        settings = getattr(self, layer)
        if settings is None:
            raise BadInput(
                f"deployment {self.name!r} has no layer `{layer}`: add it under deployments in the pack's configuration"
            )
        if timeout_s in (None, 0):
            return settings
        return replace(settings, timeout_s=number_in("parameter `timeout_s`", timeout_s, 0.05, 600))


PARSERS = {
    "mysql": "st2ha.mysql.settings",
    "rabbitmq": "st2ha.rabbitmq.settings",
    "redis": "st2ha.redis.settings",
    "stackstorm": "st2ha.platform.settings",
    "sensors": "st2ha.partition.settings",
    "auth": "st2ha.auth.settings",
    "upgrade": "st2ha.upgrade.settings",
    "edge": "st2ha.edge.settings",
    "content": "st2ha.content.settings",
}
"""Layer -> the module whose `parse(section)` makes its settings; imported only where the layer is configured."""


def select(config: Mapping[str, Any], name: Optional[str] = None) -> Deployment:
    """The deployment called `name`, else `default_deployment`, else the only one. BadInput if there is none."""
    root = Section(config, "configuration")
    root.known("deployments", "default_deployment", "lease")
    sections = root.sections("deployments")
    names = [section.text("name") for section in sections]
    for number, each in enumerate(names):
        if each in names[:number]:
            raise BadInput(f"deployments[{number}].name {each!r} is used twice: give each deployment a name of its own")
    wanted = name or root.optional_text("default_deployment") or (names[0] if len(names) == 1 else None)
    if not names:
        raise BadInput("the configuration has no `deployments`: copy ha.yaml.example to configs/ha.yaml and fill it in")
    if wanted is None:
        raise BadInput(
            f"parameter `deployment` is not given and no `default_deployment` is set: use one of {_list(names)}"
        )
    if wanted not in names:
        raise BadInput(f"deployment {wanted!r} is not configured: use one of {_list(names)}")
    deployment = _deployment(sections[names.index(wanted)])
    if deployment.sensors is not None and root.optional_section("lease") is not None:
        return replace(deployment, sensors=deployment.sensors.with_own_leased())
    return deployment


def _deployment(section: Section) -> Deployment:
    section.known("name", "mongodb", *PARSERS)
    mongodb = section.optional_section("mongodb")
    others = {layer: part for layer in PARSERS if (part := section.optional_section(layer)) is not None}
    parsed = {layer: importlib.import_module(PARSERS[layer]).parse(part) for layer, part in others.items()}
    return Deployment(section.text("name"), _mongodb(mongodb) if mongodb else None, **parsed)


def _mongodb(section: Section) -> Mongodb:
    section.known(
        "hosts", "replica_set", "username", "password", "password_file", "auth_source", "tls", "timeout_s",
        "canary_database", "reviewed_rollbacks", "limits",
    )  # fmt: skip
    username, password = section.optional_text("username"), section.secret("password")
    if (username is None) != (password is None):
        missing = "password` or `password_file" if password is None else "username"
        raise BadInput(f"{section.path} has no `{missing}`: give a username and a password, or neither")
    return Mongodb(
        hosts=section.hosts("hosts"),
        replica_set=section.text("replica_set"),
        username=username,
        password=password,
        auth_source=section.optional_text("auth_source") or "admin",
        tls=parse_tls(section),
        timeout_s=section.number("timeout_s", 3.0, low=0.05, high=600),
        canary_database=section.optional_text("canary_database") or "st2ha_canary",
        reviewed_rollbacks=section.counts("reviewed_rollbacks"),
        limits=_limits(section),
    )


def parse_tls(parent: Section) -> Tls:
    """The `tls` part of a layer."""
    section = parent.optional_section("tls")
    if section is None:
        return Tls()
    section.known("enabled", "ca_file", "certificate_key_file")
    return Tls(
        enabled=section.flag("enabled", False),
        ca_file=section.file("ca_file"),
        certificate_key_file=section.file("certificate_key_file"),
    )


def _limits(parent: Section) -> MongodbLimits:
    section = parent.optional_section("limits")
    if section is None:
        return MongodbLimits()
    defaults = MongodbLimits()
    shares = ("connections_used", "disk_used")
    section.known(*vars(defaults))
    return MongodbLimits(
        **{
            name: section.number(name, default, low=0, high=1 if name in shares else 1e9)
            for name, default in vars(defaults).items()
        }
    )


class Section:
    """A mapping of the configuration that knows its path, so that each mistake can be named."""

    def __init__(self, values: Any, path: str) -> None:
        if not isinstance(values, Mapping):
            raise BadInput(f"{path} is {_shown(values)}: it must be a mapping of names to values")
        self.values = values
        self.path = path

    def at(self, name: str) -> str:
        """Where a setting is, on one line whatever its name holds."""
        name = name if name.isprintable() else repr(name)
        return name if self.path == "configuration" else f"{self.path}.{name}"

    def known(self, *names: str) -> None:
        """Refuse a misspelt name instead of ignoring it."""
        for name in self.values:
            if name not in names:
                import difflib  # only for a mistake: it costs every action 3 ms

                close = difflib.get_close_matches(str(name), names, 1)
                hint = f"did you mean `{close[0]}`?" if close else f"known here: {', '.join(names)}"
                one_line = " ".join(str(name).split())  # a name may hold a line end, a message may not
                raise BadInput(f"{self.at(one_line)} is not a setting: {hint}")

    def optional_text(self, name: str) -> Optional[str]:
        value = self.values.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise BadInput(f"{self.at(name)} is {_shown(value)}: it must be text")
        return value

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise BadInput(f"{self.at(name)} is missing: set it in the pack's configuration")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise BadInput(f"{self.at(name)} is {_shown(value)}: it must be true or false")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.values.get(name)
        return default if value is None else number_in(self.at(name), value, low, high)

    def counts(self, name: str) -> dict[str, int]:
        section = self.optional_section(name)
        if section is None:
            return {}
        return {str(key): int(section.number(key, 0, low=0, high=1e9)) for key in section.values}

    def optional_section(self, name: str) -> Optional[Section]:
        """The mapping under `name`; None also for an empty one, which StackStorm makes up where the schema has it."""
        value = self.values.get(name)
        return None if hollow(value) else Section(value, self.at(name))

    def sections(self, name: str) -> list[Section]:
        value = self.values.get(name) or []
        if not isinstance(value, list):
            raise BadInput(f"{self.at(name)} is {_shown(value)}: it must be a list")
        return [Section(item, f"{self.at(name)}[{number}]") for number, item in enumerate(value)]

    def file(self, name: str) -> Optional[str]:
        path = self.optional_text(name)
        if path is not None and not os.path.isfile(path):
            raise BadInput(f"{self.at(name)} is {path!r}: no such file; give a path this node can read")
        return path

    def hosts(self, name: str, default_port: int = 27017) -> tuple[Host, ...]:
        value = self.values.get(name)
        if value is None or value == "" or value == []:
            raise BadInput(f"{self.at(name)} is empty: list the members as host:port")
        return parse_hosts(value, self.at(name), default_port)

    def secret(self, name: str) -> Optional[str]:
        """The value of `name`, or the first line of the file that `<name>_file` names."""
        value, path = self.values.get(name), self.optional_text(f"{name}_file")
        if value in (None, ""):
            return None if path is None else read_secret(path, self.at(f"{name}_file"))
        if path is not None:
            raise BadInput(f"{self.at(name)} and {self.at(name)}_file are both given: keep the file")
        if not isinstance(value, str):
            raise BadInput(f"{self.at(name)} is no text: quote it in the configuration")
        if value == MASKED:
            raise BadInput(f"{self.at(name)} is {MASKED}, the mask of a secret and not its value: enter it again")
        return value


def read_secret(path: str, where: str) -> str:
    """The first line of a file, without its end of line; its content is never part of a message."""
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(f"{where} is {path!r}: cannot be read ({reason}); make it readable to this user") from None
    if not secret:
        raise BadInput(f"{where} is {path!r}: the file is empty; put the secret on its first line")
    return secret


def parse_hosts(value: Any, where: str, default_port: int = 27017) -> tuple[Host, ...]:
    """`a:1, b:2` or a list of such, each host once."""
    items = value if isinstance(value, list) else str(value).split(",") if isinstance(value, str) else None
    if items is None:
        raise BadInput(f"{where} is {_shown(value)}: give host:port, separated by commas, or a list of them")
    hosts = tuple(parse_host(item, f"{where}[{number}]", default_port) for number, item in enumerate(items))
    for number, host in enumerate(hosts):
        if host in hosts[:number]:
            raise BadInput(f"{where}[{number}] is {str(host)!r}, which is listed twice: name each server once")
    return hosts


def parse_host(value: Any, where: str, default_port: int = 27017) -> Host:
    """`name`, `name:port`, `1.2.3.4:port` or `[::1]:port`."""
    text = value.strip() if isinstance(value, str) else ""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9_][A-Za-z0-9_.-]*))(?::(\d{1,9}))?", text)
    if match is None:
        raise BadInput(f"{where} is {_shown(value)}: write it as host:port, for example mongo1.example.com:27017")
    port = int(match[3]) if match[3] else default_port
    if not 1 <= port <= 65535:
        raise BadInput(f"{where} is {_shown(text)}: the port must be between 1 and 65535")
    return Host((match[1] or match[2]).lower(), port)


def number_in(where: str, value: Any, low: float, high: float) -> float:
    """`value` as a float, or BadInput unless it is a number from low to high."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadInput(f"{where} is {_shown(value)}: it must be a number")
    if not low <= value <= high:
        raise BadInput(f"{where} is {_shown(value)}: it must be between {low:g} and {high:g}")
    return float(value)


def hollow(value: Any) -> bool:
    """Whether nothing was given: StackStorm makes up {} and [] where the schema has an object or an array."""
    return all(map(hollow, value.values())) if isinstance(value, Mapping) else value is None or value == []


def _shown(value: Any) -> str:
    """A value as a message may show it: short, and never where a secret may be: in a mapping, a list or a URL."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str) and "@" in value:
        return "a text with @ in it (not shown: a password may be in it)"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _list(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
