"""Check a value against a JSON schema as StackStorm writes them, and mask what a schema calls secret.

The common keywords are checked here, because importing jsonschema costs more than a whole `st2ha list`; a schema that
uses any other keyword goes to jsonschema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from st2ha.local import MASK

#: Says nothing about the value, or is handled elsewhere.
_SILENT = {"description", "default", "required", "secret", "immutable", "position", "title", "$schema", "format"}
_CHECKED = {
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "items",
    "properties",
    "additionalProperties",
}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
_LIMITS = {
    "minimum": ((int, float), "at least {}"),
    "maximum": ((int, float), "at most {}"),
    "minLength": ((str,), "at least {} characters long"),
    "maxLength": ((str,), "at most {} characters long"),
    "minItems": ((list,), "a list of at least {}"),
    "maxItems": ((list,), "a list of at most {}"),
}


def is_type(value: Any, name: str) -> bool:
    """JSON's notion of a type: true is no integer."""
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES.get(name, (object,)))


def problems(value: Any, schema: dict[str, Any], path: str) -> Iterator[tuple[str, Any, str, bool]]:
    """What is wrong with a value: (path, value, "must be ...", secret?) each. None stands for "not given"."""
    if value is None:
        return
    if set(schema) - _SILENT - _CHECKED:
        yield from _with_jsonschema(value, schema, path)
        return
    secret = bool(schema.get("secret"))
    wanted = schema.get("type")
    names = wanted if isinstance(wanted, list) else [wanted] if wanted else []
    if names and not any(is_type(value, name) for name in names):
        yield path, value, f"must be of type {' or '.join(names)}", secret
        return
    if "enum" in schema and value not in schema["enum"]:
        yield path, value, f"must be one of {', '.join(str(item) for item in schema['enum'])}", secret
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield path, value, f"must match the pattern {schema['pattern']}", secret
    for keyword, (types, words) in _LIMITS.items():
        if keyword in schema and isinstance(value, types) and not isinstance(value, bool):
            size, limit = (value if isinstance(value, (int, float)) else len(value)), schema[keyword]
            if size < limit if keyword.startswith("min") else size > limit:
                yield path, value, "must be " + words.format(limit), secret
    yield from _inside(value, schema, path)


def _inside(value: Any, schema: dict[str, Any], path: str) -> Iterator[tuple[str, Any, str, bool]]:
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, item in enumerate(value):
            yield from problems(item, schema["items"], f"{path}[{index}]")
    if not isinstance(value, dict):
        return
    known = schema.get("properties") or {}
    for name, inner in known.items():
        if value.get(name) is not None:
            yield from problems(value[name], inner, f"{path}.{name}")
        elif inner.get("required") and "default" not in inner:
            yield f"{path}.{name}", None, "is required: give it", False
    other = schema.get("additionalProperties")
    for name in value:
        if name in known:
            continue
        if other is False:
            yield f"{path}.{name}", None, f"is unknown: use {', '.join(known) or 'nothing'}", False
        elif isinstance(other, dict):
            yield from problems(value[name], other, f"{path}.{name}")


def _with_jsonschema(value: Any, schema: dict[str, Any], path: str) -> Iterator[tuple[str, Any, str, bool]]:
    try:
        from jsonschema import Draft4Validator
    except ImportError:
        return
    # Draft 4's `required` is a list of names; StackStorm's is a boolean of one property.
    for error in Draft4Validator(_without_required(schema)).iter_errors(value):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        yield path + where, error.instance, f"must satisfy {error.validator}: {error.validator_value}", _secret(schema)


def _without_required(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_required(v) for k, v in schema.items() if not (k == "required" and isinstance(v, bool))}
    if isinstance(schema, list):
        return [_without_required(item) for item in schema]
    return schema


def _secret(schema: Any) -> bool:
    """Whether anything in the schema is secret, as a value of it may then not be shown."""
    if isinstance(schema, dict):
        return bool(schema.get("secret")) or any(_secret(inner) for inner in schema.values())
    return isinstance(schema, list) and any(_secret(inner) for inner in schema)


def shown(value: Any, secret: bool) -> str:
    """A value for an error sentence: short, quoted, and never a secret."""
    if secret:
        return MASK
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return f'"{text[:60]}..."' if len(text) > 63 else f'"{text}"'


def sentence(prefix: str, problem: tuple[str, Any, str, bool]) -> str:
    """One problem as one sentence."""
    path, value, wrong, secret = problem
    if wrong.startswith("is "):
        return f"{prefix} {path} {wrong}"
    return f"{prefix} {path} {wrong}, not {shown(value, secret)}"


def mask(value: Any, schema: Any) -> Any:
    """A copy of a value with everything that its schema calls secret replaced."""
    if not isinstance(schema, dict):
        return value
    if schema.get("secret") and value is not None:
        return MASK
    if isinstance(value, dict):
        known, other = schema.get("properties") or {}, schema.get("additionalProperties")
        patterns = schema.get("patternProperties") or {}
        return {name: mask(inner, _schema_of(str(name), known, patterns, other)) for name, inner in value.items()}
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, list):
            return [mask(item, items[n] if n < len(items) else None) for n, item in enumerate(value)]
        return [mask(item, items) for item in value]
    return value


def _schema_of(name: str, known: dict[str, Any], patterns: dict[str, Any], other: Any) -> Any:
    if name in known:
        return known[name]
    return next((inner for pattern, inner in patterns.items() if re.search(pattern, name)), other)


def secret_values(value: Any, schema: Any) -> set[str]:
    """Every secret text in a value, so that it can be kept out of messages."""
    if not isinstance(schema, dict) or value is None:
        return set()
    if schema.get("secret"):
        return _texts(value)
    found: set[str] = set()
    if isinstance(value, dict):
        known, other = schema.get("properties") or {}, schema.get("additionalProperties")
        patterns = schema.get("patternProperties") or {}
        for name, inner in value.items():
            found |= secret_values(inner, _schema_of(str(name), known, patterns, other))
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            found |= secret_values(item, schema["items"])
    return found


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_texts(inner) for inner in value.values()))
    if isinstance(value, list):
        return set().union(*(_texts(inner) for inner in value))
    return {str(value)}


def without_secrets(text: str, secrets: set[str]) -> str:
    """The text with every secret replaced; one of fewer than 4 characters would tear innocent text apart."""
    for secret in sorted((s for s in secrets if len(s) > 3), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
