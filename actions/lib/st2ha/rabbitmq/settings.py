"""The layer `rabbitmq` of a deployment as frozen dataclasses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

from st2ha.config import Host, Section, Tls, parse_tls
from st2ha.errors import BadInput
from st2ha.hosts import parse_prefix

API_PORTS = {False: 15672, True: 15671}
AMQP_PORTS = {False: 5672, True: 5671}
PARTITION_HANDLING = ("pause_minority", "autoheal", "ignore", "pause_if_all_down")
VERSION = re.compile(r"\d+(\.\d+){0,2}")


@dataclass(frozen=True)
class RabbitmqLimits:
    """From where a healthy number is a finding."""

    descriptors_used: float = 0.8
    backlog: float = 1000.0  # messages in one queue
    watch_queues: float = 50.0  # queues of StackStorm's watchers without a consumer
    imbalance: float = 1.5  # leaders on the fullest node against the mean
    tls_days: float = 21.0


@dataclass(frozen=True)
class Rabbitmq:
    """One cluster as it is meant to be; `hosts` are management listeners, `amqp_hosts` the same nodes' AMQP."""

    hosts: tuple[Host, ...]
    amqp_hosts: tuple[Host, ...]
    username: str
    password: str = field(repr=False)
    vhost: str = "/"
    stackstorm_user: Optional[str] = None
    tls: Tls = field(default_factory=Tls)
    timeout_s: float = 3.0
    partition_handling: Optional[str] = None
    upgrade_to: Optional[str] = None
    command: Optional[tuple[str, ...]] = None  # what stands before rabbitmqctl; {host} and {node} are filled in
    canary_queue: str = "st2ha.canary"
    limits: RabbitmqLimits = RabbitmqLimits()

    def amqp_of(self, host: Host) -> Host:
        """The AMQP listener of the node whose management listener is `host`."""
        return self.amqp_hosts[self.hosts.index(host)]


def parse(section: Section) -> Rabbitmq:
    """The layer from its section. BadInput names what is wrong."""
    section.known(
        "hosts", "amqp_hosts", "username", "password", "password_file", "vhost", "stackstorm_user", "tls", "timeout_s",
        "partition_handling", "upgrade_to", "command", "canary_queue", "limits",
    )  # fmt: skip
    tls = parse_tls(section)
    hosts = section.hosts("hosts", API_PORTS[tls.enabled])
    password = section.secret("password")
    if password is None:
        raise BadInput(f"{section.path} has no `password` or `password_file`: the management API asks for a login")
    return Rabbitmq(
        hosts=hosts,
        amqp_hosts=_amqp_hosts(section, hosts, AMQP_PORTS[tls.enabled]),
        username=section.text("username"),
        password=password,
        vhost=section.optional_text("vhost") or "/",
        stackstorm_user=section.optional_text("stackstorm_user"),
        tls=tls,
        timeout_s=section.number("timeout_s", 3.0, low=0.05, high=600),
        partition_handling=_one_of(section, "partition_handling", PARTITION_HANDLING),
        upgrade_to=_version(section, "upgrade_to"),
        command=parse_prefix(section, "command", ("host", "node")),
        canary_queue=section.optional_text("canary_queue") or "st2ha.canary",
        limits=_limits(section),
    )


def _amqp_hosts(section: Section, hosts: tuple[Host, ...], port: int) -> tuple[Host, ...]:
    if not section.values.get("amqp_hosts"):
        return tuple(Host(host.name, port) for host in hosts)
    found = section.hosts("amqp_hosts", port)
    if len(found) != len(hosts):
        raise BadInput(
            f"{section.at('amqp_hosts')} has {len(found)} entries, {section.at('hosts')} {len(hosts)}: "
            "list the same nodes in the same order, or leave amqp_hosts away"
        )
    return found


def _one_of(section: Section, name: str, known: tuple[str, ...]) -> Optional[str]:
    value = section.optional_text(name)
    if value is not None and value not in known:
        raise BadInput(f"{section.at(name)} is {value!r}: use one of {', '.join(known)}")
    return value


def _version(section: Section, name: str) -> Optional[str]:
    value = section.optional_text(name)
    if value is not None and VERSION.fullmatch(value) is None:
        raise BadInput(f"{section.at(name)} is {value!r}: write a version in quotes, for example '4.0'")
    return value


def _limits(parent: Section) -> RabbitmqLimits:
    section, defaults = parent.optional_section("limits"), RabbitmqLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    return RabbitmqLimits(
        **{
            name: section.number(name, default, low=0, high=1 if name == "descriptors_used" else 1e9)
            for name, default in vars(defaults).items()
        }
    )
