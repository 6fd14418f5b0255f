"""A small LDAP server that does what real ones here do not: lie, drip, fall silent, refer elsewhere, strip StartTLS.

It keeps every bind that it sees. An answer is a list of byte strings; an empty one is silence.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Callable, Optional, Union

AD = "1.2.840.113556.1.4.800"
PAGED = "1.2.840.113556.1.4.319"
Value = Union[str, bytes]
Attributes = Mapping[str, Sequence[Value]]
USER_DN = "CN=alice,DC=stub"
SID = bytes.fromhex("010500000000000515000000" + "01000000" * 3 + "f4010000")


def tlv(tag: int, *parts: bytes) -> bytes:
    """BER with a definite length."""
    value = b"".join(parts)
    if len(value) < 128:
        return bytes([tag, len(value)]) + value
    size = len(value).to_bytes(4, "big")
    return bytes([tag, 0x84]) + size + value


def octets(value: Value, tag: int = 4) -> bytes:
    return tlv(tag, value.encode() if isinstance(value, str) else value)


def message(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    return tlv(0x30, tlv(2, number.to_bytes(4, "big")), operation, tlv(0xA0, controls) if controls else b"")


def result(tag: int, code: int, text: str = "", extra: bytes = b"") -> bytes:
    return tlv(tag, tlv(10, bytes([code])), octets(""), octets(text), extra)


def entry(dn: str, attributes: Attributes) -> bytes:
    parts = [tlv(0x30, octets(name), tlv(0x31, *map(octets, values))) for name, values in attributes.items()]
    return tlv(0x64, octets(dn), tlv(0x30, *parts))


def reference(url: str) -> bytes:
    return tlv(0x73, octets(url))


def control(oid: str, value: bytes) -> bytes:
    return tlv(0x30, octets(oid), octets(value))


def parts(data: bytes) -> list[tuple[int, bytes]]:
    """Tag and value of each element in a row."""
    found = []
    while data:
        octets_of_size = data[1] & 0x7F if data[1] & 0x80 else 0
        start = 2 + octets_of_size
        size = int.from_bytes(data[2:start], "big") if octets_of_size else data[1]
        found.append((data[0], data[start : start + size]))
        data = data[start + size :]
    return found


KINDS = {0x60: "bind", 0x63: "search", 0x77: "extended", 0x42: "unbind"}


class Asked:
    """One request: its number and kind; `name` and `password` of a bind; `base` and `attributes` of a search."""

    def __init__(self, data: bytes) -> None:
        whole = parts(parts(data)[0][1])
        self.number = int.from_bytes(whole[0][1], "big")
        self.kind = KINDS[whole[1][0]]
        body = [value for _, value in parts(whole[1][1])] if self.kind in ("bind", "search") else []
        self.name, self.password = (body[1].decode(), body[2]) if self.kind == "bind" else ("", b"")
        self.base = body[0].decode() if self.kind == "search" else ""
        self.attributes = [value.decode() for _, value in parts(body[7])] if self.kind == "search" else []
        controls = [parts(value) for _, value in parts(whole[2][1])] if len(whole) > 2 else []
        self.controls = {each[0][1].decode(): each[-1][1] for each in controls}


class Stub:
    """Listens on 127.0.0.1 with LDAPS (`pem`) or plain LDAP with StartTLS. `on` replaces an answer by kind:
    connect (before TLS), bind, user_bind, search, find, groups, starttls."""

    def __init__(self, pem: Path, *, ldaps: bool = True, ad: bool = True, **on: Callable[[Asked], list[bytes]]) -> None:
        self.binds: list[tuple[str, bytes]] = []
        self.searches: list[Asked] = []
        self.connections = 0
        self.drip_s = 0.0
        self.tls_anyway = False  # also behind an answer of on["starttls"]
        self.ad = ad
        self.on = on
        self._ldaps = ldaps
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Close all connections."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            if "connect" in self.on:
                for part in self.on["connect"](None):  # type: ignore[arg-type]
                    self._send(connection, part)
                time.sleep(30)
            if self._ldaps:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while data := _read(connection):
                asked = Asked(data)
                for part in self._answer(asked):
                    self._send(connection, part)
                if asked.kind == "extended" and ("starttls" not in self.on or self.tls_anyway):
                    connection = self._context.wrap_socket(connection, server_side=True)
                    self._open.append(connection)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        if not self.drip_s:
            connection.sendall(data)
            return
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
            time.sleep(self.drip_s)

    def _answer(self, asked: Asked) -> list[bytes]:
        if asked.kind == "bind":
            return self._bind(asked)
        if asked.kind == "search":
            self.searches.append(asked)
            return self._search(asked)
        if asked.kind == "extended":
            done = [message(asked.number, result(0x78, 0))]
            return self.on["starttls"](asked) if "starttls" in self.on else done
        return []

    def _bind(self, asked: Asked) -> list[bytes]:
        self.binds.append((asked.name, asked.password))
        kind = "user_bind" if asked.name == USER_DN else "bind"
        if kind in self.on:
            return self.on[kind](asked)
        return [message(asked.number, result(0x61, 0))]

    def _search(self, asked: Asked) -> list[bytes]:
        done = message(asked.number, result(0x65, 0))
        if "search" in self.on:
            return self.on["search"](asked)
        if not asked.base:
            capabilities: Attributes = {"supportedCapabilities": [AD]} if self.ad else {}
            return [message(asked.number, entry("", {"defaultNamingContext": ["DC=stub"], **capabilities})), done]
        if asked.base == USER_DN and "tokenGroups" in asked.attributes:
            found: Attributes = {"tokenGroups": [SID]}
            return (
                self.on["groups"](asked)
                if "groups" in self.on
                else [message(asked.number, entry(USER_DN, found)), done]
            )
        if "find" in self.on:
            return self.on["find"](asked)
        user = {"sAMAccountName": ["alice"], "uid": ["alice"], "objectSid": [SID]}
        return [message(asked.number, entry(USER_DN, user)), done]


def _read(connection: socket.socket) -> Optional[bytes]:
    """One whole message, None at the end."""
    data = b""
    while True:
        part = connection.recv(1 if len(data) < 2 else 4096)
        if not part:
            return None
        data += part
        if len(data) < 2:
            continue
        octet = data[1]
        header = 2 + (octet & 0x7F if octet & 0x80 else 0)
        if len(data) < header:
            continue
        size = int.from_bytes(data[2:header], "big") if octet & 0x80 else octet
        while len(data) < header + size:
            data += connection.recv(header + size - len(data))
        return data
