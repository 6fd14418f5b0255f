"""StackStorm's own expression functions for workflows, besides those of orquesta: st2kv(), task() and the text ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from st2ha.local.expressions import FUNCTIONS, KeyLookup

Results = dict[tuple[str, int], dict[str, Any]]

#: The task results of each workflow that runs now, by its id and then by (task, route).
RUNS: dict[str, Results] = {}


def workflow_functions(kv: KeyLookup) -> dict[str, Callable[..., Any]]:
    """By name; a function whose first parameter is `context` is given the workflow's context by orquesta."""

    def st2kv(context: Any, key: str, **kwargs: Any) -> Any:
        value = str(kv[key])
        if not value and "default" not in kwargs:
            raise _evaluation_error(f'The key "{key}" does not exist in the local datastore.')
        return value or kwargs["default"]

    return {**FUNCTIONS, "st2kv": st2kv, "task": _task}


def _task(context: Any, task_id: str | None = None, route: int | None = None) -> Any:
    try:
        current = context["__current_task"] or {}
    except KeyError:
        current = {}
    name = str(task_id or current.get("id"))
    wanted = int(current.get("route", 0)) if route is None else route
    run = context["__vars"]["st2"]["workflow_execution_id"]
    record = RUNS[run].get((name, wanted)) or RUNS[run].get((name, 0))
    if record is None:
        raise _evaluation_error(f'Unable to find task execution for "{name}".')
    return {"task_id": name, "task_name": name, "route": wanted, "workflow_execution_id": run, **record}


def _evaluation_error(message: str) -> Exception:
    error: Exception = importlib.import_module("orquesta.exceptions").ExpressionEvaluationException(message)
    return error
