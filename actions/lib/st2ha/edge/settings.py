"""The layer `edge` of the configuration: load balancers, their VIP, and the groups of StackStorm nodes behind them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from st2ha.config import Section
from st2ha.edge.vrrp.settings import Vrrp, parse_vrrp
from st2ha.errors import BadInput
from st2ha.hosts import Door, door, parse_prefix

UPSTREAMS: Mapping[str, int] = {"st2web": 80, "st2auth": 9100, "st2api": 9101, "st2stream": 9102}
"""Upstream -> the port of its service on a StackStorm node."""
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\]")


@dataclass(frozen=True)
class Balancer:
    """A load balancer; `prefix` leads inside, None: we may not look there."""

    name: str
    address: str
    prefix: Optional[tuple[str, ...]] = None

    def door(self) -> Door:
        """The way in; only for a balancer that has a prefix."""
        return door(self.prefix or (), {"name": self.name, "host": self.address})


@dataclass(frozen=True)
class EdgeLimits:
    """From where a healthy number is a finding."""

    tls_days: float = 21.0
    linger_s: float = 600.0  # an old worker that still has clients so long after a reload


@dataclass(frozen=True)
class Nginx:
    """Where nginx keeps its things on each balancer.

    `upstreams_file` is the pack's own: upstreams and the marker. With `site_file` upstreams that the site's file has
    stay there, and its server lines are edited; a `proxy_pass` to a service itself is made to name an upstream of ours.
    """

    upstreams_file: str = "/etc/nginx/conf.d/st2ha_upstreams.conf"
    site_file: Optional[str] = None
    program: str = "nginx"
    config_file: str = "/etc/nginx/nginx.conf"
    pid_file: str = "/run/nginx.pid"
    error_log: str = "/var/log/nginx/error.log"
    marker_port: int = 8099
    reload_s: float = 5.0  # until a reload must be seen

    @property
    def files(self) -> tuple[str, ...]:
        """What a switch writes, in this order."""
        return (self.upstreams_file,) if self.site_file is None else (self.upstreams_file, self.site_file)


@dataclass(frozen=True)
class Haproxy:
    """haproxy's runtime socket on each balancer, of level admin; socat talks to it there. `config_file` is its own."""

    socket: str = "/run/haproxy/admin.sock"
    config_file: str = "/etc/haproxy/haproxy.cfg"
    program: str = "/usr/sbin/haproxy"
    state_file: str = "/var/lib/haproxy/st2ha-former"


