"""A look at each directory server with the backend's own code: reach, TLS, clock, service account, groups."""

from __future__ import annotations

import datetime
import time
from typing import Optional

from st2ha.auth import backend as ldap
from st2ha.auth.facts import Controller, Group
from st2ha.auth.gate import Gate
from st2ha.config import Host
from st2ha.probe import Attempt, Silence, Unanswered
from st2ha.probe import connect as reach

WRONG_PASSWORD = 49
WAIT = 0.4
"""The share of its time that a look waits for the first service bind elsewhere."""


def look(settings: ldap.Settings, host: Host, gate: Gate, attempt: Attempt) -> Controller:
    """Raises Unanswered."""
    reach(host, attempt).close()
    began = time.monotonic()
    attempt.accepted = True
    deadline = ldap.Deadline(attempt.left_s() * 0.95, "looking at the server")
    link, expires_at = _connect(settings, host, deadline)
    attempt.afterwards(link.close)
    server = ldap.Server(host.name, host.port)
    try:
        service, asked = _bind(settings, link, gate, attempt)
        ldap.Directory(settings).identify(server, link)
        reader = ldap.Reader(server, link, settings, deadline)
        skew_s = _skew(reader)
        latency_s = time.monotonic() - began
    except ldap.OutOfTime as error:
        raise Unanswered(Silence.HUNG, str(error)) from None
    except ldap.AuthError as error:
        raise Unanswered(Silence.BROKEN, str(error)) from None
    groups: tuple[Group, ...] = ()
    unread = None
    if service is None and asked and not settings.user_bind_pattern:
        try:
            groups = _groups(settings, reader)
        except ldap.AuthError as error:
            unread = str(error)
    return Controller(str(host), latency_s, expires_at, skew_s, service, asked, groups, unread)


def _connect(settings: ldap.Settings, host: Host, deadline: ldap.Deadline) -> tuple[ldap.Link, Optional[float]]:
    """As the backend does, step by step: which one fails is the fact."""
    secure = not settings.plaintext_searches
    try:
        context = ldap.Trust(settings.ca_file).context()
        channel = ldap.Channel(ldap.Resolver().addresses(host.name, host.port, deadline), str(host), deadline)
    except ldap.AuthError as error:
        raise Unanswered(Silence.UNREACHABLE, str(error)) from None
    link = ldap.Link(channel)
    try:
        if secure and settings.starttls:
            link.start_tls()
        if secure:
            channel.start_tls(context, host.name)
    except ldap.AuthError as error:
        link.close()
        raise Unanswered(Silence.HUNG if isinstance(error, ldap.OutOfTime) else Silence.TLS, str(error)) from None
    return link, channel.certificate_end()


def _bind(settings: ldap.Settings, link: ldap.Link, gate: Gate, attempt: Attempt) -> tuple[Optional[str], bool]:
    """Why the service account is refused (None: it is not, or there is none), and whether it was tried."""
    if settings.bind_dn is None:
        return None, True
    if not gate.enter(attempt.left_s() * WAIT):
        return None, False
    wrong_password = False
    try:
        reply = link.bind(settings.bind_dn, settings.bind_password.reveal())
        wrong_password = reply.code == WRONG_PASSWORD
    finally:
        gate.answered(wrong_password)
    return ldap.refusal(reply), True


def _skew(reader: ldap.Reader) -> Optional[float]:
    """The server's clock less ours in the middle of the call; to the second. OpenLDAP does not tell."""
    before = time.time()
    root = reader.read("", ["currentTime"])
    middle = (before + time.time()) / 2
    text = root.text("currentTime") if root else None
    try:
        told = datetime.datetime.strptime((text or "")[:14], "%Y%m%d%H%M%S").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
    skew = told.timestamp() - middle
    return 0.0 if -1 <= skew <= 0 else skew  # the fraction is cut off


def _groups(settings: ldap.Settings, reader: ldap.Reader) -> tuple[Group, ...]:
    groups = ldap.Groups(settings)
    rules = (("required", settings.required), ("denied", settings.denied), ("optional", settings.optional))
    return tuple(Group(rule, name, groups.exists(reader, name)) for rule, names in rules for name in names)
