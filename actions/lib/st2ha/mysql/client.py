"""Connections to one server: PyMySQL, with every wait bounded. The only module that knows the driver.

connect_timeout of PyMySQL ends with the TCP connection: a hung server is only noticed by read_timeout, which also
holds for the handshake.
"""

from __future__ import annotations

import ssl
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import pymysql
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor

from st2ha.config import Host
from st2ha.errors import HaError
from st2ha.mysql.dialect import Dialect, of_server
from st2ha.mysql.settings import Mysql
from st2ha.probe import Attempt, Silence, Unanswered, connect, tls_reason

Row = dict[str, Any]
BAD_LOGIN = (1045, 1698, 1130, 1862, 1251, 1040, 1203, 3118)
"""Access denied (two plugins), host not allowed, password expired, old protocol, too many connections, locked."""
NO_PRIVILEGE = (1044, 1142, 1143, 1227, 1370)
NO_SUCH = (1049, 1146, 1109)
"""Unknown database, table, or table of information_schema."""
DriverError = (pymysql.MySQLError, OSError, struct.error, AssertionError, IndexError, ValueError)


class Refused(Exception):
    """The server speaks and does not let us in."""


class Session:
    """A connection to one server in autocommit mode, and the server's dialect."""

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect

    @property
    def greeting(self) -> str:
        """The server's version as its handshake told it."""
        return str(self.connection.get_server_info())

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """All rows, by column. Raises one of DriverError, as all that follow."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def each(self, statements: Sequence[str]) -> Iterator[list[Row]]:
        """The rows of each of several statements that go out as one; an error ends them. Needs `together`."""
        with self.connection.cursor() as cursor:
            cursor.execute(";".join(statements))
            yield list(cursor.fetchall())
            while cursor.nextset():
                yield list(cursor.fetchall())

    def value(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The first column of the first row, None if there is none."""
        rows = self.rows(statement, values)
        return next(iter(rows[0].values())) if rows else None

    def run(self, *statements: str) -> None:
        """One after the other; an error ends them."""
        for statement in statements:
            self.rows(statement)

    def close(self) -> None:
        """Without a good-bye: that could block on a hung server."""
        self.connection._force_close()

    @property
    def tls_expires_at(self) -> Optional[float]:
        """When the server's certificate ends (epoch seconds), None without TLS."""
        certificate = self.connection._sock.getpeercert() if isinstance(self.connection._sock, ssl.SSLSocket) else None
        return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if certificate else None


def open_session(settings: Mysql, host: Host, attempt: Attempt, together: bool = False) -> Session:
    """Connect within the attempt's deadline; Unanswered for silence, Refused where we are not let in.

    `together`: it takes several statements at once. Only for reading: nothing may be smuggled into a write.
    """
    sock = connect(host, attempt)
    attempt.afterwards(sock.close)
    driver: Any = pymysql.connect(
        host=host.name, port=host.port, user=settings.username, password=settings.password, autocommit=True,
        read_timeout=attempt.left_s(), write_timeout=attempt.left_s(), charset="utf8mb4", program_name="st2ha",
        cursorclass=DictCursor, defer_connect=True, client_flag=CLIENT.MULTI_STATEMENTS if together else 0,
        **_tls(settings),
    )  # fmt: skip
    try:
        driver.connect(sock)
    except DriverError as error:
        raise _why(error) from None
    attempt.afterwards(driver._force_close)
    if settings.tls.enabled and not isinstance(driver._sock, ssl.SSLSocket):
        raise Unanswered(Silence.TLS, "the server speaks no TLS")
    dialect, why = of_server(driver.get_server_info())
    if dialect is None:
        raise Unanswered(Silence.BROKEN, why)
    return Session(driver, dialect)


def _tls(settings: Mysql) -> dict[str, Any]:
    if not settings.tls.enabled:
        return {"ssl_disabled": True}
    context = ssl.create_default_context(cafile=settings.tls.ca_file)
    if settings.tls.certificate_key_file:
        context.load_cert_chain(settings.tls.certificate_key_file)
    return {"ssl": context}


def _why(error: Exception) -> Exception:
    """What a failed handshake means."""
    original = getattr(error, "original_exception", error)
    code = error.args[0] if isinstance(error, pymysql.MySQLError) and error.args else None
    if isinstance(original, ssl.SSLError):
        return Unanswered(Silence.TLS, tls_reason(original))
    if code in BAD_LOGIN:
        return Refused(words(error))
    return Unanswered(silence(error), words(error) if isinstance(error, pymysql.MySQLError) else "it speaks no MySQL")


def silence(error: Exception) -> Silence:
    """It accepted our connection, so a time-out is a hang; one that it closed is down."""
    text = str(error).lower()
    if "timed out" in text or "timeout" in text:
        return Silence.HUNG
    if "refused" in text or "lost connection" in text or "reset" in text or "broken pipe" in text:
        return Silence.REFUSED
    return Silence.BROKEN


def words(error: BaseException) -> str:
    """The server's or the driver's own words, short, without the driver's number."""
    text = str(error.args[-1]) if isinstance(error, pymysql.MySQLError) and error.args else str(error)
    return " ".join(text.split())[:300]


def code_of(error: BaseException) -> int:
    """The server's error number, 0 if there is none."""
    return int(error.args[0]) if error.args and isinstance(error.args[0], int) else 0


@contextmanager
def session(settings: Mysql, host: Host, timeout_s: float) -> Iterator[Session]:
    """A session for the length of a `with`; what the driver meets there becomes one HaError sentence."""
    opened = dial(settings, host, timeout_s)
    try:
        yield opened
    except DriverError as error:
        raise HaError(f"{host}: {words(error)}") from error
    finally:
        opened.close()


def dial(settings: Mysql, host: Host, timeout_s: float, patience_s: float = 0.0) -> Session:
    """A session within `timeout_s`, whose statements may take `patience_s`; HaError in one sentence. Close it."""
    attempt = Attempt(time.monotonic(), timeout_s)
    try:
        opened = open_session(settings, host, attempt)
        opened.connection._read_timeout = opened.connection._write_timeout = max(timeout_s, patience_s)
        return opened
    except (Unanswered, Refused) as error:
        attempt.close()
        raise HaError(f"{host}: {error}") from None
