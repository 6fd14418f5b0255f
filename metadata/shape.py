"""Compares metadata with a JSON schema, and says in one line what is wrong with it.

Two validators: plain draft 4 for the shape of our files, and StackStorm's own mixture for values and results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

from jsonschema import Draft3Validator, Draft4Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from metadata.problem import Problem

#: st2common/util/schema/__init__.py, ``CustomValidator``: draft 4, but ``required`` is a flag of the property itself,
#: as in draft 3, which checks it in ``properties``.
StackStormValidator: Any = cast(Any, extend)(
    Draft4Validator,
    {"properties": Draft3Validator.VALIDATORS["properties"], "required": lambda *_: None},
)

_TYPE_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


def type_name(value: Any) -> str:
    """The JSON name of a value's type."""
    return "null" if value is None else _TYPE_NAMES.get(type(value), type(value).__name__)


def shape_problems(file: str, data: Any, schema: dict[str, Any], at: str = "") -> Iterator[Problem]:
    """Problems of data against a draft 4 schema. ``at`` is the place of data in the file, such as ``parameters.x``."""
    seen: set[Problem] = set()
    errors = sorted(Draft4Validator(schema).iter_errors(data), key=lambda e: [str(part) for part in e.absolute_path])
    for error in errors:
        where = ".".join([at] * bool(at) + [str(part) for part in error.absolute_path])
        for what, remedy in _explain(error, where):
            problem = Problem(file, what, remedy)
            if problem not in seen:
                seen.add(problem)
                yield problem


def _explain(error: ValidationError, where: str) -> Iterator[tuple[str, str]]:
    place = f" in {where}" if where else ""
    instance: Any = error.instance
    wanted: Any = error.validator_value
    kind = str(error.validator)
    if kind == "additionalProperties":
        schema: Any = error.schema
        allowed = sorted(schema.get("properties", {}))
        patterns = schema.get("patternProperties", {})
        for key in instance:
            if key not in allowed and not any(re.search(pattern, key) for pattern in patterns):
                hint = f"allowed: {', '.join(allowed)}" if allowed else f"names match {', '.join(patterns)}"
                yield f"unknown key {key!r}{place}", f"remove it or correct it ({hint})"
    elif kind == "required":
        for key in wanted:
            if key not in instance:
                yield f"no {key!r}{place}", "add it"
    elif kind == "type":
        yield f"{where or 'the file'} is of type {type_name(instance)}", f"write a {wanted}"
    elif kind == "enum":
        yield f"{where} is {instance!r}", f"use one of {', '.join(map(str, wanted))}"
    elif kind == "pattern":
        yield f"{where} {instance!r} has the wrong form", f"it must match {wanted}"
    else:
        yield f"{where}: {error.message}", f"keep to {kind}: {wanted}"


def value_errors(value: Any, schema: dict[str, Any]) -> list[str]:
    """What StackStorm would say about a value of a parameter, a configuration or a result; [] if nothing."""
    return [
        ".".join(str(part) for part in error.absolute_path) + (": " if error.absolute_path else "") + error.message
        for error in StackStormValidator(schema).iter_errors(value)
    ]


def is_template(value: Any) -> bool:
    """Whether a value is text that StackStorm renders later (Jinja or YAQL), so that its type is not known yet."""
    return isinstance(value, str) and ("{{" in value or "{%" in value or "<%" in value)


def compiles(pattern: Any) -> bool:
    """Whether a text is a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, TypeError):
        return False
    return True
