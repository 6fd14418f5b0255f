"""The verbs of MongoDB's plans. Each looks again before it writes, and may be repeated."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Optional

from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from st2ha.change import wait_until
from st2ha.config import Host, Mongodb
from st2ha.errors import DeadlineExceeded, StepFailed, WorldChanged
from st2ha.mongodb import client as driver
from st2ha.mongodb.decide import CLIENTS_LOOK_S, STEP_DOWN_S
from st2ha.mongodb.facts import OpTime, Snapshot, is_writable
from st2ha.plan import Step, Verb

CATCH_UP_S = 30.0
ELECT_S = 15.0
AWAIT_S, AWAIT_PAUSE_S = CLIENTS_LOOK_S + 5.0, 0.5
FOLLOW_S = 12.0
NOTES = 2
FOLLOW_PAUSE_S = 0.05
CALM_S = 1.0
CANARY = "canary"


class Acting:
    """The verbs for one set; `snapshot` is the one that the plan was decided from (it maps names to addresses)."""

    def __init__(self, settings: Mongodb, snapshot: Snapshot) -> None:
        self.settings = settings
        self.hosts = {snapshot.name_of(host): host for host in snapshot.answers}

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "catch_up": self.catch_up,
            "await_clients": self.await_clients,
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
                return None if now >= goal else f"at {now}, wanted {goal}"

            waited_s = wait_until(lag, CATCH_UP_S, f"{target} to catch up with {primary}")
        return f"has everything up to {goal.seconds} after {waited_s:.2f} s"

    def await_clients(self, step: Step) -> str:
        """Give clients the time in which they look for the target since it came back; comfort only.

        One that has not found it must do so in the moment of the switch, and asks no server twice in half a second:
        its writes wait for up to 0.5 s (measured) instead of less than 0.1 s.
        """
        with self._client(str(step.expect["primary"])) as there:
            self._still_primary(there, step)

            def unknown() -> Optional[str]:
                rows = there.admin.command("replSetGetStatus")["members"]
                up_s = next((row["uptime"] for row in rows if row["name"].lower() == step.target), 0)
                return None if up_s > CLIENTS_LOOK_S else f"the primary has heard of it for {up_s} s"

            try:
                waited_s = wait_until(unknown, AWAIT_S, f"clients to find {step.target}", pause_s=AWAIT_PAUSE_S)
            except DeadlineExceeded as late:
                return f"{late}: clients may need half a second to find it"
        return f"clients have had {CLIENTS_LOOK_S} s to find it, after {waited_s:.2f} s"

    def follow(self, step: Step) -> str:
        """Have a secondary sync from the given source; comfort only, so a server that insists on another keeps it.

        The server takes a source only if that is ahead in the moment of asking, so it is asked often, and a note in the
        oplog makes sure that there is something to be ahead by. One question too many makes it sleep for a second with
        its new source: only a second note that arrived after the first shows that it really follows.
        """
        source, primary = str(step.expect["source"]), str(step.expect["primary"])
        notes: list[OpTime] = []
        with self._client(primary) as there, self._client(step.target) as here:
            self._still_primary(there, step)

            def missing() -> Optional[str]:
                current = here.admin.command("replSetGetStatus").get("syncSourceHost", "")
                if current != source:
                    notes.clear()
                    _note(there)
                    try:
                        here.admin.command("replSetSyncFrom", source)
                    except OperationFailure as error:
                        return driver.words(error)
                    return f"it syncs from {current or 'nobody'}"
                if not notes or _applied(here) >= notes[-1]:
                    if len(notes) == NOTES:
                        return None
                    notes.append(_note(there))
                return "it has only just begun"

            try:
                waited_s = wait_until(missing, FOLLOW_S, f"{step.target} to follow {source}", pause_s=FOLLOW_PAUSE_S)
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
        """Only the primary of the plan's term; the server refuses when no secondary has all writes.

        The successor is asked to run in the same breath, over a connection that is open by then: the longer a set has
        no primary, the likelier a follower drops its sync source, and then majority writes wait a second for it. For
        the same reason the moment is one in which no write waits for its majority, if one comes (decision 1).
        """
        with self._client(step.target) as client, self._client(str(step.expect["successor"])) as successor:
            successor.admin.command("ping")
            if not is_writable(client.admin.command("hello")):
                return "is not primary any more"
            self._still_primary(client, step)
            with contextlib.suppress(DeadlineExceeded):
                wait_until(lambda: _in_flight(client), CALM_S, "a moment without a write", pause_s=0)
            try:
                client.admin.command(
                    "replSetStepDown", STEP_DOWN_S, secondaryCatchUpPeriodSecs=min(10, STEP_DOWN_S - 1), force=False
                )
            except AutoReconnect:
                return "stepped down (and closed the connection, as old versions do)"
            except OperationFailure as error:
                raise StepFailed(f"the server refused: {driver.words(error)}; it is still primary") from None
            with contextlib.suppress(PyMongoError):  # `elect` asks again, and sees whether it won
                successor.admin.command("replSetStepUp")
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


def _applied(client: driver.Client) -> OpTime:
    optime = OpTime.from_reply(client.admin.command("hello")["lastWrite"]["opTime"])
    if optime is None:
        raise StepFailed("a member does not tell its position in the oplog")
    return optime


def _in_flight(primary: driver.Client) -> Optional[str]:
    """What was written and is not known to be with a majority."""
    last = primary.admin.command("hello")["lastWrite"]
    return None if last["opTime"] == last["majorityOpTime"] else "a write is on its way"


def _note(primary: driver.Client) -> OpTime:
    """Something to replicate; the position that it has in the oplog, or a later one."""
    primary.admin.command("appendOplogNote", data={"st2ha": "switchover"})
    return _applied(primary)


def canary(settings: Mongodb) -> float:
    """A canary through the set's own primary, as a client finds it; seconds. PyMongoError words become StepFailed."""
    client = driver.set_client(settings, settings.timeout_s)
    try:
        return write_canary(client, settings)
    except PyMongoError as error:
        raise StepFailed(driver.words(error)) from None
    finally:
        client.close()
