"""Who has this address? Asked by ARP, counting distinct MACs: `arp.py ADDRESS [SECONDS]` prints one a line.

A split brain is invisible to HTTP: each client reaches one holder and is content. Both holders answer a who-has. Needs
Linux and CAP_NET_RAW, and to be on the address's link. It stands alone, so that it also runs on a third host, from
standard input: hence nothing of the pack and nothing newer than Python 3.7 in it. An IPv6 address is asked for by
neighbour discovery in the same manner.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from typing import Callable, Optional

WAIT_S = 0.3
ETH_P_ARP, REQUEST, REPLY = 0x0806, 1, 2
SIOCGIFHWADDR, SIOCGIFADDR = 0x8927, 0x8915
FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
BROADCAST, NOBODY = b"\xff" * 6, b"\0" * 6
SOLICITATION, ADVERTISEMENT, OWN_MAC, TARGET_MAC = 135, 136, b"\x01\x01", b"\x02\x01"
SOLICITED_NODE = b"\xff\x02" + b"\0" * 9 + b"\x01\xff"
SO_BINDTODEVICE = 25


class NotHere(Exception):
    """The question cannot be asked from here; the message says why."""


def who_has(address: str, wait_s: float = WAIT_S) -> list[str]:
    """The distinct MACs that answer within `wait_s`, asked twice meanwhile. Raises NotHere."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        wanted = socket.inet_pton(family, address)
    except (OSError, ValueError):
        raise NotHere(f"{address!r} is no address") from None
    interface = on_link(address)
    try:
        mac, own = _identity(interface)
        if family == socket.AF_INET6:
            with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as link:
                link.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode() + b"\0")
                link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)  # less is thrown away
                nodes = socket.inet_ntop(family, SOLICITED_NODE + wanted[13:])
                to = (nodes, 0, 0, socket.if_nametoindex(interface))
                question = struct.pack("!BxHI", SOLICITATION, 0, 0) + wanted + OWN_MAC + mac
                return _collected(
                    link, lambda: link.sendto(question, to), lambda message: _neighbour(message, wanted), wait_s
                )
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as link:
            link.bind((interface, ETH_P_ARP))
            question = FRAME.pack(BROADCAST, mac, ETH_P_ARP, 1, 0x0800, 6, 4, REQUEST, mac, own, NOBODY, wanted)
            return _collected(link, lambda: link.send(question), lambda frame: _sender(frame, wanted), wait_s)
    except OSError as error:
        raise NotHere(f"no raw socket: {error.strerror}") from None


def on_link(address: str) -> str:
    """The interface behind which the address is; NotHere if a router is between, or it is our own."""
    try:
        done = subprocess.run(["ip", "-j", "route", "get", address], capture_output=True, timeout=5, check=True)
        route = json.loads(done.stdout.decode())[0]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        raise NotHere(f"there is no route to {address}") from None
    if route.get("type") == "local":
        raise NotHere(f"this host has {address} itself")
    if "gateway" in route or "via" in route:
        raise NotHere(f"this host is not on the link of {address}")
    return str(route["dev"])


def _identity(interface: str) -> tuple[bytes, bytes]:
    """MAC and IPv4 address of an interface; without an address it asks as 0.0.0.0, as a probe does."""
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        mac = fcntl.ioctl(asking.fileno(), SIOCGIFHWADDR, request)[18:24]
        try:
            return mac, fcntl.ioctl(asking.fileno(), SIOCGIFADDR, request)[20:24]
        except OSError:
            return mac, b"\0" * 4


def _collected(
    link: socket.socket, ask: Callable[[], object], mac_of: Callable[[bytes], Optional[str]], wait_s: float
) -> list[str]:
    """Every reply until the end: a second holder answers after the first one."""
    found: set[str] = set()
    end = time.monotonic() + wait_s
    for share in (0.5, 1.0):
        ask()
        until = end - wait_s * (1.0 - share)
        while time.monotonic() < until:
            link.settimeout(max(0.001, until - time.monotonic()))
            mac = mac_of(_received(link))
            if mac:
                found.add(mac)
    return sorted(found)


def _received(link: socket.socket) -> bytes:
    try:
        return link.recv(128)
    except socket.timeout:
        return b""


def _sender(frame: bytes, wanted: bytes) -> Optional[str]:
    """The MAC that claims the address by a reply, or announces it (gratuitous ARP)."""
    if len(frame) < FRAME.size:
        return None
    fields = FRAME.unpack(frame[: FRAME.size])
    operation, mac, address = fields[7], fields[8], fields[9]
    if operation not in (REQUEST, REPLY) or address != wanted or mac == NOBODY:
        return None
    return ":".join(f"{byte:02x}" for byte in mac)


def _neighbour(message: bytes, wanted: bytes) -> Optional[str]:
    """The MAC in an advertisement of the address (RFC 4861, 4.4)."""
    if len(message) < 24 or message[0] != ADVERTISEMENT or message[8:24] != wanted:
        return None
    options = message[24:]
    while len(options) >= 8 and options[1]:
        if options[:2] == TARGET_MAC:
            return ":".join(f"{byte:02x}" for byte in options[2:8])
        options = options[8 * options[1] :]
    return None


def main(words: list[str]) -> int:
    """Exit code 0, whoever answers; 1 with the reason where it cannot be asked."""
    try:
        for mac in who_has(words[0], float(words[1]) if len(words) > 1 else WAIT_S):
            print(mac)
    except NotHere as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
