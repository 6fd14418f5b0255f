"""What is known of the VIP and of keepalived on each balancer: frozen, typed, parsed once from what the nodes said."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from st2ha.edge.vrrp.conf import Configuration, Instance, parse_conf
from st2ha.errors import HaError
from st2ha.probe import Silent


class State(enum.Enum):
    """keepalived's numbers for an instance's state (vrrp.h of 2.0 to 2.3)."""

    INIT = 0
    BACKUP = 1
    MASTER = 2
    FAULT = 3
    STOP = 97
    DELETED = 98


ERRORS = ("advert_interval_err", "authtype_mismatch", "auth_failure", "invalid_authtype", "addr_list_err", "ip_ttl_err")
"""Counters of adverts that were received and thrown away."""


@dataclass(frozen=True)
class Running:
    """One instance as the running keepalived tells it. `errors`: counters of thrown away adverts, those above 0."""

    name: str
    vrid: int
    state: Optional[State]
    base_priority: int
    priority: int
    advert_s: float
    nopreempt: bool
    sent: int
    received: int
    errors: Mapping[str, int] = field(default_factory=dict)
    since: float = 0.0  # epoch seconds of the last change of state, by the node's clock


@dataclass(frozen=True)
class Process:
    """A keepalived process; `letter` is the kernel's: T is stopped, D waits for a disk."""

    pid: int
    letter: str
    parent: int


@dataclass(frozen=True)
class Node:
    """A balancer that let us in. `running` is None where keepalived did not tell; `missing` says why."""

    name: str
    addresses: frozenset[str]
    links: Mapping[str, str] = field(default_factory=dict)  # address -> `/24 dev eth0`, as `ip address` wants it
    macs: Mapping[str, str] = field(default_factory=dict)  # interface -> its MAC
    processes: tuple[Process, ...] = ()
    running: Optional[tuple[Running, ...]] = None
    missing: str = ""
    hung: bool = False
    configuration: Configuration = field(default_factory=Configuration)
    config_path: str = ""

    @property
    def alive(self) -> bool:
        """Whether keepalived is there, whatever it does."""
        return bool(self.processes)

    @property
    def stopped(self) -> bool:
        """Whether its processes are, as after SIGSTOP."""
        return bool(self.processes) and all(each.letter in "Tt" for each in self.processes)

    def instance(self, vip: str) -> Optional[Instance]:
        return self.configuration.instance_of(vip)

    def now(self, vip: str) -> Optional[Running]:
        """The running instance of a VIP."""
        configured = self.instance(vip)
        found = [each for each in self.running or () if configured and each.name == configured.name]
        return found[0] if found else None


@dataclass(frozen=True)
class Sighting:
    """Who answered an ARP who-has for a VIP, asked from `where`: distinct MACs."""

    where: str
    macs: tuple[str, ...]


Answer = Union[Node, Silent]


@dataclass(frozen=True)
class Snapshot:
    """All that was read at `at` (epoch seconds), one answer per balancer, and by VIP what ARP showed, where it could.

    `services`: by balancer, and for the VIP by its address, why it does not serve; None where it does. Only a
    switchover asks. `switches`: by balancer the number in its switch file.
    """

    answers: Mapping[str, Answer]
    at: float
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    services: Mapping[str, Optional[str]] = field(default_factory=dict)
    switches: Mapping[str, Union[int, Silent, None]] = field(default_factory=dict)
    configured_vips: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(answer for answer in self.answers.values() if isinstance(answer, Node))

    @property
    def silent(self) -> dict[str, Silent]:
        return {name: answer for name, answer in self.answers.items() if isinstance(answer, Silent)}

    def node(self, name: str) -> Optional[Node]:
        answer = self.answers.get(name)
        return answer if isinstance(answer, Node) else None

    @property
    def vips(self) -> tuple[str, ...]:
        """Those of the pack's configuration, then those that keepalived manages."""
        managed = (vip for node in self.nodes for each in node.configuration.instances for vip in each.vips)
        return tuple(dict.fromkeys((*self.configured_vips, *managed)))

    def holders(self, vip: str) -> tuple[Node, ...]:
        """Balancers that have the address on an interface: the one fact that also finds an isolated or stale one."""
        return tuple(node for node in self.nodes if vip in node.addresses)

    def instances(self, vip: str) -> dict[str, Instance]:
        """By balancer, the instance that its configuration has for the VIP; without those that have none."""
        found = {node.name: node.instance(vip) for node in self.nodes}
        return {name: each for name, each in found.items() if each is not None}

    def rows(self) -> list[dict[str, Any]]:
        """The edge as a table: a row a balancer and VIP."""
        return [_row(self, name, vip) for vip in self.vips for name in self.answers]


