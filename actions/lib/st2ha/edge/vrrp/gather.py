"""Read every balancer at once, each within its own deadline, and ask by ARP meanwhile. What is silent is a fact.

One command a node (reader.sh, handed over on standard input): a way in costs more than all that it reads.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Union

from st2ha.edge.vrrp import arp
from st2ha.edge.vrrp.facts import Answer, Node, Sighting, Snapshot, Unreadable, parse_node
from st2ha.edge.vrrp.settings import Vrrp
from st2ha.errors import (
    CommandTimedOut,
    HostError,
    HostNotTrusted,
    HostUnreachable,
    LoginRefused,
    NotPermitted,
)
from st2ha.hosts import Door, door
from st2ha.probe import Attempt, Silence, Silent, Unanswered, ask_all

READER = Path(__file__).with_name("reader.sh")
SHARE = 0.9
"""Of a node's deadline, what its command may take: the fact then tells why, rather than that nobody answered."""
DUMP_SHARE = 0.3
"""Of a node's deadline, how long keepalived may take to write its dump: one that hangs must not cost the addresses."""
ARP_S = 0.3
HERE, WITNESS = "this node", "the witness"

Probe = Callable[[Attempt], None]
"""Whether a place serves: raises what ask_all makes a Silent of, if it does not."""


@dataclass(frozen=True)
class Site:
    """The edge as this part sees it: doors by balancer (None: we may not look inside), the VIPs, who asks what."""

    doors: Mapping[str, Optional[Door]]
    vips: tuple[str, ...]
    timeout_s: float
    vrrp: Vrrp
    probes: Mapping[str, Probe]


def gather(site: Site, services: bool = False) -> Snapshot:
    """All facts, in about one deadline. With `services` also who serves, and what is in the switch files."""
    at = time.time()
    targets: list[tuple[str, str]] = [("node", name) for name in site.doors]
    targets += [("arp", vip) for vip in site.vips]
    targets += [("service", name) for name in site.probes] if services else []
    answers = ask_all(targets, lambda target, attempt: _ask(site, target, attempt), site.timeout_s)
    nodes: dict[str, Answer] = {}
    sightings: dict[str, Sighting] = {}
    serving: dict[str, Optional[str]] = {}
    for (kind, name), answer in answers.items():
        if kind == "node" and isinstance(answer, (Node, Silent)):
            nodes[name] = answer
        elif kind == "arp" and isinstance(answer, Sighting):
            sightings[name] = answer
        elif kind == "service":
            serving[name] = answer.reason if isinstance(answer, Silent) else None
    snapshot = Snapshot(nodes, at, sightings, serving, {}, site.vips)
    return _with_switches(site, snapshot) if services else snapshot


def _ask(site: Site, target: tuple[str, str], attempt: Attempt) -> Union[Node, Sighting, None]:
    kind, name = target
    if kind == "node":
        return read_node(site, name, attempt)
    if kind == "arp":
        return sight(site.vrrp, name, attempt)
    site.probes[name](attempt)
    return None


def read_node(site: Site, name: str, attempt: Attempt) -> Node:
    """One balancer, by one command in it. Unanswered says what was in the way."""
    way = site.doors[name]
    if way is None:
        raise Unanswered(Silence.DENIED, "edge.command is not set: nobody looks inside")
    token = secrets.token_hex(8)
    tenths = max(1, int(attempt.left_s() * DUMP_SHARE * 10))
    words = ["sh", "-s", "--", token, site.vrrp.config_file, site.vrrp.dump_directory, str(tenths)]
    try:
        said = way.run(words, attempt.left_s() * SHARE, stdin=READER.read_bytes())
        return parse_node(name, token, said.decode("utf-8", "surrogateescape"))
    except HostUnreachable as error:
        raise Unanswered(Silence.UNREACHABLE, str(error)) from None
    except CommandTimedOut as error:
        raise Unanswered(Silence.HUNG, str(error)) from None
    except (HostNotTrusted, LoginRefused, NotPermitted) as error:
        raise Unanswered(Silence.DENIED, str(error)) from None
    except (HostError, Unreadable) as error:
        raise Unanswered(Silence.BROKEN, str(error)) from None


def sight(vrrp: Vrrp, vip: str, attempt: Attempt) -> Sighting:
    """The MACs that answer for a VIP, asked from here, or from the witness where one is configured."""
    try:
        if not vrrp.witness:
            return Sighting(HERE, tuple(arp.who_has(vip, min(ARP_S, attempt.left_s() / 2))))
        witness = door(vrrp.witness, {})
        source = Path(arp.__file__).read_bytes()
        said = witness.run(["python3", "-", vip, str(ARP_S)], attempt.left_s() * SHARE, stdin=source)
        return Sighting(WITNESS, tuple(said.decode("ascii", "replace").split()))
    except (arp.NotHere, HostError) as error:
        raise Unanswered(Silence.BROKEN, str(error)) from None


def switch_paths(site: Site, snapshot: Snapshot, vip: str) -> dict[str, str]:
    """By balancer the path of the switch file that the VIP's instance tracks; without those that track none."""
    found = {}
    for name, instance in snapshot.instances(vip).items():
        for file in instance.files:
            if file.name == site.vrrp.switch and file.path:
                found[name] = file.path
    return found


def _with_switches(site: Site, snapshot: Snapshot) -> Snapshot:
    """The numbers in the switch files of the first VIP's instances: that is the one that is moved."""
    paths = switch_paths(site, snapshot, site.vips[0]) if site.vips else {}
    numbers = ask_all(list(paths), lambda name, attempt: _number(site, name, paths[name], attempt), site.timeout_s)
    return Snapshot(
        snapshot.answers, snapshot.at, snapshot.sightings, snapshot.services, numbers, snapshot.configured_vips
    )


def _number(site: Site, name: str, path: str, attempt: Attempt) -> Optional[int]:
    """None for an empty file; keepalived takes that for 0."""
    way = site.doors[name]
    if way is None:
        raise Unanswered(Silence.DENIED, "edge.command is not set")
    try:
        text = way.run(["cat", "--", path], attempt.left_s() * SHARE, output_limit=4096).decode("ascii")
        return int(text) if text.strip() else None
    except (HostError, ValueError) as error:
        words = str(error) if isinstance(error, HostError) else f"{path} holds no number"
        raise Unanswered(Silence.BROKEN, words) from None


def holders_of(site: Site, vip: str, names: Sequence[str]) -> Mapping[str, Union[bool, Silent]]:
    """Whether each of the balancers has the VIP, by addresses alone: for a wait's short looks."""

    def ask(name: str, attempt: Attempt) -> bool:
        way = site.doors[name]
        if way is None:
            raise Unanswered(Silence.DENIED, "edge.command is not set")
        try:
            said = way.run(["ip", "-o", "address"], attempt.left_s() * SHARE).decode("utf-8", "replace")
        except HostError as error:
            raise Unanswered(Silence.BROKEN, str(error)) from None
        return any(word.partition("/")[0] == vip for word in said.split())

    return ask_all(list(names), ask, site.timeout_s)
