"""Balancers as facts, for unit tests: keepalived.conf as a site writes it, and what its keepalived would tell."""

from __future__ import annotations

import json
from typing import Any

from st2ha.edge.vrrp.facts import Answer, Node, Snapshot, parse_node
from st2ha.probe import Silence, Silent

VIP = "10.0.0.100"
TOKEN = "t0k3n"
ADDRESSES = {"lb1": "10.0.0.1", "lb2": "10.0.0.2", "lb3": "10.0.0.3"}
PRIORITIES = {"lb1": 150, "lb2": 100, "lb3": 50}
SCRIPT = ("interval 1", "timeout 1", "fall 2", "rise 2", "weight 0")
SWITCH = "track_file st2ha {\n file /run/switch\n weight 1\n init_file 0\n}"
UNSEEN = Silent(Silence.UNREACHABLE, "ssh did not get in: no route to host", 3.0)
STATES = {"backup": 1, "master": 2, "fault": 3}


def conf(name: str, *more: str, among: tuple[str, ...] = ("lb1", "lb2"), **other: Any) -> str:
    """A balancer's file. `other`: priority, advert, script lines, vrid, peers, switch (False: none), head."""
    peers = other.get("peers", [ADDRESSES[each] for each in among if each != name])
    script, switch = other.get("script", SCRIPT), other.get("switch", True)
    lines = [
        "global_defs {", f"vrrp_version {other.get('version', 3)}", "}", *other.get("head", ()),
        *(["vrrp_script nginx {", '  script "/usr/bin/true"', *script, "}"] if script else []),
        *([SWITCH] if switch else []),
        "vrrp_instance st2 {", "state BACKUP", "interface eth0", f"virtual_router_id {other.get('vrid', 51)}",
        f"priority {other.get('priority', PRIORITIES[name])}", f"advert_int {other.get('advert', 1)}",
        f"unicast_src_ip {ADDRESSES[name]}",
        *(["unicast_peer {", *peers, "}"] if peers else []),
        "virtual_ipaddress {", f"{VIP}/24", "}",
        *(["track_script {", "nginx", "}"] if script else []), *(["track_file {", "st2ha", "}"] if switch else []),
        *more, "}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def said(name: str, text: str, *, holds: bool, state: str, alive: bool = True, **other: Any) -> str:
    """What reader.sh writes on it. `other`: priority (effective), errors, hung, letter."""
    addresses = [ADDRESSES[name], *([VIP] if holds else [])]
    links = [
        {
            "ifname": "eth0",
            "address": f"02:00:00:00:00:0{name[-1]}",
            "addr_info": [{"local": a, "prefixlen": 24} for a in addresses],
        }
    ]
    parts = [("addresses", json.dumps(links)), ("host", name)]
    if alive:
        letter = other.get("letter", "S")
        parts += [(f"process 10 {letter} 1", ""), (f"process 11 {letter} 10", ""), ("parent 10", ""), ("id", "")]
    parts += [("main /etc/keepalived/keepalived.conf", ""), ("config /etc/keepalived/keepalived.conf", text)]
    if alive:
        parts.append(("dump_missing", ""))
        parts.append(("hung", "") if other.get("hung") else ("dump", json.dumps(dump(name, text, state, **other))))
    return "".join(f"\n{TOKEN} {heading}\n{body}\n" for heading, body in parts)


def dump(name: str, text: str, state: str, **other: Any) -> list[dict[str, Any]]:
    """keepalived.json."""
    words = text.split()
    base = int(words[words.index("priority") + 1])
    data = {
        "iname": "st2", "vrid": int(words[words.index("virtual_router_id") + 1]), "state": STATES[state],
        "base_priority": base, "effective_priority": other.get("priority", base),
        "adver_int": float(words[words.index("advert_int") + 1]), "nopreempt": "nopreempt" in words,
        "last_transition": 1.5,
    }  # fmt: skip
    return [{"data": data, "stats": {"advert_sent": 7, "advert_rcvd": 3, **other.get("errors", {})}}]


def node(name: str, text: str = "", **other: Any) -> Node:
    """One balancer; by default lb1 is the master and holds the VIP, the others are its backups."""
    first = name == "lb1"
    shown = {"holds": first, "state": "master" if first else "backup", **other}
    return parse_node(name, TOKEN, said(name, text or conf(name), **shown))


def edge(*nodes: Answer, **other: Any) -> Snapshot:
    """A snapshot; without nodes the healthy pair. An answer that is Silent is lb2's."""
    answers = {each.name if isinstance(each, Node) else "lb2": each for each in nodes or (node("lb1"), node("lb2"))}
    shown = {"switches": {name: 0 for name in answers}, "configured_vips": (VIP,), **other}
    return Snapshot(answers, 1000.0, **shown)
