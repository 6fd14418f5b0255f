"""The verbs of MySQL's plans. Each looks again before it writes, and may be repeated.

Sessions are opened before the first write and kept for the whole plan: a handshake in the middle of it would only
lengthen the time in which nobody can write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from st2ha.change import wait_until
from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.mysql import client as driver
from st2ha.mysql.canary import write_canary
from st2ha.mysql.client import Session
from st2ha.mysql.facts import Snapshot
from st2ha.mysql.parse import channels_of, gtids_of
from st2ha.mysql.servers import Servers, in_sentences, not_running, wait_for_position
from st2ha.mysql.settings import Mysql
from st2ha.plan import Step, Verb
from st2ha.report import Finding, Severity

FREEZE_S = 5
"""How long a running statement may keep the freeze waiting; new writes wait behind it, so not longer."""
CATCH_UP_S = 10.0
DRAIN_S = 60.0
ATTACH_S = 15.0
CONFIRM_S = 2.0
LOCK_TIMEOUT = 1205

Announce = Callable[[str, Mapping[str, Any]], str]
"""Runs an action by name with parameters and waits for it; returns a note, raises HaError if it failed."""


class Acting(Servers):
    """The verbs for one cluster, and the lock that a switchover holds on the old primary."""

    def __init__(self, settings: Mysql, snapshot: Snapshot, announce: Optional[Announce] = None) -> None:
        super().__init__(settings, snapshot)
        self.findings: list[Finding] = []
        self._announce = announce
        self._lock: Optional[Session] = None
        self._frozen_at: Optional[str] = None

    def verbs(self) -> Mapping[str, Verb]:
        """By name; what the driver meets in one becomes a sentence."""
        names = (
            "freeze", "catch_up", "promote", "announce", "release", "forget_source", "attach", "prove", "unfreeze",
            "follow_again", "fence", "confirm_lost", "drain", "record",
        )  # fmt: skip
        return {name: in_sentences(getattr(self, name)) for name in names}

    def close(self) -> None:
        """End the sessions; a lock that is still held goes with its session."""
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- the planned switchover

    def freeze(self, step: Step) -> str:
        """Make the old primary read-only, behind everything that runs there. A lock keeps even administrators out.

        Nothing undoes read_only if we die now: then nobody is writable, which is safe.
        """
        self.require_read_only(besides=step.target)
        self.session(str(step.expect["target"]))
        self._lock = lock = self.dial(step.target)
        old = self.session(step.target)
        began = time.monotonic()
        lock.run(f"SET SESSION lock_wait_timeout={FREEZE_S}")
        try:
            if lock.dialect.mariadb:
                lock.run("FLUSH TABLES WITH READ LOCK")
            lock.run(*lock.dialect.freeze)
        except driver.DriverError as error:
            if driver.code_of(error) != LOCK_TIMEOUT:
                raise
            raise StepFailed(f"a statement has been running for more than {FREEZE_S} s: nothing was changed") from None
        self._frozen_at = str(old.value(old.dialect.position) or "").replace("\n", "")
        return f"read-only after {(time.monotonic() - began) * 1000:.0f} ms, at {self._frozen_at or 'the beginning'}"

    def catch_up(self, step: Step) -> str:
        """Wait until the target has applied everything up to the frozen position."""
        if self._frozen_at is None:
            raise WorldChanged("the old primary was not frozen by this plan")
        began = time.monotonic()
        wait_for_position(self.session(step.target), self._frozen_at, CATCH_UP_S, step.target)
        return f"has everything after {(time.monotonic() - began) * 1000:.0f} ms"

    def promote(self, step: Step) -> str:
        """Stop replicating and take writes, if every other server that can be asked is read-only."""
        session = self.session(step.target)
        found = int(session.value("SELECT @@server_id AS value"))
        if found != step.expect["server_id"]:
            raise WorldChanged(f"{step.target} has server_id {found}, the plan was made for {step.expect['server_id']}")
        self.require_read_only(besides=step.target)
        session.run(session.dialect.stop)
        if self._frozen_at is not None:
            wait_for_position(session, self._frozen_at, 0, step.target)
        self.require_read_only(besides=step.target)
        session.run("SET GLOBAL read_only=0")
        return "takes writes"

    def release(self, step: Step) -> str:
        """End the clients' connections to the old primary, then the lock that held their writes."""
        session, ended = self.session(step.target), 0
        for row in session.rows("SHOW PROCESSLIST"):
            ours = row["User"] in (self.settings.username, self.settings.replication_username)
            if not ours and row["User"] not in ("system user", "event_scheduler") and "Dump" not in str(row["Command"]):
                with contextlib.suppress(*driver.DriverError):  # it may have gone by itself
                    session.run(f"KILL {int(row['Id'])}")
                    ended += 1
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        return f"{ended} connections ended"

    def forget_source(self, step: Step) -> str:
        """Else it would replicate from its former primary again, once somebody starts its threads."""
        session = self.session(step.target)
        session.run(session.dialect.stop, session.dialect.reset)
        return "replicates from nobody"

    def attach(self, step: Step) -> str:
        """Make the target a read-only replica of the source, unless it has what the source has not."""
        source, (user, password) = str(step.expect["source"]), self.settings.replication_login()
        session, above = self.session(step.target), self.session(source)
        host = self.hosts[source]
        errant = gtids_of(session).beyond(gtids_of(above))
        if errant:
            raise WorldChanged(f"it has transactions that {source} has not ({errant}): they would be lost")
        session.run(*session.dialect.freeze, session.dialect.stop)
        for statement, values in session.dialect.attaching(
            host.name, host.port, user, password, self.settings.tls.enabled
        ):
            session.rows(statement, values)
        session.run(session.dialect.start)
        waited_s = wait_until(lambda: not_running(session), ATTACH_S, f"{step.target} to replicate from {source}")
        return f"replicates after {waited_s:.2f} s"

    def prove(self, step: Step) -> str:
        """A write must arrive at every replica, with the same checksum."""
        replicas = {name: self.session(name) for name in step.expect["replicas"]}
        return write_canary(self.session(step.target), replicas, self.settings.canary_database)

    # -- the way back

    def unfreeze(self, step: Step) -> str:
        """Open the old primary again, if every other server is read-only."""
        self.require_read_only(besides=step.target, all_of_them=True)
        self.session(step.target).run("SET GLOBAL read_only=0")
        return "takes writes again"

    def follow_again(self, step: Step) -> str:
        """Start the threads that the promotion had stopped."""
        session = self.session(step.target)
        session.run(session.dialect.start)
        waited_s = wait_until(lambda: not_running(session), ATTACH_S, f"{step.target} to replicate again")
        return f"replicates after {waited_s:.2f} s"

    # -- the forced failover

    def fence(self, step: Step) -> str:
        """Read-only at once, without waiting for what runs there longer than a moment; its clients are ended."""
        session = self.session(step.target)
        session.run("SET SESSION lock_wait_timeout=1")
        for attempt in (1, 2):
            try:
                session.run(*session.dialect.freeze)
                break
            except driver.DriverError as error:
                if driver.code_of(error) != LOCK_TIMEOUT or attempt == 2:
                    raise
                self.release(step)  # what kept it waiting
        return f"read-only, {self.release(step)}"

    def confirm_lost(self, step: Step) -> str:
        """The candidate must have lost its source, too: a stream that only looks alive is begun anew."""
        former, session = str(step.expect["former"]), self.session(step.target)
        silent = self.still_silent(former)
        if all(channel.io != "Yes" for channel in channels_of(session)):
            return f"{former} is {silent}, and lost to {step.target}"
        session.run(session.dialect.stop_io, session.dialect.start_io)
        end = time.monotonic() + CONFIRM_S
        while time.monotonic() < end:
            if any(channel.io == "Yes" for channel in channels_of(session)):
                raise WorldChanged(f"{step.target} reaches {former}: it is alive")
            time.sleep(0.1)
        return f"{former} is {silent}, and {step.target} could not reach it again within {CONFIRM_S:g} s"

    def drain(self, step: Step) -> str:
        """Apply the whole relay log: what the dead primary has sent and somebody has been told is safe."""
        session = self.session(step.target)
        session.run(session.dialect.stop_io)

        def left() -> Optional[str]:
            channels = channels_of(session)
            stopped = next((each for each in channels if each.sql != "Yes" and not each.drained), None)
            if stopped is not None:
                raise StepFailed(f"its SQL thread stopped ({stopped.sql_error or 'no error'}) with changes unapplied")
            return None if all(each.drained for each in channels) else "its relay log is not applied yet"

        waited_s = wait_until(left, DRAIN_S, f"{step.target} to apply its relay log")
        return f"applied everything after {waited_s:.2f} s"

    def record(self, step: Step) -> str:
        """Remember the failover in the servers themselves: it must be known where StackStorm is not."""
        session, database = self.session(step.target), self.settings.canary_database
        session.run(
            f"CREATE DATABASE IF NOT EXISTS `{database}`",
            f"CREATE TABLE IF NOT EXISTS `{database}`.failovers "
            "(at DOUBLE PRIMARY KEY, former VARCHAR(255) NOT NULL, current VARCHAR(255) NOT NULL) ENGINE=InnoDB",
        )
        session.rows(
            f"INSERT INTO `{database}`.failovers (at, former, current) VALUES (%s, %s, %s)",
            (time.time(), str(step.expect["former"]), step.target),
        )
        return f"recorded in {database}.failovers"

    def announce(self, step: Step) -> str:
        """Run the hook. The promotion is done: a hook that fails is told loudly, and the plan goes on."""
        action = str(step.expect["action"])
        parameters = {"cluster": self.settings.cluster, "primary": step.target, "former": step.expect["former"]}
        try:
            if self._announce is None:
                raise HaError("there is nobody here who could run it")
            return self._announce(action, parameters)
        except HaError as error:
            subject, remedy = f"mysql/{self.settings.cluster}", f"run {action} by hand: clients must find {step.target}"
            message = f"{action} failed ({error}): clients may still look for the old primary"
            self.findings.append(Finding("HookFailed", Severity.CRITICAL, subject, message, remedy))
            return f"FAILED: {error}"
