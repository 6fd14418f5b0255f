"""What of a side is still open: executions, queue items, trigger instances, messages. Drained means: nothing.

Source: the final states of st2common/constants/action.py; the durable queues of st2common/transport/queues.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Optional

import pika
from bson import ObjectId
from pika.exceptions import AMQPError, ChannelClosedByBroker

from st2ha.errors import HaError
from st2ha.mongodb import client as driver
from st2ha.naming import count

FINAL = ("succeeded", "failed", "timeout", "abandoned", "canceled")
WAITING = ("pending", "paused")
"""An inquiry that nobody has answered, and what somebody has paused: they may stay so for days."""
EXECUTIONS = ("live_action_d_b", "action_execution_d_b", "workflow_execution_d_b", "task_execution_d_b")
OURS = "ST2_ACTION_EXECUTION_ID"
"""StackStorm's python runner sets it (contrib/runners/python_runner)."""
SCHEDULING = "action_execution_scheduling_queue_item_d_b"
TRIGGERS = "trigger_instance_d_b"
TRIGGERS_DONE = ("processed", "processing_failed")
QUEUES = (
    "st2.actionrunner.req", "st2.actionrunner.work", "st2.actionrunner.cancel", "st2.actionrunner.pause",
    "st2.actionrunner.resume", "st2.workflow.work", "st2.workflow.resume", "st2.workflow.action.update",
    "st2.notifiers.execution.work", "st2.trigger_instances_dispatch.rules_engine", "st2.resultstracker.work",
)  # fmt: skip


@dataclass(frozen=True)
class Open:
    """Numbers of what is open. `waiting` are inquiries and paused executions, which `running` does not count."""

    running: int
    waiting: int
    scheduled: int
    triggers: int
    messages: int

    def missing(self, carry_waiting: bool) -> Optional[str]:
        """What there is to wait for, in words; None if drained."""
        parts = [
            count(self.running, "execution"),
            count(self.scheduled, "scheduled item"),
            count(self.triggers, "trigger instance"),
            count(self.messages, "message"),
        ]
        left = [part for part in parts if not part.startswith("0 ")]
        if self.waiting and not carry_waiting:
            left.append(f"{self.waiting} inquiries or paused executions")
        return ", ".join(left) or None


def look(client: driver.Client, database: str, urls: list[str], timeout_s: float) -> Open:
    """Count; HaError if the broker cannot be asked."""
    data = client[database]
    wanted = {"status": {"$nin": list(FINAL)}, "_id": {"$nin": ourselves(data, os.environ.get(OURS))}}
    states = [list(data[name].find(wanted, {"status": 1})) for name in EXECUTIONS]
    found = [str(row.get("status")) for rows in states for row in rows]
    waiting = sum(status in WAITING for status in found)
    return Open(
        running=len(found) - waiting,
        waiting=waiting,
        scheduled=data[SCHEDULING].count_documents({}),
        triggers=data[TRIGGERS].count_documents({"status": {"$nin": list(TRIGGERS_DONE)}}),
        messages=_messages(urls, timeout_s),
    )


def ourselves(data: Any, execution: Optional[str]) -> list[Any]:
    """The _ids of the execution that we are, and of the workflow around it: they end only after us."""
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


def _messages(urls: list[str], timeout_s: float) -> int:
    """In StackStorm's durable queues, by AMQP: the management API's numbers are seconds old."""
    words = "no URL"
    for url in urls:
        parameters = pika.URLParameters(url)
        parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = timeout_s
        try:
            connection = pika.BlockingConnection(parameters)
        except (AMQPError, OSError) as error:
            words = type(error).__name__
            continue
        try:
            return sum(_depth(connection, name) for name in QUEUES)
        except (AMQPError, OSError) as error:
            words = type(error).__name__
        finally:
            if connection.is_open:
                connection.close()
    raise HaError(f"no broker of the old side's st2.conf could be asked for its queues ({words}): run rabbitmq_check")


def _depth(connection: Any, name: str) -> int:
    channel = connection.channel()
    try:
        return int(channel.queue_declare(name, passive=True).method.message_count)
    except ChannelClosedByBroker:
        return 0  # there is no such queue
    finally:
        if channel.is_open:
            channel.close()
