"""The layer `stackstorm` of the configuration: where StackStorm's API is, as whom we ask it, what shall run where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import urlsplit

from st2ha.config import Host, Section
from st2ha.errors import BadInput
from st2ha.hosts import Door, door, parse_prefix

ST2_CONF = "/etc/st2/st2.conf"
PORTS = {"http": 80, "https": 443}

SINGLETONS = ("timer_engine", "garbagecollector")
"""Services of which one is wanted; their groups in StackStorm's service registry."""
EVERYWHERE = (
    "api", "auth", "stream", "actionrunner", "scheduler", "workflow_engine", "rulesengine", "notifier",
    "sensorcontainer",
)  # fmt: skip
"""Services that may run on every node, and do unless a node's `services` say otherwise."""
SERVICES = (*EVERYWHERE, *SINGLETONS)
ENDPOINTS = {"api": "/api", "auth": "/auth/v1", "stream": "/stream/v1"}
"""Services that answer HTTP, and their paths behind nginx (conf/nginx/st2.conf of StackStorm)."""


@dataclass(frozen=True)
class PlatformLimits:
    """From where a healthy number is a finding. Seconds that an execution may stay in a status: `*_s` of that name.

    `changing_s` is for pausing, resuming and canceling; `election_s` is MongoDB's default electionTimeoutMillis.
    """

    requested_s: float = 300.0
    scheduled_s: float = 300.0
    delayed_s: float = 3600.0
    running_s: float = 86_400.0
    paused_s: float = 604_800.0
    changing_s: float = 600.0
    trigger_s: float = 60.0
    clock_skew_s: float = 2.0
    election_s: float = 10.0


@dataclass(frozen=True)
class Url:
    """Where one service answers; `path` is what stands before the service's own paths."""

    text: str
    secure: bool
    host: Host
    path: str


@dataclass(frozen=True)
class PlatformNode:
    """One node of StackStorm. `hostname` is its name in the service registry; `prefix` leads inside, None: we may not.

    `endpoints`: service -> where it answers on this node, for those of api, auth and stream that may be asked.
    """

    name: str
    hostname: str
    services: tuple[str, ...] = EVERYWHERE
    endpoints: tuple[tuple[str, Url], ...] = ()
    prefix: Optional[tuple[str, ...]] = None
    st2_conf: tuple[str, ...] = (ST2_CONF,)

    def door(self) -> Door:
        """The way in; only for a node that has a prefix."""
        return door(self.prefix or (), {"name": self.name, "host": self.hostname})


@dataclass(frozen=True)
class Stackstorm:
    """`api_url` without /v1; one of `api_key` and `token`, or neither where the API asks for none.

    `nodes` is empty where nobody said which there are; `vip` are the services' addresses where users go.
    """

    api_url: str
    api_key: Optional[str] = field(default=None, repr=False)
    token: Optional[str] = field(default=None, repr=False)
    ca_file: Optional[str] = None
    timeout_s: float = 10.0
    nodes: tuple[PlatformNode, ...] = ()
    vip: tuple[tuple[str, Url], ...] = ()
    limits: PlatformLimits = field(default_factory=PlatformLimits)

    def login(self) -> dict[str, str]:
        """The header by which the API knows us."""
        if self.api_key is not None:
            return {"St2-Api-Key": self.api_key}
        return {} if self.token is None else {"X-Auth-Token": self.token}


def parse(section: Section) -> Stackstorm:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "api_url", "api_key", "api_key_file", "token", "token_file", "ca_file", "timeout_s", "nodes", "vip", "command",
        "limits",
    )  # fmt: skip
    api_key, token = section.secret("api_key"), section.secret("token")
    if api_key is not None and token is not None:
        raise BadInput(f"{section.path} has both an api_key and a token: keep the api_key, a token expires")
    return Stackstorm(
        api_url=_api_url(section),
        api_key=api_key,
        token=token,
        ca_file=section.file("ca_file"),
        timeout_s=section.number("timeout_s", 10.0, low=0.05, high=600),
        nodes=_nodes(section),
        vip=_behind_nginx(section, "vip") if section.optional_text("vip") else (),
        limits=_limits(section),
    )


