"""Connections to one server or Sentinel: redis-py, with every wait bounded. The only module that knows the driver.

Works with redis-py 4.1 and newer, which StackStorm carries for its coordination.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Optional

import redis
from redis import exceptions as errors
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from st2ha.config import Host
from st2ha.errors import HaError
from st2ha.probe import Silence, Unanswered, tls_reason
from st2ha.redis.settings import Redis

DriverError = (RedisError, OSError)
NoConnection, NoAnswer = errors.ConnectionError, errors.TimeoutError


class Refused(Exception):
    """It speaks and does not let us in, or does not let us ask this."""


class Session:
    """One connection, opened with its first command. Close it."""

    def __init__(self, settings: Redis, host: Host, timeout_s: float, sentinel: bool = False) -> None:
        self.host = host
        prefix = "sentinel_" if sentinel else ""
        self._client: Any = redis.Redis(
            host=host.name, port=host.port, username=getattr(settings, f"{prefix}username"),
            password=getattr(settings, f"{prefix}password"), socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s, decode_responses=True, client_name="st2ha",
            **_tls(settings),
        )  # fmt: skip

    def ask(self, *words: Any) -> Any:
        """The reply to one command. Raises one of DriverError."""
        return self._client.execute_command(*words)

    def together(self, *commands: tuple[Any, ...]) -> list[Any]:
        """The replies to commands that go out at once over one connection; an error takes its command's place."""
        pipeline = self._client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        return list(pipeline.execute(raise_on_error=False))

    def close(self) -> None:
        """Without a good-bye."""
        self._client.connection_pool.disconnect()


def _tls(settings: Redis) -> dict[str, Any]:
    if not settings.tls.enabled:
        return {}
    certificate = settings.tls.certificate_key_file
    return {
        "ssl": True,
        "ssl_ca_certs": settings.tls.ca_file,
        "ssl_check_hostname": True,
        "ssl_certfile": certificate,
        "ssl_keyfile": certificate,
    }


def why(error: BaseException) -> Exception:
    """What a driver's error means: Refused, or Unanswered."""
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, ssl.SSLError) or "SSL" in str(error):
        return Unanswered(Silence.TLS, tls_reason(cause))
    if isinstance(error, (AuthenticationError, NoPermissionError)) or str(error).startswith(("NOAUTH", "WRONGPASS")):
        return Refused(words(error))
    if isinstance(error, (NoAnswer, TimeoutError)) or "timed out" in str(error).lower():
        return Unanswered(Silence.HUNG, "no answer in time")
    if isinstance(error, (NoConnection, OSError)):
        kind = Silence.REFUSED if "refused" in str(error).lower() or "closed" in str(error).lower() else Silence.BROKEN
        return Unanswered(kind, words(error))
    return Unanswered(Silence.BROKEN, words(error))


def words(error: BaseException) -> str:
    """The server's or the driver's own words, short; the driver never puts a password into them."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def sentence(host: Host, error: BaseException) -> HaError:
    """A driver's error as one of ours."""
    return HaError(f"{host}: {why(error)}")


def pairs(reply: Any) -> Mapping[str, Any]:
    """A reply of names and values in turns, as a mapping; the driver has made one already of some."""
    return reply if isinstance(reply, Mapping) else dict(zip(reply[::2], reply[1::2]))


def is_error(reply: Any) -> Optional[str]:
    """The words of an error that took a reply's place."""
    return words(reply) if isinstance(reply, RedisError) else None
