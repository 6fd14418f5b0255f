"""Rules.

Sources: st2common/models/api/rule.py (keys; ``enabled`` is false unless written), st2common/validators/api/reactor.py
(criteria). StackStorm does not look at the action, its parameters, nor at the payload a criterion speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from metadata.calls import call_problems
from metadata.known import CORE_TRIGGERS, OPERATORS, REGEX_OPERATORS
from metadata.load import Document, Pack, mapping, text
from metadata.problem import Problem
from metadata.shape import compiles, is_template, shape_problems

_TEXT = {"type": "string"}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "description", "enabled", "trigger", "action"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
        "pack": _TEXT,
        "description": _TEXT,
        "enabled": {"type": "boolean"},
        "type": {"type": "object"},
        "trigger": {
            "type": "object",
            "required": ["type"],
            "properties": {"type": _TEXT, "description": _TEXT, "parameters": {"type": "object"}, "ref": _TEXT},
            "additionalProperties": False,
        },
        "criteria": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["type", "pattern"],
                "properties": {"type": {"enum": sorted(OPERATORS)}, "pattern": {}, "condition": _TEXT},
                "additionalProperties": False,
            },
        },
        "action": {
            "type": "object",
            "required": ["ref"],
            "properties": {"ref": _TEXT, "description": _TEXT, "parameters": {"type": "object"}},
            "additionalProperties": False,
        },
        "context": {"type": "object"},
        "tags": {"type": "array", "items": {"type": "object"}},
    },
    "additionalProperties": False,
}

_TRIGGER_FIELD = re.compile(r"\btrigger\.([A-Za-z_]\w*)")


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack's rules."""
    for rule in pack.folders["rules"]:
        yield from shape_problems(rule.path, rule.data, SCHEMA)
        action = mapping(rule.data.get("action"))
        yield from call_problems(pack, rule.path, "the action", action.get("ref"), action.get("parameters"))
        yield from _trigger_problems(pack, rule)
        yield from _criteria_problems(rule)
        yield from _field_problems(pack, rule)


def _trigger_problems(pack: Pack, rule: Document) -> Iterator[Problem]:
    trigger = mapping(rule.data.get("trigger"))
    kind = text(trigger.get("type"))
    if kind in CORE_TRIGGERS:
        given = trigger.get("parameters", {})
        yield from shape_problems(rule.path, given, CORE_TRIGGERS[kind], "trigger.parameters")
    elif kind and kind not in pack.triggers():
        remedy = "correct it, or declare it in a sensor or in triggers/"
        yield Problem(rule.path, f"its trigger {kind} is unknown", remedy)


def _criteria_problems(rule: Document) -> Iterator[Problem]:
    for field, criterion in mapping(rule.data.get("criteria")).items():
        where = f"criteria.{field}"
        if not field.startswith("trigger."):
            what = f"{where} does not begin with 'trigger.', so it finds nothing"
            yield Problem(rule.path, what, "write trigger.<field>")
        kind, pattern = text(mapping(criterion).get("type")), mapping(criterion).get("pattern")
        if pattern is None and "pattern" in mapping(criterion):
            yield Problem(rule.path, f"{where} has an empty pattern", "write one, even for exists and nexists")
        if kind in REGEX_OPERATORS and pattern is not None and not is_template(pattern) and not compiles(pattern):
            yield Problem(rule.path, f"{where}: its pattern is no regular expression", "correct it")
        if kind == "search" and mapping(criterion).get("condition") not in ("any", "all", "all2any", "any2any"):
            yield Problem(rule.path, f"{where}: 'search' needs a condition", "add 'condition: any' or 'all'")


def _field_problems(pack: Pack, rule: Document) -> Iterator[Problem]:
    """Payload fields a rule speaks of and the trigger's payload_schema does not have: a criterion never matches."""
    definition = pack.triggers().get(str(mapping(rule.data.get("trigger")).get("type")))
    schema = mapping(mapping(definition).get("payload_schema"))
    fields = mapping(schema.get("properties"))
    if not fields or schema.get("additionalProperties"):
        return
    spoken = [*mapping(rule.data.get("criteria")), *_templates(mapping(rule.data.get("action")).get("parameters"))]
    for field in sorted({name for item in spoken for name in _TRIGGER_FIELD.findall(item)} - fields.keys()):
        what = f"it speaks of trigger.{field}, which the trigger's payload does not have"
        yield Problem(rule.path, what, f"use one of {', '.join(fields)}")


def _templates(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _templates(item)
    elif isinstance(value, list):
        for item in value:
            yield from _templates(item)
    elif is_template(value):
        yield value
