"""What of a side is still open: executions, queue items, trigger instances, messages. Drained means: nothing.

Source: the final states of st2common/constants/action.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from bson import ObjectId

from st2ha.mongodb import client as driver
from st2ha.naming import count
from st2ha.upgrade.queues import Queues

FINAL = ("succeeded", "failed", "timeout", "abandoned", "canceled")
INQUIRY, PAUSED = "pending", "paused"
"""An inquiry that nobody has answered, and what somebody has paused: they may stay so for days."""
WAIT, CARRY, ABORT = CHOICES = ("wait", "carry", "abort")
EXECUTIONS = ("live_action_d_b", "action_execution_d_b", "workflow_execution_d_b", "task_execution_d_b")
EXECUTION = "action_execution_d_b"
LISTED = 3
OURS = "ST2_ACTION_EXECUTION_ID"
"""StackStorm's python runner sets it (contrib/runners/python_runner)."""
SCHEDULING = "action_execution_scheduling_queue_item_d_b"
TRIGGERS = "trigger_instance_d_b"
TRIGGERS_DONE = ("processed", "processing_failed")


@dataclass(frozen=True)
class Leftovers:
    """What becomes of what waits for people: waited for, carried over as it is, or canceled. By class."""

    inquiries: str = WAIT
    paused: str = WAIT


WAIT_FOR_ALL = Leftovers()


@dataclass(frozen=True)
class Open:
    """What is open. `inquiries` and `paused` are executions by their number, which `running` does not count.

    An execution that is paused because an inquiry below it waits belongs to `inquiries`.
    """

    running: int
    inquiries: tuple[str, ...]
    paused: tuple[str, ...]
    scheduled: int
    triggers: int
    messages: int

    def missing(self, leftovers: Leftovers) -> Optional[str]:
        """What there is to wait for, in words; None if drained."""
        waiting = (("inquiries", self.inquiries, leftovers.inquiries), ("paused", self.paused, leftovers.paused))
        parts = [
            count(self.running, "execution"),
            count(self.scheduled, "scheduled item"),
            count(self.triggers, "trigger instance"),
            count(self.messages, "message"),
        ]
        left = [part for part in parts if not part.startswith("0 ")]
        left += [f"{name}: {listed(numbers)}" for name, numbers, choice in waiting if numbers and choice != CARRY]
        return ", ".join(left) or None

    def to_abort(self, leftovers: Leftovers) -> tuple[str, ...]:
        """The executions that are to be canceled."""
        waiting = ((self.inquiries, leftovers.inquiries), (self.paused, leftovers.paused))
        return tuple(number for numbers, choice in waiting for number in numbers if choice == ABORT)


def listed(numbers: Sequence[str]) -> str:
    """The first few of them."""
    return ", ".join(numbers[:LISTED]) + (f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else "")


def look(client: driver.Client, database: str, queues: Queues) -> Open:
    """Count; HaError if the broker cannot be asked."""
    data = client[database]
    wanted = {"status": {"$nin": list(FINAL)}, "_id": {"$nin": ourselves(data, os.environ.get(OURS))}}
    rows = [(name, row) for name in EXECUTIONS for row in data[name].find(wanted, {"status": 1})]
    waiting = [(name, row) for name, row in rows if row.get("status") in (INQUIRY, PAUSED)]
    asked = [row["_id"] for _, row in waiting if row["status"] == INQUIRY]
    around = {*asked, *(each for number in asked for each in ourselves(data, str(number)))}
    inquiries = [(name, row) for name, row in waiting if row["_id"] in around]
    return Open(
        running=len(rows) - len(waiting),
        inquiries=_numbers(inquiries),
        paused=_numbers([each for each in waiting if each not in inquiries]),
        scheduled=data[SCHEDULING].count_documents({}),
        triggers=data[TRIGGERS].count_documents({"status": {"$nin": list(TRIGGERS_DONE)}}),
        messages=queues.messages(),
    )


def _numbers(rows: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    """As people see them: of executions; of what else is open only where no execution is."""
    seen = [str(row["_id"]) for name, row in rows if name == EXECUTION]
    return tuple(seen or [str(row["_id"]) for _, row in rows])


def ourselves(data: Any, execution: Optional[str]) -> list[Any]:
    """The _ids of an execution (of the one that we are: they end only after us), and of the workflow around it."""
    found: list[Any] = []
    while execution and ObjectId.is_valid(execution):
        row = data["action_execution_d_b"].find_one({"_id": ObjectId(execution)}) or {}
        names = (
            execution,
            row.get("liveaction", {}).get("id"),
            row.get("workflow_execution"),
            row.get("task_execution"),
        )
        found += [ObjectId(name) for name in names if name and ObjectId.is_valid(name)]
        if row.get("workflow_execution") is None:
            inner = data["workflow_execution_d_b"].find_one({"action_execution": execution}, {"_id": 1})
            found += [inner["_id"]] if inner else []
        execution = row.get("parent")
    return found
