"""The directory's servers: which to ask next, and which to leave alone for a while.

A server that fails is left alone for 1 s, then 2 s and so on up to a minute. When its time is over and another one
works, a thread looks whether it is back, so that no login waits for that.
"""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Callable, Optional

from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import AuthError, NotAllowed, OutOfTime, Unavailable
from st2auth_ldap3.link import Link
from st2auth_ldap3.settings import Settings

LOG = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
IDLE_S, IDLE_LINKS = 30.0, 8
"""How long an unused connection is trusted (firewalls forget silently), and how many are kept for each server."""
REUSE_S = 5.0
"""The same for a connection on which a user has signed in: a bind that is lost on it cannot be sent again."""


class Server:
    """One server with its circuit breaker and its idle service connections."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.failures = 0
        self.closed_until = 0.0
        self.probing = False
        self.is_ad: Optional[bool] = None
        self.root = ""
        self._idle: list[Link] = []
        self._idle_users: list[Link] = []
        self._readers = threading.BoundedSemaphore(IDLE_LINKS)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def rested(self) -> bool:
        return time.monotonic() >= self.closed_until

    def failed(self) -> None:
        """It did not answer: leave it alone for a time that doubles with each failure in a row.

        Logins that were under way together count once.
        """
        if not self.rested():
            return
        self.failures += 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self.failures - 1, 10))
        self.closed_until = time.monotonic() + pause * random.uniform(0.9, 1.1)
        self.forget_links()

    def worked(self) -> None:
        self.failures = 0
        self.closed_until = 0.0

    @contextlib.contextmanager
    def reading(self, deadline: Deadline) -> Iterator[None]:
        """Few at once: 50 logins share 8 service connections rather than shake hands 50 times.

        Raises Unavailable where the server failed in the meantime: nobody stands in line to find out again.
        """
        failures = self.failures
        if not self._readers.acquire(timeout=deadline.left_s()):
            raise OutOfTime(f"no answer from {self}: all its connections are in use")
        try:
            if self.failures > failures:
                raise Unavailable(f"{self} has just failed for another login")
            yield
        except NotAllowed:
            raise
        except Unavailable:
            self.failed()  # before the next one in line gets its turn
            raise
        finally:
            self._readers.release()

    def take(self, context: ssl.SSLContext) -> Optional[Link]:
        """An idle service connection that is fit to be used, if there is one; verified by this very context."""
        return _fit(self._idle, IDLE_S, context)

    def take_users(self, context: ssl.SSLContext) -> Optional[Link]:
        """A connection on which another user has just signed in, to bind anew: that saves the handshake."""
        return _fit(self._idle_users, REUSE_S, context)

    def give(self, link: Link) -> None:
        """Keep a service connection for the next login, unless it failed or there are enough."""
        _keep(self._idle, link)

    def give_users(self, link: Link) -> None:
        """Keep a connection on which a bind was granted. (Servers may close one on which it was not.)"""
        _keep(self._idle_users, link)

    def forget_links(self) -> None:
        for links in (self._idle, self._idle_users):
            while links:
                links.pop().close()


def _fit(links: list[Link], trusted_s: float, context: ssl.SSLContext) -> Optional[Link]:
    while links:
        link = links.pop()
        trusted = link.channel.context in (None, context)  # an authority that was taken away ends what it vouched for
        if trusted and time.monotonic() - link.used_at < trusted_s and link.channel.is_quiet():
            return link
        link.close()
    return None


def _keep(links: list[Link], link: Link) -> None:
    if link.broken or len(links) >= IDLE_LINKS:
        link.close()
    else:
        links.append(link)


class Servers:
    """All servers, in the order of the settings or of DNS. `look` raises AuthError unless a server works."""

    def __init__(
        self, settings: Settings, names: Callable[[Deadline], list[tuple[str, int]]], look: Callable[[Server], None]
    ) -> None:
        self._settings = settings
        self._names = names
        self._look = look
        self._servers: dict[tuple[str, int], Server] = {}

    def candidates(self, deadline: Deadline) -> list[Server]:
        """Whom to ask, one after the other: those that work, in order; then the others, the longest rested first.

        Raises Unavailable if no server is known.
        """
        servers = [self._server(host, port) for host, port in self._names(deadline)]
        if not servers:
            raise Unavailable("no server is known")
        working = [server for server in servers if server.failures == 0]
        failing = [server for server in servers if server.failures]
        if working:
            for server in failing:
                if server.rested() and not server.probing:
                    self._probe(server)
        return working + sorted(failing, key=lambda server: server.closed_until)

    def _server(self, host: str, port: int) -> Server:
        key = (host, port or self._settings.default_port)
        return self._servers.setdefault(key, Server(*key))

    def _probe(self, server: Server) -> None:
        server.probing = True

        def work() -> None:
            try:
                self._look(server)
            except AuthError as error:
                server.failed()
                LOG.warning("%s is still not usable: %s", server, error)
            except Exception as error:  # noqa: BLE001 - a thread's end must not be a traceback with its values
                server.failed()
                LOG.warning("%s is still not usable: %s", server, type(error).__name__)
            else:
                server.worked()
                LOG.info("%s works again", server)
            finally:
                server.probing = False

        threading.Thread(target=work, daemon=True, name=f"probe {server}").start()