def _api_url(section: Section) -> str:
    text = section.text("api_url").rstrip("/")
    if text.endswith("/v1"):
        text = text[:-3]
    _url(section, "api_url", text, "https://st2.example.com/api or http://127.0.0.1:9101")
    return text


def _url(section: Section, name: str, text: str, example: str) -> Url:
    try:
        parts = urlsplit(text)
        port = parts.port
        good = parts.scheme in PORTS and bool(parts.hostname) and port != 0
    except ValueError:
        good, port = False, None
    if not good or parts.username or parts.password or parts.query or parts.fragment:
        what = "an API" if name == "api_url" else f"a service ({name})"
        raise BadInput(f"{section.at(name)} is no address of {what}: write it like {example}, without a login")
    host = Host(str(parts.hostname), port or PORTS[parts.scheme])
    return Url(text, parts.scheme == "https", host, parts.path.rstrip("/"))


def _behind_nginx(section: Section, name: str) -> tuple[tuple[str, Url], ...]:
    """All three services behind one address."""
    text = section.text(name).rstrip("/")
    _url(section, name, text, "https://st2.example.com")
    return tuple((service, _url(section, name, text + path, "")) for service, path in ENDPOINTS.items())


def _nodes(parent: Section) -> tuple[PlatformNode, ...]:
    everywhere = parse_prefix(parent, "command")
    nodes: list[PlatformNode] = []
    for section in parent.sections("nodes"):
        section.known("name", "hostname", "url", "api_url", "auth_url", "stream_url", "services", "command", "st2_conf")
        own = parse_prefix(section, "command")
        name = section.text("name")
        node = PlatformNode(
            name=name,
            hostname=section.optional_text("hostname") or name,
            services=_services(section),
            endpoints=_endpoints(section),
            prefix=own if own is not None else everywhere,
            st2_conf=_paths(section),
        )
        for what in ("name", "hostname"):
            if getattr(node, what) in {getattr(each, what) for each in nodes}:
                raise BadInput(
                    f"{section.at(what)} is {getattr(node, what)!r}, which is used twice: name each node once"
                )
        nodes.append(node)
    return tuple(nodes)


def _endpoints(section: Section) -> tuple[tuple[str, Url], ...]:
    """By `url` all three behind the node's nginx; `api_url`, `auth_url` and `stream_url` where one answers directly."""
    found = dict(_behind_nginx(section, "url")) if section.optional_text("url") else {}
    for service in ENDPOINTS:
        text = section.optional_text(f"{service}_url")
        if text is not None:
            text = text.rstrip("/")
            short = text[:-3] if service == "api" and text.endswith("/v1") else text
            found[service] = _url(section, f"{service}_url", short, "http://10.0.0.1:9101")
    return tuple(found.items())


def _services(section: Section) -> tuple[str, ...]:
    value: Any = section.values.get("services")
    if value is None or value == [] or value == "":
        return EVERYWHERE
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"{section.at('services')} must be a list of services, for example [api, auth, stream]")
    for name in names:
        if name not in SERVICES:
            raise BadInput(f"{section.at('services')} has {name[:40]!r}: use {', '.join(SERVICES)}")
    return tuple(dict.fromkeys(names))


def _paths(section: Section) -> tuple[str, ...]:
    """Several files as --config-file options of the services have them: a later one wins."""
    paths = tuple(path.strip() for path in (section.optional_text("st2_conf") or ST2_CONF).split(","))
    for path in paths:
        if not path.startswith("/"):
            raise BadInput(f"{section.at('st2_conf')} has {path[:60]!r}: give absolute paths, separated by commas")
    return paths


def _limits(parent: Section) -> PlatformLimits:
    section, defaults = parent.optional_section("limits"), PlatformLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    return PlatformLimits(**{n: section.number(n, default, low=0, high=1e9) for n, default in vars(defaults).items()})
