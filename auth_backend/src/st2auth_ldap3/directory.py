"""The directory as a login sees it: any server that answers, within one deadline."""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Callable, Optional, TypeVar

from ldap3.protocol.controls import build_control

from st2auth_ldap3.channel import Channel
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import BindUnanswered, NotAllowed, Unavailable
from st2auth_ldap3.link import SUBTREE, Entry, Link, Reply
from st2auth_ldap3.resolve import Resolver
from st2auth_ldap3.servers import Server, Servers
from st2auth_ldap3.settings import Settings
from st2auth_ldap3.srv import Names
from st2auth_ldap3.states import PASSWORD_POLICY, refusal
from st2auth_ldap3.tls import Trust

LOG = logging.getLogger(__name__)
T = TypeVar("T")
CAPABILITIES, ACTIVE_DIRECTORY = "supportedCapabilities", "1.2.840.113556.1.4.800"
REFUSED_PAUSE_S = 60.0
"""After the service account was refused: trying on at each login would lock it."""
JUST_USED_S = 1.0
SERVER_IS_ILL = (1, 51, 52, 80)
"""Results that tell of the server rather than of what was asked: operationsError, busy, unavailable, other."""


class Reader:
    """A bound link with a deadline for each operation; `server` tells what kind of directory it is."""

    def __init__(self, server: Server, link: Link, settings: Settings, deadline: Deadline) -> None:
        self.server = server
        self._link = link
        self._settings = settings
        self._deadline = deadline

    def search(self, base: str, query: str, attributes: list[str], scope: int = SUBTREE, limit: int = 0) -> list[Entry]:
        self._begin()
        return self._link.search(base, query, attributes, scope, limit)

    def read(self, dn: str, attributes: list[str]) -> Optional[Entry]:
        self._begin()
        return self._link.read(dn, attributes)

    def whole(self, entry: Entry, attribute: str) -> Entry:
        """The entry with all values of an attribute: AD gives 1,500 at a time (`memberOf;range=0-1499`)."""
        prefix = f"{attribute.lower()};range="
        values = {name: list(found) for name, found in entry.values.items()}
        collected = values.setdefault(attribute.lower(), [])
        ranged = next((name for name in values if name.startswith(prefix)), None)
        while ranged:
            collected += values[ranged]
            last = ranged[len(prefix) :].partition("-")[2]
            if not last.isdigit():
                break
            more = self.read(entry.dn, [f"{attribute};range={int(last) + 1}-*"])
            values = dict(more.values) if more else {}
            ranged = next((name for name in values if name.startswith(prefix) and values[name]), None)
        return Entry(entry.dn, {**entry.values, attribute.lower(): collected})

    def _begin(self) -> None:
        """A connection that lay idle has to answer as fast as one would be opened: it may be dead."""
        seconds = self._settings.connect_s if _idle(self._link) else self._settings.operation_s
        self._link.channel.deadline = self._deadline.within(seconds, "a search")


