"""From what haproxy and its files say to facts. Pure.

Numbers and columns are those of haproxy's management guide, `show servers state` and `show stat`.
"""

from __future__ import annotations

import csv
import ipaddress
import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from typing import Optional

from st2ha.edge.haproxy.facts import Line, Seen, Server, Slot

MAINTENANCE, DRAINED = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10
"""Bits of srv_admin_state: forced, inherited, by the file, without an address, by a changed name; drained."""
STOPPED = 0
"""srv_op_state of a server that its health check took out."""
SECTIONS = (
    "global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "cache",
    "program", "http-errors", "ring", "log-forward", "fcgi-app", "crt-store", "traces",
)  # fmt: skip
WORDS = 300


def parse_seen(found: Mapping[str, str], wanted: Collection[str]) -> Seen:
    """One balancer from the parts that its script printed. ValueError or KeyError where the socket told no servers."""
    rows, stats = _states(found["states"]), _stats(found["stat"])
    servers = tuple(
        _server(row, stats.get((row["be_name"], row["srv_name"]), {})) for row in rows if row["be_name"] in wanted
    )
    test = next(name for name in found if name.startswith("test "))
    return Seen(
        slots=tuple(each.slot for each in servers),
        former=parse_former(found.get("former", "")),
        has_vip="inet" in found["vip"],
        servers=servers,
        backends=frozenset(row["pxname"] for row in _csv(found["stat"]) if row.get("svname") == "BACKEND"),
        refusal=None if test in ("test 0", "test none") else _refusal(found[test]),
        conf=parse_conf(found["conf"]) if "conf" in found else None,
    )


def parse_former(text: str) -> tuple[Slot, ...]:
    """What a switch kept of the state before it."""
    try:
        return tuple(Slot(*each) for each in json.loads(text)) if text.strip() else ()
    except (ValueError, TypeError):
        return ()


def parse_conf(text: str) -> dict[str, dict[str, Line]]:
    """The servers of haproxy.cfg by backend."""
    found: dict[str, dict[str, Line]] = {}
    own: dict[str, Line] = {}
    for words in _lines(text):
        if words[0] in SECTIONS:
            own = {}
            if words[0] in ("backend", "listen") and len(words) > 1:
                found[words[1]] = own
        elif words[0] == "server" and len(words) > 2:
            own[words[1]] = Line(_address(words[2]), "disabled" in words[3:])
        elif words[0] == "server-template" and len(words) > 3:
            first, _, last = words[2].rpartition("-")
            if last.isdigit() and (first or "1").isdigit():
                for number in range(int(first or 1), int(last) + 1):
                    own[f"{words[1]}{number}"] = Line(None, "disabled" in words[4:])
    return found


def node_of(host: str) -> str:
    """A host as it stands before a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_address(address: str) -> bool:
    """Whether the host of `host:port` is an IP address and no name."""
    try:
        ipaddress.ip_address(address.rpartition(":")[0].strip("[]"))
        return True
    except ValueError:
        return False


def _server(row: Mapping[str, str], stat: Mapping[str, str]) -> Server:
    admin, node = int(row["srv_admin_state"]), f"{node_of(row['srv_addr'])}:{row['srv_port']}"
    off = bool(admin & MAINTENANCE)
    ill = None
    if not off and int(row["srv_op_state"]) == STOPPED:
        said = [stat.get("check_status", ""), stat.get("last_chk", "") or stat.get("check_desc", "")]
        ill = " ".join(word for word in said if word)[:WORDS] or "its health check fails"
    return Server(
        slot=Slot(row["be_name"], row["srv_name"], None if off else node),
        node=node,
        drained=bool(admin & DRAINED),
        ill=ill,
        checked=off or bool(stat.get("check_status")) or stat.get("status") not in ("no check", "DRAIN"),
        fqdn=None if row.get("srv_fqdn", "-") == "-" else row["srv_fqdn"],
    )


def _states(text: str) -> list[dict[str, str]]:
    """Rows by the columns that the line with `#` names. ValueError where there is none."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    names = next((line[1:] for line in lines if line[0] == "#" and "srv_admin_state" in line), None)
    if names is None:
        raise ValueError("no servers' state")
    return [dict(zip(names, line)) for line in lines if line[0] != "#" and len(line) > 1]


def _stats(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["pxname"], row["svname"]): row for row in _csv(text)}


def _csv(text: str) -> list[dict[str, str]]:
    lines = text.lstrip("# \n").splitlines()
    return [{name: value or "" for name, value in row.items() if name} for row in csv.DictReader(lines)]


def _lines(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a quote that is not closed: haproxy refuses the file, which is told
            words = line.split()
        if words:
            yield words


def _address(text: str) -> Optional[str]:
    """`node:port`; None without a port, and for what is no address of the network."""
    bare = text.partition("@")[2] if text.startswith(("ipv4@", "ipv6@")) else text
    host, _, port = bare.rpartition(":")
    return f"{node_of(host)}:{port}" if host and port.isdigit() and "@" not in host else None


def _refusal(words: str) -> str:
    """haproxy's own first complaint on one line."""
    lines = [line for line in words.splitlines() if "[ALERT]" in line] or words.splitlines()
    return " ".join(lines[0].split("config : ")[-1].split())[:WORDS] if lines else "it says nothing"
