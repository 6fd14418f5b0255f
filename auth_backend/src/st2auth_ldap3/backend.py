"""What st2auth loads: `authenticate`, `get_user`, `get_user_groups`."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Optional

from st2auth_ldap3 import users
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.directory import Directory, Reader
from st2auth_ldap3.errors import AuthError, GroupsUnknown, Misconfigured, Refused, Unavailable
from st2auth_ldap3.groups import Groups
from st2auth_ldap3.link import Entry, Link
from st2auth_ldap3.names import unfit_name, unfit_password
from st2auth_ldap3.servers import Server
from st2auth_ldap3.settings import Settings, fill_dn, parse

LOG = logging.getLogger(__name__)
NO_GROUPS = "(no groups)"
"""Told instead of an empty list, for which StackStorm skips its role sync and keeps all roles that a user once had."""
HANDED_OVER_S = 30.0


class Engine:
    """A backend whose settings are good."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = Directory(settings)
        self.groups = Groups(settings)


class Ldap3AuthenticationBackend:
    """Sign-in against Active Directory, OpenLDAP or 389-DS.

    The constructor does nothing that can fail: st2auth would print all settings, passwords included. They are looked at
    when they are first needed, and at each login until they are good.
    """

    CAPABILITIES = ("can_authenticate_user", "has_user_info", "has_groups_info")  # st2auth.backends.constants

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._given: Optional[dict[str, Any]] = {**kwargs, **({"positional arguments": None} if args else {})}
        self._engine: Optional[Engine] = None
        self._lock = threading.Lock()
        self._handed_over: dict[str, tuple[float, list[str]]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a backend is not to be stored: it holds passwords")

    def authenticate(self, username: Any, password: Any) -> bool:
        """True or False, literally, and one line in the audit log. Never raises."""
        attempt = Attempt(username)
        try:
            unfit = unfit_name(username) or unfit_password(password)
            if unfit:
                raise Refused(unfit)
            self._sign_in(attempt, username, password.encode("utf-8"))
        except AuthError as error:
            return attempt.end(f"refused: {error}" if isinstance(error, Refused) else f"failed: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is: the answer is no, and its text may hold anything
            return attempt.end(f"failed: internal error ({type(error).__name__})")
        return attempt.end(None)

    def get_user(self, username: str) -> Optional[dict[str, Any]]:
        """Name, DN and some attributes (lists of text) of a user; None if there is none or the directory is silent."""
        try:
            engine = self._ready()
            entry, _ = self._read_user(engine, username, groups=False)
        except AuthError as error:
            LOG.warning("no details of user %s: %s", shown(username), error)
            return None
        shown_values = {name: values for name in users.SHOWN if (values := entry.texts(name))}
        return {"username": username, "dn": entry.dn, **shown_values}

    def get_user_groups(self, username: str) -> list[str]:
        """The DNs of the user's groups, as the directory spells them, never empty. Raises GroupsUnknown."""
        try:
            if (handed_over := self._taken_over(username)) is not None:
                return handed_over
            _, names = self._read_user(self._ready(), username, groups=True)
        except AuthError as error:
            LOG.error("the groups of user %s cannot be told: %s", shown(username), error)
            raise GroupsUnknown(f"the groups of user {shown(username)} cannot be told") from None
        return names or [NO_GROUPS]

    def _ready(self) -> Engine:
        """The engine. Raises Misconfigured."""
        with self._lock:
            if self._engine is None:
                settings = parse(self._given or {})
                for remark in settings.remarks:
                    LOG.warning("%s", remark)
                self._engine = Engine(settings)
                self._given = None
            return self._engine

    def _sign_in(self, attempt: Attempt, username: str, password: bytes) -> None:
        """Raises AuthError unless the user is who it says and may come in."""
        engine = self._ready()
        deadline = Deadline(engine.settings.login_s, "the login")
        if engine.settings.user_bind_pattern:
            self._sign_in_by_itself(engine, attempt, username, password, deadline)
            return
        server, entry, link = engine.directory.anywhere(
            lambda server: _prepare(engine, server, username, deadline, attempt), deadline
        )
        refusal: Optional[str] = "not asked"
        try:
            refusal = engine.directory.bind_user(server, link, entry.dn, password, deadline)
        finally:
            if refusal:
                link.close()
        if refusal:
            raise Refused(refusal)
        server.give_users(link)

        def gate(server: Server) -> Optional[str]:
            attempt.server = str(server)
            return engine.directory.reading(server, lambda r: engine.groups.refusal(r, entry, username), deadline)

        if refusal := engine.directory.anywhere(gate, deadline, first=server):
            raise Refused(refusal)

    def _sign_in_by_itself(
        self, engine: Engine, attempt: Attempt, username: str, password: bytes, deadline: Deadline
    ) -> None:
        """Without a service account: the user's own bind, then its own entry and groups over the same connection."""
        name = fill_dn(engine.settings.user_bind_pattern or "", username)

        def connect(server: Server) -> tuple[Server, Link]:
            attempt.server = str(server)
            return server, engine.directory.open(server, deadline)

        server, link = engine.directory.anywhere(connect, deadline)
        try:
            if refusal := engine.directory.bind_user(server, link, name, password, deadline):
                raise Refused(refusal)
            engine.directory.identify(server, link)
            reader = Reader(server, link, engine.settings, deadline)
            entry = users.find_own(reader, engine.settings, username, name)
            if refusal := engine.groups.refusal(reader, entry, username):
                raise Refused(refusal)
            self._hand_over(username, engine.groups.names(reader, entry, username))
        except Unavailable:
            server.failed()
            raise
        finally:
            link.close()

    def _read_user(self, engine: Engine, username: str, *, groups: bool) -> tuple[Entry, list[str]]:
        """The user's entry, and its groups if they are wanted. Raises AuthError."""
        if engine.settings.user_bind_pattern:
            raise Unavailable("without a service account only a user who has just signed in is known")
        if unfit := unfit_name(username):
            raise Refused(unfit)
        deadline = Deadline(engine.settings.login_s, "reading a user")

        def read(reader: Reader) -> tuple[Entry, list[str]]:
            entry = users.find(reader, engine.settings, username, users.SHOWN)
            return entry, engine.groups.names(reader, entry, username) if groups else []

        return engine.directory.anywhere(lambda server: engine.directory.reading(server, read, deadline), deadline)

    def _hand_over(self, username: str, names: list[str]) -> None:
        """For the question about groups that st2auth asks right behind `authenticate`."""
        now = time.monotonic()
        for old in [name for name, (at, _) in list(self._handed_over.items()) if now - at > HANDED_OVER_S]:
            self._handed_over.pop(old, None)
        self._handed_over[username] = (now, names)

    def _taken_over(self, username: str) -> Optional[list[str]]:
        at, names = self._handed_over.pop(username, (0.0, []))
        return (names or [NO_GROUPS]) if at and time.monotonic() - at <= HANDED_OVER_S else None


class Attempt:
    """One login, and the one line about it."""

    def __init__(self, username: Any) -> None:
        self.username = username
        self.server = "-"
        self._started = time.monotonic()

    def end(self, why_not: Optional[str]) -> bool:
        """Write the line. True if there is no reason against it."""
        duration_ms = (time.monotonic() - self._started) * 1000
        outcome = "signed in" if why_not is None else why_not
        level = audit_level() or (logging.INFO if why_not is None else logging.WARNING)
        LOG.log(
            level,
            "sign-in user=%s server=%s duration_ms=%.0f %s",
            *(shown(self.username), self.server, duration_ms, outcome),
        )
        return why_not is None


def audit_level() -> Optional[int]:
    """StackStorm's level AUDIT, if a log takes it.

    It strikes AUDIT from all logs of level INFO, and the logging.auth.gunicorn.conf that it ships has no other.
    """
    level = getattr(logging, "AUDIT", None)
    if level is None:
        return None
    line = LOG.makeRecord(LOG.name, level, __file__, 0, "sign-in", (), None)
    logger: Optional[logging.Logger] = LOG
    while logger is not None:
        if any(level >= each.level and each.filter(line) for each in logger.handlers):
            return int(level)
        logger = logger.parent if logger.propagate else None
    return None


def shown(username: Any) -> str:
    """A name for a log, whatever it is: on one line and not long."""
    return ascii(username)[:80] if isinstance(username, str) and unfit_name(username) else repr(username)[:280]


def _prepare(
    engine: Engine, server: Server, username: str, deadline: Deadline, attempt: Attempt
) -> tuple[Server, Entry, Link]:
    """All that comes before the user's bind, and can be done again on another server."""
    attempt.server = str(server)
    entry = engine.directory.reading(server, lambda r: users.find(r, engine.settings, username), deadline)
    return server, entry, engine.directory.open_for_user(server, deadline)


__all__ = ["Ldap3AuthenticationBackend", "Misconfigured"]
