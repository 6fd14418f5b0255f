"""Who has this address? Asked by ARP, counting distinct MACs: `arp.py ADDRESS [SECONDS]` prints one a line.

A split brain is invisible to HTTP: each client reaches one holder and is content. Both holders answer a who-has. Needs
Linux and CAP_NET_RAW, and to be on the address's link. It stands alone, so that it also runs on a third host, from
standard input: hence nothing of the pack and nothing newer than Python 3.7 in it.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import time
from typing import Optional

WAIT_S = 0.3
ETH_P_ARP, REQUEST, REPLY = 0x0806, 1, 2
SIOCGIFHWADDR, SIOCGIFADDR = 0x8927, 0x8915
FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
BROADCAST, NOBODY = b"\xff" * 6, b"\0" * 6


class NotHere(Exception):
    """The question cannot be asked from here; the message says why."""


def who_has(address: str, wait_s: float = WAIT_S) -> list[str]:
    """The distinct MACs that answer within `wait_s`, asked twice meanwhile. Raises NotHere."""
    try:
        wanted = socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        raise NotHere("ARP is for IPv4 only") from None
    interface = on_link(address)
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP)) as link:
            link.bind((interface, ETH_P_ARP))
            mac, own = _identity(interface)
            question = FRAME.pack(BROADCAST, mac, ETH_P_ARP, 1, 0x0800, 6, 4, REQUEST, mac, own, NOBODY, wanted)
            return sorted(_answers(link, question, wanted, wait_s))
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


def _answers(link: socket.socket, question: bytes, wanted: bytes, wait_s: float) -> set[str]:
    """Every reply until the end: a second holder answers after the first one."""
    found: set[str] = set()
    end = time.monotonic() + wait_s
    for share in (0.5, 1.0):
        link.send(question)
        until = end - wait_s * (1.0 - share)
        while time.monotonic() < until:
            link.settimeout(max(0.001, until - time.monotonic()))
            mac = _sender(_received(link), wanted)
            if mac:
                found.add(mac)
    return found


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
