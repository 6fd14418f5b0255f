"""Workflows: what orquesta's own inspection (inspection.py) does not look at, and its forms.

StackStorm registers a workflow without reading it. Sources: orquesta/specs/native/v1/models.py for the forms, and
runs of it for ``do: [cleanup, fail]`` (cleanup never runs).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from metadata.calls import call_problems
from metadata.load import WORKFLOWS, Document, Pack, listing, mapping, text
from metadata.parameters import own_parameters
from metadata.problem import Problem
from metadata.shape import shape_problems

_TEXT = {"type": "string", "minLength": 1}
_NUMBER = {"type": ["string", "integer"]}
_NAMES = {"type": ["string", "array"]}
_COMMANDS = ("continue", "fail", "noop", "retry")

_OPEN = re.compile(r"<%.*?%>|{{.*?}}|\"[^\"]*\"|'[^']*'", re.DOTALL)
_ASSIGNED = re.compile(r"(?:^|\s)(\w+)=")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["version", "tasks"],
    "properties": {
        "version": {"enum": [1.0, "1.0"]},
        "description": _TEXT,
        "input": {"type": "array"},
        "vars": {"type": "array"},
        "output": {"type": "array"},
        "tasks": {"type": "object", "minProperties": 1},
    },
    "additionalProperties": False,
}

TASK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": _TEXT,
        "input": {"type": ["string", "object"]},
        "with": {"type": ["string", "object"]},
        "delay": _NUMBER,
        "join": {"type": ["string", "integer"]},
        "retry": {
            "type": "object",
            "required": ["count"],
            "properties": {"when": _TEXT, "count": _NUMBER, "delay": _NUMBER},
            "additionalProperties": False,
        },
        "next": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"when": _TEXT, "publish": _NAMES, "do": _NAMES},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack's workflows."""
    files = {document.path: document for document in pack.folders[WORKFLOWS]}
    for action in pack.folders["actions"]:
        if action.data.get("runner_type") != "orquesta":
            continue
        path = f"actions/{action.data.get('entry_point')}"
        if path in files:
            yield from _input_problems(action, files[path])
        elif not (pack.root / path).is_file():
            yield Problem(action.path, f"its workflow {path} does not exist", "add it or correct entry_point")
    for document in files.values():
        yield from shape_problems(document.path, document.data, SCHEMA)
        yield from _task_problems(pack, document)


def _input_problems(action: Document, workflow: Document) -> Iterator[Problem]:
    """The workflow's ``input`` and the action's parameters: what is in one only is lost or undefined."""
    items = listing(workflow.data.get("input"))
    taken = {name for item in items for name in (item if isinstance(item, dict) else [str(item)])}
    declared = own_parameters(action).keys()
    for name in sorted(declared - taken):
        yield Problem(workflow.path, f"'input' lacks the parameter {name!r} of {action.path}", "add it")
    for name in sorted(taken - declared):
        what = f"'input' has {name!r}, which {action.path} does not declare"
        yield Problem(workflow.path, what, "declare it or drop it")


def transitions(task: Any) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """(transition, names it leads to) of a task; ``do`` is a list or a text with commas."""
    for item in listing(mapping(task).get("next")):
        do = mapping(item).get("do", [])
        names = do.split(",") if isinstance(do, str) else listing(do)
        yield mapping(item), [str(name).strip() for name in names]


def _task_problems(pack: Pack, workflow: Document) -> Iterator[Problem]:
    file, tasks = workflow.path, mapping(workflow.data.get("tasks"))
    for name, task in tasks.items():
        yield from shape_problems(file, task, TASK, f"tasks.{name}")
        if name in _COMMANDS:
            yield Problem(file, f"task {name!r} has the name of an engine command", "rename it")
        ref, inline = inline_call(text(mapping(task).get("action")))
        if ref:
            yield from call_problems(pack, file, f"task {name!r}", ref, inline or mapping(task).get("input"))
        for _, targets in transitions(task):
            yield from _transition_problems(file, name, targets, tasks)
    yield from _reach_problems(file, tasks)


def inline_call(action: str) -> tuple[str, dict[str, str]]:
    """The reference and the parameters of ``ha.x a=1 b=<% ... %>``; values are left open, as templates."""
    plain = _OPEN.sub("_", action)
    if plain.startswith("_"):
        return "", {}
    ref, _, rest = plain.partition(" ")
    return ref, dict.fromkeys(_ASSIGNED.findall(rest), "{{ }}")


def _transition_problems(file: str, name: str, targets: list[str], tasks: dict[str, Any]) -> Iterator[Problem]:
    for target in targets:
        if target not in tasks and target not in _COMMANDS:
            yield Problem(file, f"task {name!r} leads to {target!r}, which does not exist", "correct the name")
    if "fail" in targets and len(targets) > 1:
        others = ", ".join(target for target in targets if target != "fail")
        what = f"task {name!r} does {others} and 'fail' at once: {others} never runs"
        yield Problem(file, what, f"do only {others}, and 'fail' from there")


def _reach_problems(file: str, tasks: dict[str, Any]) -> Iterator[Problem]:
    """A task that no transition names starts at once with the first one, which is seldom what was meant."""
    follow = {name: [to for _, targets in transitions(task) for to in targets] for name, task in tasks.items()}
    named = {target for targets in follow.values() for target in targets}
    starts = [name for name in tasks if name not in named]
    if len(starts) > 1:
        what = f"tasks {', '.join(starts)} have no way in, so each of them starts at once"
        yield Problem(file, what, "lead to them from one first task")
    reached, waiting = set(starts), list(starts)
    while waiting:
        for target in follow.get(waiting.pop(), []):
            if target in tasks and target not in reached:
                reached.add(target)
                waiting.append(target)
    for name in tasks:
        if name not in reached:
            yield Problem(file, f"task {name!r} cannot be reached from a first task", "lead to it, or remove it")