class Directory:
    """Opens links, keeps the idle ones, chooses servers. May be used by many threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._trust = Trust(settings.ca_file)
        self._resolver = Resolver()
        self._servers = Servers(settings, Names(settings), self.look)
        self._refused: Optional[tuple[float, bytes]] = None

    def servers(self, deadline: Deadline) -> list[Server]:
        """All that are known, in the order of asking."""
        return self._servers.candidates(deadline)

    def anywhere(self, work: Callable[[Server], T], deadline: Deadline, first: Optional[Server] = None) -> T:
        """`work` on the first server that can do it. Raises Unavailable, of the last one that was asked.

        Whatever else `work` raises ends the search: it is no fault of the server.
        """
        candidates = self._servers.candidates(deadline)
        if first in candidates:
            candidates.sort(key=lambda server: server is not first)
        failure = Unavailable("no server was asked")
        for server in candidates:
            try:
                result = work(server)
            except Unavailable as error:
                LOG.warning("%s cannot be used: %s", server, error)
                if not (isinstance(error, NotAllowed) and error.code not in SERVER_IS_ILL):
                    server.failed()
                failure = error
                if deadline.passed():
                    break
                continue
            server.worked()
            return result
        raise failure

    def reading(self, server: Server, work: Callable[[Reader], T], deadline: Deadline) -> T:
        """`work` over a service connection: one that is there, or a new one; also if one that lay idle proves dead."""
        with server.reading(deadline):
            return self._reading(server, work, deadline)

    def _reading(self, server: Server, work: Callable[[Reader], T], deadline: Deadline) -> T:
        link = server.take(self._trust.context())
        if link is not None:
            idle = _idle(link)
            try:
                return self._use(server, link, work, deadline)
            except Unavailable:
                if not (idle and link.broken) or deadline.passed():
                    raise
                server.forget_links()
        return self._use(server, self._open_service(server, deadline), work, deadline)

    def open(self, server: Server, deadline: Deadline, *, secure: bool = True) -> Link:
        """A new connection with TLS, not bound."""
        context = self._trust.context()
        limit = deadline.within(self.settings.connect_s, "connecting")
        channel = Channel(self._resolver.addresses(server.host, server.port, limit), str(server), limit)
        try:
            link = Link(channel)
            if secure and self.settings.starttls:
                link.start_tls()
            if secure:
                channel.start_tls(context, server.host)
        except BaseException:
            channel.close()
            raise
        return link

    def open_for_user(self, server: Server, deadline: Deadline) -> Link:
        """A connection for a user's bind: one that has just served another's, or a new one."""
        return server.take_users(self._trust.context()) or self.open(server, deadline)

    def bind_user(self, server: Server, link: Link, name: str, password: bytes, deadline: Deadline) -> Optional[str]:
        """Bind as the user, once: why it is refused, None if it is granted. Raises BindUnanswered."""
        link.channel.deadline = deadline.within(self.settings.operation_s, "the user's bind")
        try:
            return refusal(self._bind(server, link, name, password))
        except Unavailable as error:
            server.failed()
            raise BindUnanswered(f"no answer to the user's bind: {error}") from None

    def identify(self, server: Server, link: Link) -> None:
        """Learn from the rootDSE what kind of server this is, if that is not known yet."""
        if server.is_ad is None:
            root = link.read("", [CAPABILITIES, "defaultNamingContext"])
            if root is None:
                raise Unavailable(f"{server} shows no rootDSE")
            server.root = root.text("defaultNamingContext") or self.settings.base
            server.is_ad = ACTIVE_DIRECTORY in root.texts(CAPABILITIES)

    def _use(self, server: Server, link: Link, work: Callable[[Reader], T], deadline: Deadline) -> T:
        try:
            return work(Reader(server, link, self.settings, deadline))
        except BaseException as error:
            if not isinstance(error, Exception):
                link.broken = True  # a green thread was killed in the middle of an operation
            raise
        finally:
            server.give(link)

    def _open_service(self, server: Server, deadline: Deadline) -> Link:
        """A new connection, bound with the service account if there is one."""
        bind_dn, password = self.settings.bind_dn, b""
        if bind_dn:
            password = self.settings.bind_password.reveal()
            self._not_again(password)
        link = self.open(server, deadline, secure=not self.settings.plaintext_searches)
        try:
            if bind_dn:
                self._service_bind(link, bind_dn, password)
            self.identify(server, link)
        except BaseException:
            link.close()
            raise
        return link

    def _service_bind(self, link: Link, bind_dn: str, password: bytes) -> None:
        reply = link.bind(bind_dn, password)
        if reply.code == 49:
            self._refused = (time.monotonic() + REFUSED_PAUSE_S, _digest(password))
            LOG.error("%s refuses the service account: %s", link.channel.where, refusal(reply))
        if reply.code:
            raise NotAllowed(f"{link.channel.where} refuses the service account", reply.code)

    def _not_again(self, password: bytes) -> None:
        """Raises Unavailable while a refused service password is to rest; another password is tried at once."""
        refused = self._refused
        if refused and refused[1] == _digest(password) and time.monotonic() < refused[0]:
            raise Unavailable(
                f"the service account was refused less than {REFUSED_PAUSE_S:g} s ago and is not tried again"
            )

    def _bind(self, server: Server, link: Link, name: str, password: bytes) -> Reply:
        controls = None if server.is_ad else [build_control(PASSWORD_POLICY, False, None)]
        return link.bind(name, password, controls)

    def look(self, server: Server) -> None:
        """Raises AuthError unless the server would serve a login."""
        deadline = Deadline(self.settings.connect_s, "looking at a server")
        if self.settings.user_bind_pattern:
            self.open(server, deadline).close()
        else:
            server.give(self._open_service(server, deadline))


def _idle(link: Link) -> bool:
    return time.monotonic() - link.used_at > JUST_USED_S


def _digest(password: bytes) -> bytes:
    return hashlib.sha256(password).digest()
