"""The attributes StackStorm knows in a parameter, a configuration item and an output_schema.

Source: st2common/util/schema/action_params.json, action_output_schema.json (the same text) and custom.json (trigger
payloads, which may list types). The tree is walked, and each node compared flat, so that a message names one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from metadata.load import listing, mapping
from metadata.problem import Problem
from metadata.shape import compiles, is_template, shape_problems, value_errors

_TYPES = ["array", "boolean", "integer", "null", "number", "object", "string"]
_COUNT = {"type": "integer", "minimum": 0}
_FLAG = {"type": "boolean"}
_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_SCHEMAS = {"type": "array", "minItems": 1, "items": _OBJECT}

#: One node, without what is below it.
NODE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": _TEXT,
        "description": _TEXT,
        "type": {"enum": _TYPES},
        "default": {},
        "enum": {"type": "array", "minItems": 1, "uniqueItems": True},
        "required": _FLAG,
        "secret": _FLAG,
        "immutable": _FLAG,
        "position": _COUNT,
        "pattern": _TEXT,
        "minLength": _COUNT,
        "maxLength": _COUNT,
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "exclusiveMinimum": _FLAG,
        "exclusiveMaximum": _FLAG,
        "multipleOf": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "minItems": _COUNT,
        "maxItems": _COUNT,
        "uniqueItems": _FLAG,
        "items": {"type": ["object", "array"]},
        "additionalItems": {"type": ["boolean", "object"]},
        "minProperties": _COUNT,
        "maxProperties": _COUNT,
        "properties": _OBJECT,
        "patternProperties": _OBJECT,
        "additionalProperties": {"type": ["boolean", "object"]},
        "dependencies": {"type": "object", "additionalProperties": {"type": ["object", "array"]}},
        "definitions": _OBJECT,
        "allOf": _SCHEMAS,
        "anyOf": _SCHEMAS,
        "oneOf": _SCHEMAS,
        "not": _OBJECT,
    },
    "dependencies": {"exclusiveMinimum": ["minimum"], "exclusiveMaximum": ["maximum"]},
    "additionalProperties": False,
}

_NAMED = ("properties", "patternProperties", "definitions")
_LISTED = ("allOf", "anyOf", "oneOf", "items")
_SINGLE = ("items", "additionalItems", "additionalProperties", "not")

#: In what people write, any ``key`` may be one; in what we report, ``key`` is mostly the name of a datastore item.
GIVEN_SECRET = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|key)$")
SHOWN_SECRET = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|(api|private|access)_key)$")


def nodes(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """(place, node) of a schema and of all schemas below it."""
    yield where, node
    children = mapping(node)
    for name in _NAMED:
        for key, child in mapping(children.get(name)).items():
            yield from nodes(child, f"{where}.{name}.{key}")
    for name in _LISTED:
        for index, child in enumerate(listing(children.get(name))):
            yield from nodes(child, f"{where}.{name}.{index}")
    for name in _SINGLE:
        child = children.get(name)
        if isinstance(child, dict):
            yield from nodes(child, f"{where}.{name}")


def node_problems(file: str, node: Any, where: str) -> Iterator[Problem]:
    """Keys StackStorm does not know, and values it cannot use, in one schema and below."""
    for place, child in nodes(node, where):
        kind = mapping(child).get("type")
        if isinstance(kind, list):
            remedy = "write one type, or anyOf with one type in each"
            yield Problem(file, f"{place}.type is a list, which switches masking and validation off", remedy)
            child = {**child, "type": _TYPES[0]}
        if isinstance(mapping(child).get("required"), list):
            yield Problem(file, f"{place}.required is a list", "write 'required: true' in the property itself")
            child = {**child, "required": True}
        yield from shape_problems(file, child, NODE, place)
        pattern = mapping(child).get("pattern")
        for text in [pattern] * isinstance(pattern, str) + list(mapping(mapping(child).get("patternProperties"))):
            if not compiles(text):
                yield Problem(file, f"{place}.pattern is no regular expression: {text}", "correct it")


def usable(node: Any) -> bool:
    """Whether values can be compared with a schema; if not, node_problems says why."""
    return next(node_problems("", node, ""), None) is None


def default_problems(file: str, node: dict[str, Any], where: str) -> Iterator[Problem]:
    """A default its own schema rejects. StackStorm registers it; each execution that relies on it fails."""
    default = node.get("default")
    if default is None or is_template(default) or not usable(node):
        return
    for error in value_errors(default, node):
        yield Problem(file, f"the default of {where} does not fit: {error}", "correct the default or the type")


def secret_problems(file: str, node: Any, where: str, secret_name: re.Pattern[str] = GIVEN_SECRET) -> Iterator[Problem]:
    """Text properties named like secrets but not declared ``secret: true``, which would be shown in clear."""
    for place, child in nodes(node, where):
        for name, item in mapping(mapping(child).get("properties")).items():
            yield from unmarked_secret(file, name, item, f"{place}.{name}", secret_name)


def unmarked_secret(
    file: str, name: str, node: Any, where: str, secret_name: re.Pattern[str] = GIVEN_SECRET
) -> Iterator[Problem]:
    """One property that is named like a secret and is not declared as one."""
    attributes = mapping(node)
    text = attributes.get("type", "string") == "string"
    if text and secret_name.search(name) and attributes.get("secret") is not True:
        yield Problem(file, f"{where} looks like a secret", "add 'secret: true', or take a file: <name>_file")
