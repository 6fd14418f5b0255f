"""One LDAP connection: bind, search, StartTLS. ldap3 encodes and decodes; the conversation is led here.

ldap3's own Connection keeps the password and shows it in its repr, follows referrals and sends them the password, waits
without a total deadline, and raises IndexError and KeyError for what a server makes up. None of that can happen here: a
referral is counted and forgotten, and whatever goes wrong becomes Unavailable and makes the link unusable.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Optional

from ldap3.operation.bind import bind_operation
from ldap3.operation.extended import extended_operation
from ldap3.operation.search import search_operation
from ldap3.operation.unbind import unbind_operation
from ldap3.protocol.rfc2696 import RealSearchControlValue, paged_search_control
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.strategy.base import build_controls_list
from ldap3.utils.asn1 import decode_message_fast, decoder, encode

from st2auth_ldap3.channel import Channel
from st2auth_ldap3.errors import AuthError, NotAllowed, Unavailable

BASE, ONE, SUBTREE = 0, 1, 2
SUCCESS, SIZE_LIMIT, NO_SUCH_OBJECT = 0, 4, 32
STARTTLS, PAGED = "1.3.6.1.4.1.1466.20037", "1.2.840.113556.1.4.319"
BIND_DONE, ENTRY, SEARCH_DONE, REFERENCE, EXTENDED_DONE = 1, 4, 5, 19, 24
LARGEST, PAGE = 16 * 1024 * 1024, 500


@dataclass(frozen=True)
class Entry:
    """An entry: attribute names in lower case, values as they came."""

    dn: str
    values: dict[str, list[bytes]] = field(repr=False)

    def texts(self, name: str) -> list[str]:
        """The values that are text."""
        return [text for value in self.values.get(name.lower(), []) if (text := _text(value)) is not None]

    def text(self, name: str) -> Optional[str]:
        """The first value that is text."""
        return next(iter(self.texts(name)), None)


@dataclass(frozen=True)
class Reply:
    """The end of an operation: LDAP result code, the server's diagnostic message, its response controls by OID."""

    code: int
    message: str
    controls: dict[str, bytes] = field(default_factory=dict)


