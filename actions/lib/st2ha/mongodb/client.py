"""Connections to one member, or to the set: pymongo, with every wait bounded. The only module that knows the driver.

Works with pymongo 4.6 (StackStorm's own, in sensors) and newer, with and without eventlet.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional, TypeVar

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure, PyMongoError
from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)
from pymongo.write_concern import WriteConcern

from st2ha.config import Host, Mongodb
from st2ha.errors import HaError, NoPrimary

Client = MongoClient[Any]
R = TypeVar("R")

AUTHENTICATION_FAILED, UNAUTHORIZED = 18, 13
ELECTION_S, ELECTION_PAUSE_S = 40.0, 0.2
INTERRUPTED = (11600, 11602, 189, 91, 10107, 13435)
"""Server codes of an operation that an election or a shutdown ended: to be begun again on the new primary."""
NO_REPLICATION, NOT_INITIATED, NOT_IN_CONFIG = 76, 94, 93


def _end_at_once() -> None:
    """Have the process end without waiting for pymongo's threads: half a second of every action.

    The threads sleep for half a second at a time, and pymongo joins them at exit although they are daemons. Where it
    names the function otherwise, an action ends half a second later.
    """
    for name in ("pymongo.synchronous.monitor", "pymongo.monitor"):  # since 4.9, and before
        join = getattr(sys.modules.get(name), "_shutdown_resources", None)
        if join is not None:
            atexit.unregister(join)


_end_at_once()


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


@contextlib.contextmanager
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


def through_election(work: Callable[[], R], deadline_s: float = ELECTION_S) -> R:
    """The result of work that can be repeated, begun again while an election lasts. Raises what it met last."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return work()
        except (AutoReconnect, NoPrimary):
            if time.monotonic() > end:
                raise
        except OperationFailure as error:
            if error.code not in INTERRUPTED or time.monotonic() > end:
                raise
        time.sleep(ELECTION_PAUSE_S)


def words(error: Exception) -> str:
    """The server's or the driver's own words, short: no topology dump, no command with its cluster times."""
    if isinstance(error, OperationFailure) and error.details:
        text = str(error.details.get("errmsg", error))
        return text.split(" to execute command {")[0]
    return str(error).split(", Timeout:")[0].split(" (configured timeouts")[0]


class FirstWord(ServerHeartbeatListener):
    """What a client's monitor hears first of its member; an event listener of that client, and waited for.

    Without it pymongo asks a member that dies just now again and again until the server selection times out: a killed
    primary, whose port is still open for some milliseconds, would cost the whole timeout.
    """

    def __init__(self) -> None:
        self._heard = threading.Event()
        self._error: Optional[Exception] = None

    def wait(self, timeout_s: float) -> None:
        """Return when the member has spoken, or when the time is over; raise PyMongoError if it cannot be reached."""
        self._heard.wait(timeout_s)
        if isinstance(self._error, PyMongoError):
            raise self._error
        if self._error is not None:
            raise AutoReconnect(str(self._error))

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """Nothing is heard yet."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        self._heard.set()

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        if not self._heard.is_set():
            self._error = event.reply
            self._heard.set()


class ScramKey:
    """One derivation of the password's key for all clients of a gather.

    SCRAM makes a client hash the password 15,000 times (8 ms), which is half of a healthy member's answer and the
    same work for each member of a set, as the user's salt is replicated. pymongo keeps the result, with its salt, in
    `data` of the `cache` in a client's credentials: here all clients have one cache, whose first reader derives while
    the others connect and then wait. Where pymongo keeps the key elsewhere, each client does the work itself.
    """

    HEAD_START_S = 0.01  # what the first member may take until it derives; hung, it costs the others no more
    WAIT_S = 0.1  # a wait for another thread's computing, never for a server

    def __init__(self, settings: Mongodb) -> None:
        self._turn = threading.Lock()
        self._begun = threading.Event()
        self._derived = threading.Event()
        self._data: Any = None
        if not settings.username:
            self._begun.set()

    def let_first_begin(self) -> None:
        """Called for all members but one: its path to the derivation, the longest wait of all, stays undisturbed."""
        self._begun.wait(self.HEAD_START_S)

    def lend(self, client: Client) -> None:
        """Have `client`, which has not logged in yet, use this key."""
        pool_options: Any = client.options.pool_options
        credentials: Any = getattr(pool_options, "_credentials", None)
        if hasattr(getattr(credentials, "cache", None), "data"):
            with contextlib.suppress(AttributeError):
                pool_options._PoolOptions__credentials = credentials._replace(cache=self)

    @property
    def data(self) -> Any:
        """pymongo's (client key, server key, salt, iterations), or None for the one that has to derive it."""
        self._begun.set()
        if not self._derived.is_set() and not self._turn.acquire(blocking=False):
            self._derived.wait(self.WAIT_S)
        return self._data

    @data.setter
    def data(self, derived: Any) -> None:
        self._data = derived
        self._derived.set()
