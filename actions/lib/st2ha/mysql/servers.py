"""The sessions of a plan's execution: opened once, kept to its end, and the looks that come before a write."""

from __future__ import annotations

import dataclasses
from typing import Optional

from st2ha.config import Host
from st2ha.errors import StepFailed, WorldChanged
from st2ha.mysql import client as driver
from st2ha.mysql.client import Session
from st2ha.mysql.facts import Channel, Snapshot
from st2ha.mysql.gather import gather
from st2ha.mysql.parse import channels_of
from st2ha.mysql.settings import Mysql
from st2ha.plan import Step, Verb
from st2ha.probe import Silence, Silent

PATIENCE_S = 15.0
"""What one statement may take; more than any wait that is left to a server."""


class Servers:
    """The servers of one cluster; `snapshot` is the one that the plan was decided from."""

    def __init__(self, settings: Mysql, snapshot: Snapshot) -> None:
        self.settings, self.snapshot = settings, snapshot
        self.hosts = {str(host): host for host in snapshot.answers}
        self._sessions: dict[str, Session] = {}

    def close(self) -> None:
        """End all sessions."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def session(self, name: str) -> Session:
        """The session of a server, opened at the first use."""
        if name not in self._sessions:
            self._sessions[name] = self.dial(name)
        return self._sessions[name]

    def dial(self, name: str) -> Session:
        """A new session."""
        return driver.dial(self.settings, self.host(name), self.settings.timeout_s, PATIENCE_S)

    def host(self, name: str) -> Host:
        """The address of a server, or WorldChanged."""
        if name not in self.hosts:
            raise WorldChanged(f"{name} is not among the servers that were read")
        return self.hosts[name]

    def require_read_only(self, besides: str, all_of_them: bool = False) -> None:
        """WorldChanged unless the others are read-only; one that was silent before is left out, unless all count."""
        for name, host in self.hosts.items():
            silent = isinstance(self.snapshot.answers[host], Silent)
            if name == besides or (silent and not all_of_them):
                continue
            if not int(self.session(name).value("SELECT @@GLOBAL.read_only AS value")):
                raise WorldChanged(f"{name} takes writes: two writable servers would be a split brain")

    def still_silent(self, name: str) -> str:
        """The kind of its silence, asked again within a second; WorldChanged if it answers."""
        once = dataclasses.replace(
            self.settings, hosts=(self.host(name),), prefer=(), timeout_s=min(1.0, self.settings.timeout_s)
        )
        answer = gather(once).answers[self.host(name)]
        if not isinstance(answer, Silent) or answer.kind not in (Silence.REFUSED, Silence.UNREACHABLE, Silence.HUNG):
            raise WorldChanged(f"{name} answers again: check and decide again")
        return str(answer.kind.value)


def wait_for_position(session: Session, position: str, seconds: float, name: str) -> None:
    """Until everything up to `position` is applied there, or StepFailed."""
    if position and session.value(*session.dialect.waiting(position, seconds)) != 0:
        raise StepFailed(f"{name} has not applied everything up to {position} within {seconds:g} s")


def not_running(session: Session) -> Optional[str]:
    """What keeps it from replicating, None if it does; StepFailed if a server says that it never will."""
    channels: tuple[Channel, ...] = channels_of(session)
    if channels and all(channel.running for channel in channels):
        return None
    for channel in channels:
        if channel.io_errno and channel.io == "No":
            raise StepFailed(f"the server refuses: {channel.io_error}")
        if channel.sql_error:
            raise StepFailed(f"the SQL thread stopped: {channel.sql_error}")
    return (
        ", ".join(f"IO {channel.io}, SQL {channel.sql} {channel.io_error}" for channel in channels)
        or "no source is set"
    )


def in_sentences(verb: Verb) -> Verb:
    """The verb, with what the driver meets in it told as a StepFailed."""

    def telling(step: Step) -> str:
        try:
            return verb(step)
        except driver.DriverError as error:
            raise StepFailed(driver.words(error)) from None

    return telling
