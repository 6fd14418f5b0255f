"""The verbs of MongoDB's plans. Each looks again before it writes, and may be repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from st2ha.config import Host, Mongodb
from st2ha.errors import DeadlineExceeded, StepFailed, WorldChanged
from st2ha.mongodb import client as driver
from st2ha.mongodb.decide import STEP_DOWN_S
from st2ha.mongodb.facts import OpTime, Snapshot, is_writable
from st2ha.plan import Step, Verb

CATCH_UP_S = 30.0
ELECT_S = 15.0
PAUSE_S = 0.02
FOLLOW_S = 12.0
FOLLOWED_S = 0.3
FOLLOW_PAUSE_S = 0.05
CANARY = "canary"


class Acting:
    """The verbs for one set; `snapshot` is the one that the plan was decided from (it maps names to addresses)."""

    def __init__(self, settings: Mongodb, snapshot: Snapshot) -> None:
        self.settings = settings
        self.hosts = {snapshot.name_of(host): host for host in snapshot.answers}

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "catch_up": self.catch_up,
            "follow": self.follow,
            "freeze": self.freeze,
            "step_down": self.step_down,
            "elect": self.elect,
            "prove": self.prove,
        }

    def catch_up(self, step: Step) -> str:
        """Wait until the target has applied what the primary had when the wait began."""
        primary, target = str(step.expect["primary"]), step.target
        with self._client(primary) as there, self._client(target) as here:
            self._still_primary(there, step)
            goal = _applied(there)

            def lag() -> Optional[str]:
                now = _applied(here)
                return None if goal is None or (now is not None and now >= goal) else f"at {now}, wanted {goal}"

            waited_s = wait_until(lag, CATCH_UP_S, f"{target} to catch up with {primary}")
        return f"has everything up to {goal.seconds if goal else '?'} after {waited_s:.2f} s"

    def follow(self, step: Step) -> str:
        """Have a secondary sync from the given source; comfort only, so a server that insists on another keeps it.

        The server takes a source only if that is ahead in the moment of asking: so it is asked often, and a note in
        the oplog makes sure that there is something to be ahead by.
        """
        source, primary = str(step.expect["source"]), str(step.expect["primary"])
        held_since: list[float] = []
        with self._client(primary) as there, self._client(step.target) as here:
            self._still_primary(there, step)

            def elsewhere() -> Optional[str]:
                current = here.admin.command("replSetGetStatus").get("syncSourceHost", "")
                if current != source:
                    held_since.clear()
                    there.admin.command("appendOplogNote", data={"st2ha": "switchover"})
                    try:
                        here.admin.command("replSetSyncFrom", source)
                    except OperationFailure as error:
                        return driver.words(error)
                    return f"it syncs from {current or 'nobody'}"
                held_since.append(time.monotonic())
                return None if held_since[-1] - held_since[0] >= FOLLOWED_S else "it has only just begun"

            try:
                waited_s = wait_until(elsewhere, FOLLOW_S, f"{step.target} to follow {source}", pause_s=FOLLOW_PAUSE_S)
            except DeadlineExceeded as late:
                return f"{late}: majority writes may wait a second longer"
        return f"follows {source} after {waited_s:.2f} s"

    def freeze(self, step: Step) -> str:
        """replSetFreeze; a member that is primary or already elected otherwise needs none."""
        seconds = int(step.expect["seconds"])
        with self._client(step.target) as client:
            try:
                client.admin.command("replSetFreeze", seconds)
            except OperationFailure as error:
                if "running for election" not in str(error) and "primary" not in str(error).lower():
                    raise
                return "is primary: nothing to freeze"
        return f"frozen for {seconds} s" if seconds else "not frozen"

    def step_down(self, step: Step) -> str:
        """Only the primary of the plan's term; the server refuses when no secondary has all writes."""
        with self._client(step.target) as client:
            if not is_writable(client.admin.command("hello")):
                return "is not primary any more"
            self._still_primary(client, step)
            try:
                client.admin.command(
                    "replSetStepDown", STEP_DOWN_S, secondaryCatchUpPeriodSecs=min(10, STEP_DOWN_S - 1), force=False
                )
            except AutoReconnect:
                return "stepped down (and closed the connection, as old versions do)"
            except OperationFailure as error:
                raise StepFailed(f"the server refused: {driver.words(error)}; it is still primary") from None
        return f"stepped down for {STEP_DOWN_S} s"

    def elect(self, step: Step) -> str:
        """Ask the target to run until it accepts writes. It loses only to a member that has more."""
        with self._client(step.target) as client:

            def not_yet() -> Optional[str]:
                if is_writable(client.admin.command("hello")):
                    return None
                try:
                    client.admin.command("replSetStepUp")
                except (OperationFailure, AutoReconnect) as error:
                    return driver.words(error)
                return "elected, not yet writable"

            waited_s = wait_until(not_yet, ELECT_S, f"{step.target} to become primary")
            term = client.admin.command("replSetGetStatus")["term"]
        return f"primary of term {term} after {waited_s:.2f} s"

    def prove(self, step: Step) -> str:
        with self._client(step.target) as client:
            took_s = write_canary(client, self.settings)
        return f"a majority write came back in {took_s * 1000:.0f} ms"

    def _client(self, name: str) -> Any:
        host: Optional[Host] = self.hosts.get(name)
        if host is None:
            raise WorldChanged(f"{name} is not among the members that were read")
        return driver.connected(self.settings, host, max(self.settings.timeout_s, STEP_DOWN_S))

    @staticmethod
    def _still_primary(client: driver.Client, step: Step) -> None:
        wanted = step.expect["term"]
        term = client.admin.command("replSetGetStatus")["term"]
        if term != wanted:
            raise WorldChanged(f"the set is in term {term}, the plan was made in term {wanted}: check and decide again")


def write_canary(client: driver.Client, settings: Mongodb) -> float:
    """Write a document to a majority and read it back; returns seconds. PyMongoError or StepFailed if it fails."""
    began = time.monotonic()
    collection = client[settings.canary_database].get_collection(
        CANARY, write_concern=driver.majority(), read_concern=ReadConcern("majority")
    )
    stamp = time.time_ns()
    collection.replace_one({"_id": "canary"}, {"stamp": stamp}, upsert=True)
    found = collection.find_one({"_id": "canary"})
    if found is None or found["stamp"] < stamp:
        raise StepFailed(f"the write to {settings.canary_database}.{CANARY} was acknowledged and is not there")
    return time.monotonic() - began


def wait_until(missing: Callable[[], Optional[str]], deadline_s: float, what: str, pause_s: float = PAUSE_S) -> float:
    """Call `missing` until it returns None; returns the seconds. DeadlineExceeded says what was missing."""
    began = time.monotonic()
    while True:
        last = missing()
        waited_s = time.monotonic() - began
        if last is None:
            return waited_s
        if waited_s >= deadline_s:
            raise DeadlineExceeded(f"waited {deadline_s:g} s for {what}: {last}")
        time.sleep(pause_s)


def _applied(client: driver.Client) -> Optional[OpTime]:
    return OpTime.from_reply(client.admin.command("hello")["lastWrite"]["opTime"])


def canary(settings: Mongodb) -> float:
    """A canary through the set's own primary, as a client finds it; seconds. PyMongoError words become StepFailed."""
    client = driver.set_client(settings, settings.timeout_s)
    try:
        return write_canary(client, settings)
    except PyMongoError as error:
        raise StepFailed(driver.words(error)) from None
    finally:
        client.close()
