"""Actions: the metadata file, its Python entry and its output_schema.

Sources: st2common/models/api/action.py (keys), st2common/bootstrap/actionsregistrar.py (what is read),
contrib/runners/python_runner/python_runner/python_action_wrapper.py (how ``run`` is called).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metadata import entry, outputs
from metadata.known import CONCURRENCY_BY_ATTRIBUTE, RUNNER_PARAMETERS, writes
from metadata.load import WORKFLOWS, Document, Pack, mapping
from metadata.parameters import own_parameters, parameter_problems
from metadata.problem import Problem
from metadata.shape import shape_problems

_TEXT = {"type": "string"}
_NOTIFY = {
    "type": "object",
    "properties": {"message": _TEXT, "data": {"type": "object"}, "routes": {"type": "array"}},
    "additionalProperties": False,
}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "description", "enabled", "runner_type", "entry_point"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "pack": _TEXT,
        "description": {"type": "string", "minLength": 1},
        "enabled": {"type": "boolean"},
        "runner_type": {"enum": sorted(RUNNER_PARAMETERS)},
        "entry_point": _TEXT,
        "parameters": {"type": "object"},
        "output_schema": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "object"}},
        "notify": {
            "type": "object",
            "properties": {f"on-{event}": _NOTIFY for event in ("complete", "success", "failure")},
            "additionalProperties": False,
        },
    },
    "additionalProperties": False,
}


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack's actions."""
    for action in pack.folders["actions"]:
        yield from shape_problems(action.path, action.data, SCHEMA)
        yield from _name_problems(action)
        yield from parameter_problems(action)
        yield from outputs.problems(action)
        yield from _writing_problems(pack, action)
        if action.data.get("runner_type") == "python-script":
            yield from _entry_problems(pack, action)
    yield from _stray_files(pack)


def _name_problems(action: Document) -> Iterator[Problem]:
    """bin/st2ha finds an action by its file's name, StackStorm by ``name``: they are one."""
    stem = Path(action.path).stem
    if action.data.get("name") != stem:
        yield Problem(action.path, f"its name is {action.data.get('name')!r}", f"name it as its file: {stem}")
    python = action.data.get("runner_type") == "python-script"
    wanted = f"{stem}.py" if python else f"workflows/{stem}.yaml"
    if action.data.get("entry_point") != wanted:
        yield Problem(action.path, f"its entry_point is {action.data.get('entry_point')!r}", f"write {wanted}")


def _writing_problems(pack: Pack, action: Document) -> Iterator[Problem]:
    """Our own rule: what writes can be rehearsed, and does not run twice at once on the same target."""
    if not writes(action.name):
        return
    if mapping(own_parameters(action).get("dry_run")).get("type") != "boolean":
        remedy = "add a boolean 'dry_run' (default false), or end its name with a reading verb"
        yield Problem(action.path, "it writes, but has no parameter 'dry_run'", remedy)
    guards = [
        policy.data
        for policy in pack.folders["policies"]
        if policy.data.get("resource_ref") == f"{pack.ref}.{action.name}"
        and policy.data.get("policy_type") == CONCURRENCY_BY_ATTRIBUTE
    ]
    if not any(guard.get("enabled", True) for guard in guards):
        what = f"it writes, but no enabled policy of type {CONCURRENCY_BY_ATTRIBUTE} names it"
        yield Problem(action.path, what, f"add policies/{pack.ref}_{action.name}.yaml")


def _entry_problems(pack: Pack, action: Document) -> Iterator[Problem]:
    path = f"actions/{action.data.get('entry_point')}"
    source, some = entry.read_source(pack.root, path)
    yield from some
    if source is None:
        return
    yield from entry.dataclass_problems(source)
    lines = entry.code_lines(source)
    if lines > entry.MAX_LINES:
        yield Problem(path, f"{lines} lines of code", f"move logic to st2ha, {entry.MAX_LINES} lines are the limit")
    classes = source.classes
    names = ", ".join(node.name for node in classes) or "none"
    if len(classes) != 1:
        yield Problem(path, f"{len(classes)} classes ({names}); StackStorm takes the first", "keep one class")
        return
    wanted = entry.camel_case(Path(path).stem)
    if classes[0].name != wanted:
        yield Problem(path, f"its class is {classes[0].name}", f"name it {wanted}")
    run = entry.methods(classes[0]).get("run")
    if run is None:
        yield Problem(path, f"{classes[0].name} has no method 'run'", "add it")
    else:
        yield from _run_problems(path, action, run)


def _run_problems(path: str, action: Document, run: ast.FunctionDef) -> Iterator[Problem]:
    """``run`` gets every own parameter by keyword, None for an optional one without a default."""
    declared = own_parameters(action)
    taken, open_ended = entry.run_parameters(run)
    if open_ended:
        yield Problem(path, "run() takes * or ** arguments", "name each parameter")
    for name in declared.keys() - taken.keys():
        yield Problem(path, f"run() does not take the parameter {name!r} of {action.path}", "add it to run()")
    for name in taken.keys() - declared.keys():
        yield Problem(path, f"run() takes {name!r}, which {action.path} does not declare", "declare it or drop it")
    for name in declared.keys() & taken.keys():
        yield from _run_default_problems(path, name, declared[name], taken[name])


def _run_default_problems(path: str, name: str, node: dict[str, Any], default: Any) -> Iterator[Problem]:
    must = node.get("required") is True and "default" not in node
    if must and default is not entry.MISSING:
        yield Problem(path, f"run() gives the required parameter {name!r} a default", "drop the default")
    elif not must and default is entry.MISSING:
        yield Problem(path, f"run() has no default for the optional parameter {name!r}", "add one")
    elif not must and default is not None and not isinstance(default, ast.expr) and default != node.get("default"):
        what = f"run() has the default {default!r} for {name!r}, the metadata {node.get('default')!r}, which wins"
        yield Problem(path, what, "write the same in both")


def _stray_files(pack: Pack) -> Iterator[Problem]:
    """Files StackStorm would take for something else, or never reads."""
    entries = {str(action.data.get("entry_point")) for action in pack.folders["actions"]}
    for path in sorted((pack.root / "actions").glob("*")):
        stray = path.is_file() and path.name not in entries and path.suffix not in (".yaml", ".yml")
        if stray and path.name != "README.md":
            what = "belongs to no action"
            yield Problem(f"actions/{path.name}", what, "move it to actions/lib or tests, or name it in an entry_point")
    for workflow in pack.folders[WORKFLOWS]:
        if f"workflows/{Path(workflow.path).name}" not in entries:
            yield Problem(workflow.path, "no action has it as its entry_point", "add actions/<name>.yaml or remove it")
