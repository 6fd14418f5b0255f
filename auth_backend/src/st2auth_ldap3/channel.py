"""A TCP connection, with or without TLS, in which each single wait ends at one deadline.

TLS runs over memory buffers, because a timeout of a socket holds for one read: a server that drips a byte a second
would hold a login for ever, and under eventlet even the handshake. The same code serves threads and eventlet.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Callable, Optional, TypeVar

from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import OutOfTime, Unavailable
from st2auth_ldap3.resolve import Address

T = TypeVar("T")
CHUNK = 65536


class Channel:
    """A connection to `where`. `deadline` is set by whoever uses it; all failures are Unavailable or OutOfTime."""

    def __init__(self, addresses: list[Address], where: str, deadline: Deadline) -> None:
        self.where = where
        self.deadline = deadline
        self.secure = False
        self.context: Optional[ssl.SSLContext] = None
        self._tls: Optional[ssl.SSLObject] = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._socket = _connect(addresses, where, deadline)

    def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Shake hands; `name` (a DNS name or an IP address) must be in the certificate."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        try:
            self._step(self._tls.do_handshake)
        except ssl.SSLError as error:
            with contextlib.suppress(OSError, Unavailable):
                self._flush()  # the alert, so that the server's log tells why, too
            raise Unavailable(f"TLS with {self.where} failed: {_tls_words(error)}") from None
        self.secure = True
        self.context = context

    def certificate_end(self) -> Optional[float]:
        """When the server's certificate ends (epoch seconds), None without TLS."""
        certificate = (self._tls.getpeercert() if self._tls is not None else None) or {}
        return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if "notAfter" in certificate else None

    def send(self, data: bytes) -> None:
        """Send all of it."""
        if self._tls is None:
            self._raw_send(data)
            return
        tls = self._tls
        try:
            self._step(lambda: tls.write(data))
        except ssl.SSLError as error:
            raise Unavailable(f"TLS with {self.where} broke: {_tls_words(error)}") from None

    def receive(self) -> bytes:
        """What has come, at least a byte. Raises Unavailable at the end of the connection."""
        if self._tls is None:
            data = self._raw_receive()
        else:
            tls = self._tls
            try:
                data = self._step(lambda: tls.read(CHUNK))
            except ssl.SSLError as error:  # its end, too, with or without a farewell
                raise Unavailable(f"TLS with {self.where} ended: {_tls_words(error)}") from None
        if not data:
            raise Unavailable(f"{self.where} closed the connection")
        return data

    def is_quiet(self) -> bool:
        """Whether it is open and nothing waits to be read: fit to be used again."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def farewell(self, data: bytes) -> None:
        """Send `data` if that takes no waiting, and close. Never raises."""
        with contextlib.suppress(Exception):
            if self._tls is not None:
                self._tls.write(data)
                data = self._outgoing.read()
            self._socket.settimeout(0)
            self._socket.send(data)
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _step(self, work: Callable[[], T]) -> T:
        """Do `work` of the TLS object, feeding it and sending what it has to say, until it is done."""
        while True:
            try:
                result = work()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._raw_receive()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                continue
            self._flush()
            return result

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw_send(self._outgoing.read())

    def _raw_send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._socket.settimeout(self.deadline.left_s())
            try:
                view = view[self._socket.send(view) :]
            except OSError as error:
                raise _silence(error, self.deadline, self.where) from None

    def _raw_receive(self) -> bytes:
        self._socket.settimeout(self.deadline.left_s())
        try:
            return self._socket.recv(CHUNK)
        except OSError as error:
            raise _silence(error, self.deadline, self.where) from None


def _connect(addresses: list[Address], where: str, deadline: Deadline) -> socket.socket:
    """To the first address that answers."""
    failure = Unavailable(f"{where} has no address")
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(deadline.left_s())
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each message waits for an ACK: 40 ms
            return sock
        except OSError as error:
            sock.close()
            failure = _silence(error, deadline, where)
        except BaseException:
            sock.close()
            raise
    raise failure


def _silence(error: OSError, deadline: Deadline, where: str) -> Unavailable:
    """The system's words. `socket.timeout` is no TimeoutError before Python 3.10."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return OutOfTime(f"no answer from {where}: {deadline.what} took longer than {deadline.seconds:g} s")
    return Unavailable(f"{where}: {error.strerror or type(error).__name__}")


def _tls_words(error: ssl.SSLError) -> str:
    """OpenSSL's reason without the C file it comes from."""
    verify = getattr(error, "verify_message", "")
    return str(verify or error.reason or type(error).__name__)
