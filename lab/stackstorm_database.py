"""A database such as StackStorm keeps: its collections' names, its indexes, documents of about a kilobyte."""

from __future__ import annotations

from typing import Any

import bson
from pymongo import IndexModel, MongoClient

FINAL = ("succeeded", "failed", "timeout", "abandoned", "canceled")
EXECUTION_INDEXES: tuple[tuple[tuple[str, int], ...], ...] = (
    *(
        ((field, 1),)
        for field in (
            "rule.ref", "action.ref", "liveaction.id", "start_timestamp", "end_timestamp", "status", "parent",
            "rule.name", "runner.name", "trigger.name", "trigger_type.name", "trigger_instance.id", "context.user",
            "workflow_execution", "task_execution",
        )
    ),
    (("start_timestamp", -1), ("action.ref", 1), ("status", 1)),
)  # fmt: skip
"""As st2common/models/db/execution.py declares them for action_execution_d_b."""
MANY = 20_000
"""So many documents are indexed sooner when they are all there."""
COLLECTIONS = (
    "live_action_d_b", "workflow_execution_d_b", "task_execution_d_b", "action_execution_scheduling_queue_item_d_b",
    "trigger_instance_d_b", "action_d_b", "rule_d_b", "sensor_type_d_b", "user_d_b", "token_d_b", "key_value_pair_d_b",
)  # fmt: skip


def execution(number: int, padding: str = "x" * 560) -> dict[str, Any]:
    """An execution that has ended, about 1 kB as BSON."""
    return {
        "_id": bson.ObjectId(),
        "action": {"ref": f"core.local{number % 40}", "uid": f"action:core:local{number % 40}"},
        "runner": {"name": "local-shell-cmd"},
        "liveaction": {"id": f"{number:024x}"},
        "status": FINAL[number % 2],
        "start_timestamp": 1_700_000_000_000_000 + number * 1000,
        "end_timestamp": 1_700_000_000_500_000 + number * 1000,
        "parameters": {"cmd": "date"},
        "context": {"user": f"user{number % 20}"},
        "log": [{"timestamp": number, "status": "requested"}, {"timestamp": number + 1, "status": "running"}],
        "result": {"stdout": padding, "return_code": 0},
    }


def fill(client: MongoClient[dict[str, Any]], name: str, executions: int, batch: int = 5000) -> None:
    """Make the database `name` with so many executions and all indexes."""
    database = client[name]
    indexes = [IndexModel(list(keys)) for keys in EXECUTION_INDEXES]
    if executions < MANY:
        database.action_execution_d_b.create_indexes(indexes)
    for collection in COLLECTIONS:
        database[collection].create_index("uid")
    database.user_d_b.create_index("name", unique=True)
    database.token_d_b.create_index("token", unique=True)
    database.token_d_b.create_index("expiry", expireAfterSeconds=0)
    for first in range(0, executions, batch):
        documents = [execution(number) for number in range(first, min(first + batch, executions))]
        database.action_execution_d_b.insert_many(documents, ordered=False)
    if executions >= MANY:
        database.action_execution_d_b.create_indexes(indexes)
