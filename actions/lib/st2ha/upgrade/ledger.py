"""What an upgrade meant to do and did: every step's intent and outcome, in a database of its own, with majority.

One document an upgrade, `old -> new` by their databases. A lease lets one controller work at a time: it is renewed
while its holder lives, and taken over when it has run out, or at once where its holder was a process of this machine
and is dead.
"""

from __future__ import annotations

import datetime
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.facts import LEDGER
from st2ha.plan import Step, Verb

UPGRADES, LEASES = "upgrades", "leases"
NEW, PREPARED, VERIFIED, CUTTING, CUT_OVER, ROLLED_BACK, RETIRED = (
    "new", "prepared", "verified", "cutting over", "cut over", "rolled back", "retired",
)  # fmt: skip
FINAL_STATES = (ROLLED_BACK, RETIRED)


@dataclass(frozen=True)
class Entry:
    """The ledger's word about an upgrade. `created`: what did not exist before it, and so may be deleted again.

    `switched_mark`: cluster time before the balancers were switched; `followed_mark`: that after which the old side's
    changes may not have come over.
    """

    state: str = NEW
    created: tuple[str, ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()
    switched_at: Optional[datetime.datetime] = None
    handed_over_at: Optional[datetime.datetime] = None
    window_s: Optional[float] = None
    switched_mark: Any = None
    followed_mark: Any = None

    @property
    def begun(self) -> bool:
        return bool(self.steps)

    @property
    def closed_at(self) -> Optional[datetime.datetime]:
        """When the old side's sensors and timers began to be stopped: the window opens."""
        return next((_aware(step["at"]) for step in self.steps if step["verb"] == "stop_inflow"), None)

    @property
    def unfinished(self) -> Optional[Mapping[str, Any]]:
        """The step that was begun last and has no outcome."""
        return self.steps[-1] if self.steps and "done_at" not in self.steps[-1] else None

    def did(self, verb: str) -> bool:
        """Whether a step with this verb was begun, in this upgrade, since the last rollback."""
        return any(step["verb"] == verb for step in self.steps)

    def broke_off(self, verb: str) -> bool:
        """Whether such a step was begun once and has no outcome."""
        return any(step["verb"] == verb and "done_at" not in step for step in self.steps)


@dataclass(frozen=True)
class Holder:
    """Who holds the lease: a process of a machine."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    born: str = ""

    @classmethod
    def me(cls) -> Holder:
        return cls(born=_born(os.getpid()))

    def as_dict(self) -> dict[str, Any]:
        return {"host": self.host, "pid": self.pid, "born": self.born}

    @property
    def dead(self) -> bool:
        """Only of this machine can that be told."""
        return self.host == socket.gethostname() and _born(self.pid) != self.born


class Ledger:
    """One upgrade's page. `lease()` before the first write, `release()` after the last."""

    def __init__(self, client: driver.Client, old: str, new: str, lease_s: float) -> None:
        self.name = f"{old} -> {new}"
        self._lease_s = lease_s
        database = client.get_database(LEDGER, write_concern=driver.majority(), read_concern=ReadConcern("majority"))
        self._upgrades, self._leases = database[UPGRADES], database[LEASES]
        self._me = Holder.me()
        self._end = threading.Event()
        self._lost = False
        self._thread: Optional[threading.Thread] = None

    def read(self) -> Entry:
        found = driver.through_election(lambda: self._upgrades.find_one({"_id": self.name})) or {}
        return Entry(
            state=str(found.get("state", NEW)),
            created=tuple(found.get("created", ())),
            steps=tuple(found.get("steps", ())),
            switched_at=_aware(found.get("switched_at")),
            handed_over_at=_aware(found.get("handed_over_at")),
            window_s=found.get("window_s"),
            switched_mark=found.get("switched_mark"),
            followed_mark=found.get("followed_mark"),
        )

    def holder(self) -> Optional[str]:
        """Who works on it now, in words; None if nobody does."""
        found = driver.through_election(lambda: self._leases.find_one({"_id": self.name}))
        if found is None or _holder(found).dead or found["until"] < _now().replace(tzinfo=None):
            return None
        return f"process {found['pid']} on {found['host']}"

    # -- the lease

    def lease(self) -> None:
        """HaError if another controller holds it."""
        found = driver.through_election(lambda: self._leases.find_one({"_id": self.name}))
        expected: dict[str, Any] = {"_id": self.name, "until": {"$lt": _now()}}
        if found is not None and _holder(found).dead:
            expected = {"_id": self.name, "pid": found["pid"], "host": found["host"], "born": found["born"]}
        until = {"until": _now() + datetime.timedelta(seconds=self._lease_s)}
        try:
            self._leases.update_one(expected, {"$set": {**self._me.as_dict(), **until}}, upsert=True)
        except DuplicateKeyError:
            raise HaError(
                f"{self.holder() or 'another controller'} works on this upgrade: wait for it, see upgrade_status"
            ) from None
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._end.set()
        if self._thread is not None:
            self._thread.join(1)
            self._leases.delete_one({"_id": self.name, **self._me.as_dict()})

    def _renew(self) -> None:
        while not self._end.wait(self._lease_s / 3):
            until = {"until": _now() + datetime.timedelta(seconds=self._lease_s)}
            try:
                done = self._leases.update_one({"_id": self.name, **self._me.as_dict()}, {"$set": until})
            except PyMongoError:
                continue  # an election; the lease outlasts one
            self._lost = self._lost or not done.matched_count

    # -- the steps

    def recorded(self, phase: str, verb: Verb) -> Verb:
        """The verb with its intent written before it, and its outcome after it."""

        def run(step: Step) -> str:
            if self._lost:
                raise WorldChanged("another controller has taken the lease: this one stops")
            try:
                return self._written(phase, verb, step)
            except PyMongoError as error:
                raise StepFailed(driver.words(error)) from None

        return run

    def _written(self, phase: str, verb: Verb, step: Step) -> str:
        row = {"phase": phase, "verb": step.verb, "target": step.target, "because": step.because, "at": _now()}
        number = self._update({"$push": {"steps": row}}) - 1
        note = verb(step)
        self._update({"$set": {f"steps.{number}.done_at": _now(), f"steps.{number}.note": note}})
        return note

    def created(self, what: str) -> None:
        """Written before it is made: what is not in here is never deleted."""
        self._update({"$addToSet": {"created": what}})

    def set(self, **values: Any) -> None:
        self._update({"$set": values})

    def begin_switch(self) -> None:
        """Before the first balancer is touched: when, and a cluster time before which lies all acknowledged until then.

        One write, for the window's sake; what the page has of it already stays.
        """
        values = {"switched_at": _now(), "switched_mark": "$$CLUSTER_TIME"}
        self._update([{"$set": {name: {"$ifNull": [f"${name}", value]} for name, value in values.items()}}])

    def _update(self, change: Any) -> int:
        """The number of steps now on the page.

        Once more after an election, even if the first write did come through: a step told twice does no harm.
        The whole page is read: a write that the driver sends again is answered without its projection (6.0.5).
        """
        after: Any = driver.through_election(
            lambda: self._upgrades.find_one_and_update(
                {"_id": self.name}, change, upsert=True, return_document=ReturnDocument.AFTER
            )
        )
        return len(after.get("steps", ()))

    def begin_anew(self, created: tuple[str, ...]) -> None:
        """After a rollback: the next attempt has a page of its own, which knows what is still there of ours."""
        page = self._upgrades.find_one({"_id": self.name})
        if page is not None:
            old = {**page, "_id": f"{self.name} until {_now().isoformat()}"}
            self._upgrades.insert_one(old)
            self._upgrades.replace_one({"_id": self.name}, {"state": NEW, "created": list(created), "steps": []})


def _holder(found: Mapping[str, Any]) -> Holder:
    return Holder(str(found["host"]), int(found["pid"]), str(found["born"]))


def _born(pid: int) -> str:
    """When a process of this machine began, in the kernel's ticks; empty if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _aware(moment: Any) -> Optional[datetime.datetime]:
    return moment.replace(tzinfo=datetime.timezone.utc) if moment is not None else None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
