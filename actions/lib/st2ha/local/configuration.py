"""The pack's configuration as StackStorm hands it to an action (st2common/util/config_loader.py)."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from st2ha.errors import BadInput
from st2ha.local import expressions, yamlfile
from st2ha.local.schema import problems, secret_values, sentence


@dataclass(frozen=True)
class Configuration:
    """Values with their defaults; `secrets` are the texts that no message may show."""

    values: dict[str, Any] = field(default_factory=dict, repr=False)
    secrets: set[str] = field(default_factory=set, repr=False)
    warnings: tuple[str, ...] = ()


def load(path: Path | None, schema_path: Path, kv: expressions.KeyLookup) -> Configuration:
    """The file's values, with templates rendered over the datastore and the schema's defaults in the gaps."""
    schema = yamlfile.load_mapping(schema_path, "configuration schema") if schema_path.is_file() else {}
    values = yamlfile.load_mapping(path, "configuration") if path else {}
    whole = {"type": "object", "properties": schema}
    rendering = _Rendering(kv)
    values = rendering.value(values, whole, "")
    # Before the defaults, as StackStorm does: they make up objects, whose required parts then seem to be missing.
    for problem in problems(values, whole, ""):
        raise BadInput(sentence(f"configuration {path}:", (problem[0].lstrip("."), *problem[1:])))
    values = with_defaults(whole, values)
    return Configuration(values, secret_values(values, whole), tuple(rendering.warnings))


class _Rendering:
    """Renders the values that are templates. A key that the stand-in datastore lacks gives None and a warning.

    It is no error: a password that this action does not need must not stop it while StackStorm's datastore is down.
    """

    def __init__(self, kv: expressions.KeyLookup) -> None:
        self._kv = kv
        self._env: Any = None
        self.warnings: list[str] = []

    def value(self, value: Any, schema: dict[str, Any], path: str) -> Any:
        if isinstance(value, dict):
            inner = properties_of(schema, value)
            return {key: self.value(item, inner[key], f"{path}.{key}".lstrip(".")) for key, item in value.items()}
        if isinstance(value, list):
            items = items_of(schema, len(value))
            return [self.value(item, items[index], f"{path}.{index}") for index, item in enumerate(value)]
        return self._text(value, path) if expressions.is_expression(value) else value

    def _text(self, value: str, path: str) -> Any:
        import jinja2

        self._env = self._env or expressions.environment()
        try:
            rendered = expressions.render(self._env, value, {"st2kv": self._kv})
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            problem = getattr(error, "message", None) or type(error).__name__
            raise BadInput(
                f"configuration {path} is {value}, which cannot be rendered ({problem}): correct it"
            ) from None
        if rendered:
            return rendered
        name = re.split(r"[.\[]", path)[-1]
        self.warnings.append(
            f"configuration {path} is {value}, a key of StackStorm's datastore that st2ha cannot read or decrypt: "
            f"use {name}_file, or `st2ha key set`"
        )
        return None


def properties_of(schema: dict[str, Any], value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A schema for each key: properties, else the matching patternProperties, else additionalProperties."""
    known = schema.get("properties") or {}
    patterns, other = schema.get("patternProperties") or {}, schema.get("additionalProperties")
    found: dict[str, dict[str, Any]] = dict(known)
    for key in value:
        if key in known:
            continue
        matching = [inner for pattern, inner in patterns.items() if re.search(pattern, str(key))]
        composed = {name: item for inner in matching for name, item in inner.items()}
        found[key] = composed or (other if isinstance(other, dict) else {})
    return found


def items_of(schema: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """A schema for each item of an array."""
    items = schema.get("items") or {}
    if isinstance(items, dict):
        return [items] * count
    other = schema.get("additionalItems")
    return list(items[:count]) + [other if isinstance(other, dict) else {}] * (count - len(items))


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """The value with the schema's defaults in its gaps.

    Like StackStorm, a missing object that has properties becomes {} and a missing array that has items [].
    """
    if value is None and "default" in schema:
        return None
    if schema.get("type") == "object" and any(
        schema.get(part) for part in ("properties", "patternProperties", "additionalProperties")
    ):
        filled = dict(value or {}) if isinstance(value, dict) or not value else value
        if not isinstance(filled, dict):
            return value
        for key, inner in properties_of(schema, filled).items():
            if key not in filled and "default" in inner:
                filled[key] = copy.deepcopy(inner["default"])
            result = with_defaults(inner, filled.get(key))
            if key in filled or result is not None:
                filled[key] = result
        return filled
    if schema.get("type") == "array" and (schema.get("items") or schema.get("additionalItems")):
        if value is not None and not isinstance(value, list):
            return value
        items = list(value or [])
        return [with_defaults(inner, item) for inner, item in zip(items_of(schema, len(items)), items)]
    return value