def _row(snapshot: Snapshot, name: str, vip: str) -> dict[str, Any]:
    row: dict[str, Any] = {"balancer": name, "vip": vip, "holds": None, "keepalived": "?", "state": None}
    node = snapshot.node(name)
    if node is None:
        return {**row, "keepalived": snapshot.silent[name].kind.value}
    now = node.now(vip)
    word = "hung" if node.hung else "running" if node.alive else "dead"
    row.update(holds=vip in node.addresses, keepalived=word)
    if now is not None:
        row.update(
            state=now.state.name.lower() if now.state else None, priority=now.priority, adverts_sent=now.sent,
            adverts_received=now.received,
        )  # fmt: skip
    if name in snapshot.switches:
        number = snapshot.switches[name]
        row["switch"] = None if isinstance(number, Silent) else number
    return row


class Unreadable(HaError):
    """What a node said is no answer of our reader."""


def parse_node(name: str, token: str, said: str) -> Node:
    """A Node from what reader.sh wrote. Raises Unreadable where even the addresses are not there."""
    parts = _parts(token, said)
    links, macs = _addresses(parts.get("addresses", ""))
    files = {key.partition(" ")[2]: text for key, text in parts.items() if key.startswith("config ")}
    path = next((key.partition(" ")[2] for key in parts if key.startswith("main ")), "")
    config_id = parts.get("id", "").strip() or parts.get("host", "").strip()
    running, missing = None, " ".join(parts.get("dump_missing", "").split())
    if "dump" in parts:
        running, missing = _running(parts["dump"])
    processes = (key.split() for key in parts if key.startswith("process "))
    return Node(
        name=name,
        addresses=frozenset(links),
        links=links,
        macs=macs,
        processes=tuple(Process(int(pid), letter, int(parent)) for _, pid, letter, parent in processes),
        running=running,
        missing=missing,
        hung="hung" in parts,
        configuration=parse_conf(files, path, config_id),
        config_path=path,
    )


def _parts(token: str, said: str) -> dict[str, str]:
    """By heading, the text up to the next heading."""
    pieces = ("\n" + said).split(f"\n{token} ")[1:]
    pairs = (piece.partition("\n") for piece in pieces)
    return {heading.strip(): text[:-1] if text.endswith("\n") else text for heading, _, text in pairs}


def _addresses(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """By address its length and interface, and by interface its MAC, of `ip -j address`."""
    try:
        rows = json.loads(text)
        if not isinstance(rows, list):
            raise ValueError
        links = {
            each["local"]: f"/{each['prefixlen']} dev {row['ifname']}"
            for row in rows
            for each in row.get("addr_info", ())
            if "local" in each
        }
        return links, {row["ifname"]: str(row.get("address", "")) for row in rows if "ifname" in row}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unreadable("`ip -j address` gave no JSON: it needs iproute2 4.13 or newer") from None


def _running(text: str) -> tuple[Optional[tuple[Running, ...]], str]:
    """The instances of keepalived.json: a list, or since json_version 2 an object with the list under `vrrp`."""
    try:
        reply = json.loads(text)
        rows = reply.get("vrrp", ()) if isinstance(reply, dict) else reply
        return tuple(_instance(row["data"], row.get("stats") or {}) for row in rows), ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, "its JSON dump cannot be read"


def _instance(data: Mapping[str, Any], stats: Mapping[str, Any]) -> Running:
    state = int(data["state"])
    return Running(
        name=str(data["iname"]),
        vrid=int(data["vrid"]),
        state=State(state) if state in {each.value for each in State} else None,
        base_priority=int(data["base_priority"]),
        priority=int(data["effective_priority"]),
        advert_s=float(data.get("adver_int") or 0),
        nopreempt=bool(data.get("nopreempt")),
        sent=int(stats.get("advert_sent") or 0),
        received=int(stats.get("advert_rcvd") or 0),
        errors={name: int(stats[name]) for name in ERRORS if stats.get(name)},
        since=float(data.get("last_transition") or 0),
    )
