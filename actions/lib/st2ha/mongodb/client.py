"""Connections to one member, or to the set: pymongo, with every wait bounded. The only module that knows the driver.

Works with pymongo 4.6 (StackStorm's own, in sensors) and newer, with and without eventlet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from st2ha.config import Host, Mongodb
from st2ha.errors import HaError

Client = MongoClient[Any]

AUTHENTICATION_FAILED, UNAUTHORIZED = 18, 13
NO_REPLICATION, NOT_INITIATED, NOT_IN_CONFIG = 76, 94, 93


def options(settings: Mongodb, timeout_s: float, login: bool = True) -> dict[str, Any]:
    """Client options: without a socket timeout pymongo waits for a hung server for ever (measured: over 60 s)."""
    timeout_ms = max(1, int(timeout_s * 1000))
    chosen: dict[str, Any] = {
        "serverSelectionTimeoutMS": timeout_ms,
        "connectTimeoutMS": timeout_ms,
        "socketTimeoutMS": timeout_ms,
        "appname": "st2ha",
    }
    if login and settings.username:
        chosen.update(username=settings.username, password=settings.password, authSource=settings.auth_source)
    if settings.tls.enabled:
        chosen.update(tls=True, tlsCAFile=settings.tls.ca_file, tlsCertificateKeyFile=settings.tls.certificate_key_file)
    return {name: value for name, value in chosen.items() if value is not None}


def member_client(settings: Mongodb, host: Host, timeout_s: float, login: bool = True, **more: Any) -> Client:
    """A client of exactly this member, whatever its state. Close it."""
    return _client(
        host=[str(host)], directConnection=True, retryReads=False, retryWrites=False,
        **options(settings, timeout_s, login), **more,
    )  # fmt: skip


def set_client(settings: Mongodb, timeout_s: float, **more: Any) -> Client:
    """A client of the set, which finds the primary. Close it."""
    hosts = [str(host) for host in settings.hosts]
    return _client(host=hosts, replicaSet=settings.replica_set, **options(settings, timeout_s), **more)


def _client(**chosen: Any) -> Client:
    try:
        return MongoClient(**chosen)
    except (ConfigurationError, ValueError, OSError) as error:
        raise HaError(f"the MongoDB settings are refused by the driver: {error}") from None


@contextmanager
def connected(settings: Mongodb, host: Host, timeout_s: float) -> Iterator[Client]:
    """A member's client for the length of a `with`; what the driver meets there becomes one HaError sentence."""
    client = member_client(settings, host, timeout_s)
    try:
        yield client
    except PyMongoError as error:
        raise HaError(f"{host}: {words(error)}") from error
    finally:
        client.close()


def majority() -> WriteConcern:
    """Acknowledged by a majority, so that no election can undo it; the server gives up after 5 s."""
    return WriteConcern(w="majority", wtimeout=5000)


def words(error: Exception) -> str:
    """The server's or the driver's own words, short: no topology dump, no command with its cluster times."""
    if isinstance(error, OperationFailure) and error.details:
        text = str(error.details.get("errmsg", error))
        return text.split(" to execute command {")[0]
    return str(error).split(", Timeout:")[0].split(" (configured timeouts")[0]


class ScramKey:
    """One derivation of the password's key for all members of a gather.

    SCRAM makes a client hash the password 15,000 times (8 ms), which is half of a healthy member's answer and the
    same work for each member of a set, as the user's salt is replicated. pymongo keeps the result in a client's
    credentials; the first member to finish lends it to the others. Where pymongo keeps it elsewhere, or the first
    member is slow, each client does the work itself.
    """

    WAIT_S = 0.03

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._derived: Any = None

    @contextmanager
    def shared_with(self, client: Client) -> Iterator[None]:
        """Run the first command of `client` in here: alone it derives the key, or it waits for it and borrows it."""
        cache = _credentials_cache(client)
        if cache is None:
            yield
            return
        first = self._turn.acquire(timeout=self.WAIT_S)
        if self._derived is None:
            try:
                yield
                self._derived = cache.data if first else None
            finally:
                if first:
                    self._turn.release()
            return
        cache.data = self._derived
        if first:
            self._turn.release()
        yield


def _credentials_cache(client: Client) -> Optional[Any]:
    credentials = getattr(client.options.pool_options, "_credentials", None)
    return getattr(credentials, "cache", None)