@dataclass(frozen=True)
class Edge:
    """The edge as it is meant to be. `tls`: whether clients come by https; `port` is where."""

    balancers: tuple[Balancer, ...]
    vip: Optional[str] = None
    host_name: Optional[str] = None
    tls: bool = True
    ca_file: Optional[str] = None
    port: int = 443
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    upstreams: Mapping[str, int] = field(default_factory=lambda: dict(UPSTREAMS))
    timeout_s: float = 5.0
    nginx: Optional[Nginx] = None
    haproxy: Optional[Haproxy] = None
    vrrp: Vrrp = field(default_factory=Vrrp)
    limits: EdgeLimits = field(default_factory=EdgeLimits)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where clients may come in: each balancer, and the VIP under the name `vip`."""
        found = {each.name: each.address for each in self.balancers}
        return found if self.vip is None else {**found, "vip": self.vip}

    def balancer(self, name: str) -> Balancer:
        return next(each for each in self.balancers if each.name == name)

    def group_of(self, address: str) -> Optional[str]:
        """The group that has this node."""
        return next((name for name, nodes in self.groups.items() if address in nodes), None)


def parse(section: Section) -> Edge:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known(
        "balancers", "command", "vip", "host_name", "tls", "port", "groups", "upstreams", "timeout_s", "nginx",
        "haproxy", "vrrp", "limits",
    )  # fmt: skip
    tls = section.optional_section("tls")
    if tls is not None:
        tls.known("enabled", "ca_file")
    enabled = tls is None or tls.flag("enabled", True)
    return Edge(
        balancers=_balancers(section),
        vip=_vip(section),
        host_name=section.optional_text("host_name"),
        tls=enabled,
        ca_file=tls.file("ca_file") if tls is not None else None,
        port=int(section.number("port", 443 if enabled else 80, low=1, high=65535)),
        groups=_groups(section),
        upstreams=_upstreams(section),
        timeout_s=section.number("timeout_s", 5.0, low=0.05, high=600),
        nginx=_nginx(section),
        haproxy=_haproxy(section),
        vrrp=parse_vrrp(section),
        limits=_limits(section),
    )


def _balancers(parent: Section) -> tuple[Balancer, ...]:
    everywhere = parse_prefix(parent, "command")
    found: list[Balancer] = []
    for section in parent.sections("balancers"):
        section.known("name", "address", "command")
        own = parse_prefix(section, "command")
        each = Balancer(section.text("name"), section.text("address"), own if own is not None else everywhere)
        if WORD.fullmatch(each.name) is None or each.name == "vip":
            raise BadInput(f"{section.at('name')} is {each.name[:60]!r}: give a plain host name other than `vip`")
        if each.name in (other.name for other in found):
            raise BadInput(f"{section.at('name')} is {each.name!r}, which is used twice: give each its own name")
        if NODE.fullmatch(each.address) is None:
            raise BadInput(f"{section.at('address')} is {each.address[:60]!r}: give an address without a port")
        found.append(each)
    if not found:
        raise BadInput(f"{parent.at('balancers')} is empty: list each load balancer with its name and address")
    return tuple(found)


def _vip(section: Section) -> Optional[str]:
    text = section.optional_text("vip")
    if text is None:
        return None
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadInput(f"{section.at('vip')} is {text[:60]!r}: give the virtual IP address") from None


def _groups(parent: Section) -> dict[str, tuple[str, ...]]:
    section = Section(parent.values.get("groups") or {}, parent.at("groups"))  # an empty group is told, not passed over
    found: dict[str, tuple[str, ...]] = {}
    for name, value in section.values.items():
        where = section.at(str(name))
        nodes = value if isinstance(value, list) else str(value or "").split(",")
        texts = tuple(str(node).strip() for node in nodes if str(node).strip())
        if WORD.fullmatch(str(name)) is None:
            raise BadInput(f"{section.path} has a group {str(name)[:60]!r}: give it a plain word as its name")
        if not texts:
            raise BadInput(f"{where} is empty: list the addresses of its StackStorm nodes")
        for text in texts:
            if NODE.fullmatch(text) is None:
                raise BadInput(f"{where} holds {text[:60]!r}: give addresses or host names of nodes, without ports")
        if len(set(texts)) < len(texts):
            raise BadInput(f"{where} lists a node twice: name each once")
        found[str(name)] = texts
    return found


def _upstreams(parent: Section) -> dict[str, int]:
    section = parent.optional_section("upstreams")
    if section is None:
        return dict(UPSTREAMS)
    for name in section.values:
        if WORD.fullmatch(str(name)) is None:
            raise BadInput(f"{section.path} has an upstream {str(name)[:60]!r}: write its name as in nginx")
    return {str(name): int(section.number(name, 0, low=1, high=65535)) for name in section.values}


def _nginx(parent: Section) -> Optional[Nginx]:
    section, defaults = parent.optional_section("nginx"), Nginx()
    if section is None:
        return None
    section.known(*vars(defaults))
    site = section.optional_text("site_file")
    return Nginx(
        upstreams_file=_path(section, "upstreams_file", defaults.upstreams_file),
        site_file=_path(section, "site_file", "") if site else None,
        program=section.optional_text("program") or defaults.program,
        config_file=_path(section, "config_file", defaults.config_file),
        pid_file=_path(section, "pid_file", defaults.pid_file),
        error_log=_path(section, "error_log", defaults.error_log),
        marker_port=int(section.number("marker_port", defaults.marker_port, low=1, high=65535)),
        reload_s=section.number("reload_s", defaults.reload_s, low=0.1, high=300),
    )


def _haproxy(parent: Section) -> Optional[Haproxy]:
    section, defaults = parent.optional_section("haproxy"), Haproxy()
    if section is None:
        return None
    section.known(*vars(defaults))
    return Haproxy(**{name: _path(section, name, default) for name, default in vars(defaults).items()})


def _path(section: Section, name: str, default: str) -> str:
    path = section.optional_text(name) or default
    if not path.startswith("/") or any(sign in path for sign in "\n\0"):
        raise BadInput(f"{section.at(name)} is {path[:60]!r}: give an absolute path")
    return path


def _limits(parent: Section) -> EdgeLimits:
    section, defaults = parent.optional_section("limits"), EdgeLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    return EdgeLimits(
        **{name: section.number(name, default, low=0, high=1e9) for name, default in vars(defaults).items()}
    )