class Link:
    """An open connection. Not for two threads at once; useless after the first failure (`broken`)."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.broken = False
        self.used_at = time.monotonic()
        self._last_id = 0
        self._buffer = b""

    def __repr__(self) -> str:
        return f"Link({self.channel.where})"

    def start_tls(self) -> None:
        """Ask for TLS. Raises Unavailable unless the server agrees, so that nothing goes on in the clear."""
        reply, _ = self._ask("extendedReq", extended_operation(STARTTLS), EXTENDED_DONE)
        if reply.code != SUCCESS or self._buffer:  # what came before the handshake is nobody's word
            self.broken = True
            raise Unavailable(f"{self.channel.where} refuses StartTLS (LDAP result {reply.code})")

    def bind(self, name: str, password: bytes, controls: Optional[list[Any]] = None) -> Reply:
        """Simple bind; never without TLS, a name and a password. Bytes, since ldap3 alters a password of str."""
        if not (self.channel.secure and name and password):
            raise Unavailable("a bind without TLS, name or password was prevented")
        return self._ask("bindRequest", _bind_request(name, password), BIND_DONE, controls)[0]

    def search(self, base: str, query: str, attributes: list[str], scope: int = SUBTREE, limit: int = 0) -> list[Entry]:
        """All entries, page by page; with `limit` at most that many. Raises NotAllowed for any other end."""
        entries: list[Entry] = []
        cookie = b""
        while True:
            paging = None if limit or scope == BASE else [paged_search_control(False, PAGE, cookie)]
            request = _search_request(base, query, attributes, scope, limit)
            reply, found = self._ask("searchRequest", request, SEARCH_DONE, paging)
            entries += found
            if reply.code == SIZE_LIMIT and limit and len(entries) >= limit:
                return entries
            if reply.code != SUCCESS:
                raise NotAllowed(f"{self.channel.where} refuses to search", reply.code)
            cookie = _cookie(reply)
            if not cookie or paging is None:
                return entries

    def read(self, dn: str, attributes: list[str]) -> Optional[Entry]:
        """One entry by its DN, None if there is none (that we may see)."""
        try:
            found = self.search(dn, "(objectClass=*)", attributes, BASE)
        except NotAllowed as error:
            if error.code == NO_SUCH_OBJECT:
                return None
            raise
        return found[0] if found else None

    def close(self) -> None:
        """Unbind and close, without waiting."""
        self._last_id += 1
        self.channel.farewell(b"" if self.broken else _encode(self._last_id, "unbindRequest", unbind_operation(), None))
        self.broken = True

    def _ask(
        self, kind: str, request: Any, done: int, controls: Optional[list[Any]] = None
    ) -> tuple[Reply, list[Entry]]:
        """Send and read until the answer is complete. Whatever fails breaks the link."""
        try:
            self._last_id += 1
            self.channel.send(_encode(self._last_id, kind, request, controls))
            answer = self._answer(done)
        except AuthError:
            self.broken = True
            raise
        except Exception as error:  # noqa: BLE001 - a decoder raises whatever a server's nonsense leads to
            self.broken = True
            raise Unavailable(f"{self.channel.where} answers no proper LDAP ({type(error).__name__})") from None
        self.used_at = time.monotonic()
        return answer

    def _answer(self, done: int) -> tuple[Reply, list[Entry]]:
        entries: list[Entry] = []
        while True:
            message = decode_message_fast(self._message())
            kind, payload = message["protocolOp"], message["payload"]
            if message["messageID"] != self._last_id:
                raise Unavailable(f"{self.channel.where} ended the session or answered another question")
            if kind == done:
                return Reply(int(payload[0][3]), _text(payload[2][3]) or "", _controls(message["controls"])), entries
            if done != SEARCH_DONE or kind not in (ENTRY, REFERENCE):
                raise Unavailable(f"{self.channel.where} answered something else than was asked")
            if kind == ENTRY:
                entries.append(_entry(payload))

    def _message(self) -> bytes:
        """The next whole message, of at most 16 MiB."""
        size = _size(self._buffer)
        while size is None or len(self._buffer) < size:
            self._buffer += self.channel.receive()
            size = _size(self._buffer)
        message, self._buffer = self._buffer[:size], self._buffer[size:]
        return message


def _bind_request(name: str, password: bytes) -> Any:
    return bind_operation(3, "SIMPLE", name, password, auto_encode=False)


def _search_request(base: str, query: str, attributes: list[str], scope: int, limit: int) -> Any:
    return search_operation(base, query, scope, 0, attributes, limit, 0, False, False, False)


def _encode(number: int, kind: str, request: Any, controls: Optional[list[Any]]) -> bytes:
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName(kind, request)
    if controls:
        message["controls"] = build_controls_list(controls)
    return bytes(encode(message))


def _size(data: bytes) -> Optional[int]:
    """The length of the message that begins here, None if that cannot be told yet."""
    if len(data) < 2:
        return None
    if data[0] != 0x30:
        raise ValueError("no LDAP message")
    octets = data[1] & 0x7F if data[1] & 0x80 else 0
    if data[1] == 0x80 or octets > 4:
        raise ValueError("no definite length")
    if len(data) < 2 + octets:
        return None
    size = 2 + octets + (int.from_bytes(data[2 : 2 + octets], "big") if octets else data[1])
    if size > LARGEST:
        raise ValueError("too large")
    return size


def _entry(payload: Any) -> Entry:
    values = {
        attribute[3][0][3].decode("utf-8").lower(): [bytes(value[3]) for value in attribute[3][1][3]]
        for attribute in payload[1][3]
    }
    return Entry(payload[0][3].decode("utf-8"), values)


def _controls(controls: Any) -> dict[str, bytes]:
    """OID and value of each (the value is the last octet string, if there is one beside the OID)."""
    return {
        bytes(parts[0][3]).decode("ascii"): bytes(parts[-1][3]) if len(parts) > 1 and parts[-1][2] == 4 else b""
        for _, _, _, parts in controls or []
    }


def _cookie(reply: Reply) -> bytes:
    if not reply.controls.get(PAGED):
        return b""
    return bytes(decoder.decode(reply.controls[PAGED], asn1Spec=RealSearchControlValue())[0]["cookie"])


def _text(value: bytes) -> Optional[str]:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None
