"""Sensors and trigger types.

Sources: st2common/models/api/sensor.py and trigger.py (keys; the registrar never calls validate() on a sensor, so
unknown keys pass), st2common/models/utils/sensor_type_utils.py (poll_interval), st2reactor/sensor/base.py (methods).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metadata import entry
from metadata.attributes import NODE, nodes
from metadata.load import Document, Pack, listing
from metadata.problem import Problem
from metadata.shape import shape_problems

MIN_POLL_INTERVAL = 4
_TEXT = {"type": "string"}
_TAGS = {"type": "array", "items": {"type": "object"}}

TRIGGER: dict[str, Any] = {
    "type": "object",
    "required": ["name", "description", "payload_schema"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "pack": _TEXT,
        "description": _TEXT,
        "payload_schema": {"type": "object", "required": ["type", "properties"]},
        "parameters_schema": {"type": "object"},
        "tags": _TAGS,
    },
    "additionalProperties": False,
}

SENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["class_name", "entry_point", "description", "enabled", "trigger_types"],
    "properties": {
        "class_name": {"type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$"},
        "pack": _TEXT,
        "description": _TEXT,
        "entry_point": {"type": "string", "pattern": r"^[a-z][a-z0-9_]*\.py$"},
        "enabled": {"type": "boolean"},
        "poll_interval": {"type": "number", "minimum": MIN_POLL_INTERVAL},
        "trigger_types": {"type": "array", "items": {"type": "object"}},
    },
    "additionalProperties": False,
}

#: Abstract methods of st2reactor/sensor/base.py; one that is missing keeps the sensor from starting.
_COMMON = ("setup", "cleanup", "add_trigger", "update_trigger", "remove_trigger")
METHODS = {"Sensor": (*_COMMON, "run"), "PollingSensor": (*_COMMON, "poll")}


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack's sensors and triggers."""
    for trigger in pack.folders["triggers"]:
        yield from _trigger_problems(trigger.path, trigger.data, "")
    classes: dict[str, str] = {}
    for sensor in pack.folders["sensors"]:
        yield from shape_problems(sensor.path, sensor.data, SENSOR)
        for index, item in enumerate(listing(sensor.data.get("trigger_types"))):
            yield from _trigger_problems(sensor.path, item, f"trigger_types.{index}")
        name = str(sensor.data.get("class_name"))
        if name in classes:
            yield Problem(sensor.path, f"class {name} is also the sensor of {classes[name]}", "rename one")
        classes[name] = sensor.path
        yield from _entry_problems(pack, sensor)
    yield from _double_triggers(pack)
    yield from _source_problems(pack)


def _trigger_problems(file: str, data: Any, where: str) -> Iterator[Problem]:
    yield from shape_problems(file, data, TRIGGER, where)
    for key in ("payload_schema", "parameters_schema"):
        schema = data.get(key) if isinstance(data, dict) else None
        for place, node in nodes(schema, f"{where}.{key}".strip(".")) if isinstance(schema, dict) else ():
            if isinstance(node, dict) and isinstance(node.get("type"), list):
                node = {name: value for name, value in node.items() if name != "type"}  # custom.json allows it here
            yield from shape_problems(file, node, NODE, place)


def _double_triggers(pack: Pack) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for file, item in pack.trigger_types():
        name = str(item.get("name"))
        if name in seen:
            yield Problem(file, f"trigger {name!r} is also defined in {seen[name]}", "define it once")
        seen[name] = file


def _entry_problems(pack: Pack, sensor: Document) -> Iterator[Problem]:
    path = f"sensors/{sensor.data.get('entry_point')}"
    source, some = entry.read_source(pack.root, path)
    yield from some
    if source is None:
        return
    yield from entry.dataclass_problems(source)
    name = sensor.data.get("class_name")
    found = next((node for node in source.classes if node.name == name), None)
    if found is None:
        yield Problem(path, f"has no class {name}, which {sensor.path} names", "correct class_name")
        return
    bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in found.bases]
    base = next((name for name in bases if name in METHODS), None)
    if base is None:
        return  # it inherits from a class of ours, which mypy looks at
    for method in METHODS[base]:
        if method not in entry.methods(found):
            yield Problem(path, f"{name} has no method {method!r}, so it cannot start", "add it")
    if base == "Sensor" and "poll_interval" in sensor.data:
        yield Problem(sensor.path, "has a poll_interval, but its class does not poll", "remove it")


def _source_problems(pack: Pack) -> Iterator[Problem]:
    """Names that the sensors' sources speak of: a misspelled trigger is dispatched into nothing."""
    known = set(pack.triggers()) | {f"{pack.ref}.{name}" for name in pack.actions}
    known |= {f"{pack.ref}.{sensor.data.get('class_name')}" for sensor in pack.folders["sensors"]}
    entries = {str(sensor.data.get("entry_point")) for sensor in pack.folders["sensors"]}
    for file in sorted((pack.root / "sensors").glob("*")):
        path = f"sensors/{file.name}"
        if file.suffix == ".py":
            if file.name not in entries and not file.name.startswith("_"):
                yield Problem(path, "belongs to no sensor", "name it in an entry_point, or begin its name with '_'")
            source, _ = entry.read_source(pack.root, path)
            yield from _constant_problems(pack.ref, source, known) if source else ()
        elif file.is_file() and file.suffix not in (".yaml", ".yml") and Path(path).name != "README.md":
            yield Problem(path, "is no sensor", "move it to tests or actions/lib")


def _constant_problems(ref: str, source: entry.Source, known: set[str]) -> Iterator[Problem]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(rf"{re.escape(ref)}\.[A-Za-z]\w*", node.value) and node.value not in known:
                yield Problem(source.path, f"line {node.lineno} names the unknown trigger {node.value}", "declare it")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "dispatch":
            given = [word.value for word in node.keywords if word.arg == "trigger"] + node.args[:1]
            name = given[0].value if given and isinstance(given[0], ast.Constant) else None
            if isinstance(name, str) and not name.startswith(f"{ref}."):
                remedy = f"write {ref}.{name.split('.')[-1]}"
                yield Problem(source.path, f"line {node.lineno} dispatches {name!r}, no trigger of this pack", remedy)
