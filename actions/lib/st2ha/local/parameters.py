"""From what was given to what an action's run() gets: names, types, defaults, limits.

The order is StackStorm's (st2common/util/param.py): templates are rendered, defaults fill the gaps, each value is cast
to its type, and then the whole is checked. Every error is one sentence that names parameter, value and remedy.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from typing import Any

from st2ha.errors import BadInput
from st2ha.local import expressions
from st2ha.local.metadata import Action, Schema, did_you_mean
from st2ha.local.schema import problems, sentence, shown

_TRUE, _FALSE = {"true", "yes", "on", "1", "t", "y"}, {"false", "no", "off", "0", "f", "n"}


def from_text(action: Action, name: str, text: str) -> Any:
    """A command-line text as a value of the parameter's type."""
    schema = schema_of(action, name)
    wanted = schema.get("type", "string")
    if wanted == "string" or expressions.is_expression(text):
        return text
    try:
        return _PARSERS[wanted](text, schema)
    except (ValueError, KeyError, TypeError, RecursionError):
        value = shown(text, bool(schema.get("secret")))
        raise BadInput(f"{action.ref}: {name} must be {_EXAMPLES.get(wanted, wanted)}, not {value}") from None


def schema_of(action: Action, name: str) -> Schema:
    """The schema of one parameter; an unknown one is refused with the name that was probably meant."""
    known = action.parameters
    if name not in known:
        allowed = ", ".join(action.shown_parameters) or "no parameters"
        hint = did_you_mean(name, list(action.shown_parameters), f"it takes {allowed}")
        raise BadInput(f'{action.ref} has no parameter "{name}"{hint}')
    return known[name]


def _number(text: str, schema: Schema) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return int(text) if text.strip().lstrip("+-").isdigit() else value


def _boolean(text: str, schema: Schema) -> bool:
    if text.strip().lower() in _TRUE:
        return True
    if text.strip().lower() in _FALSE:
        return False
    raise ValueError(text)


def _array(text: str, schema: Schema) -> list[Any]:
    """JSON, or words between commas, each of the type of the items."""
    if text.lstrip().startswith("["):
        value = json.loads(text)
        if not isinstance(value, list):
            raise ValueError(text)
        return value
    items = schema.get("items") or {}
    parse = _PARSERS.get(items.get("type", "string"), _string)
    return [parse(word.strip(), items) for word in text.split(",") if word.strip()]


def _object(text: str, schema: Schema) -> dict[str, Any]:
    value = json.loads(text)
    if isinstance(value, dict):
        return value
    raise ValueError(text)


def _string(text: str, schema: Schema) -> str:
    return text


_PARSERS: dict[str, Callable[[str, Schema], Any]] = {
    "string": _string,
    "integer": lambda text, schema: int(text),
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "object": _object,
}
_EXAMPLES = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "words between commas or a JSON list",
    "object": "a JSON object",
}


def resolve(action: Action, given: dict[str, Any], config: dict[str, Any], kv: expressions.KeyLookup) -> dict[str, Any]:
    """Every parameter of the action and its runner; one that has neither value nor default is None."""
    schemas = action.parameters
    for name, value in given.items():
        if schema_of(action, name).get("immutable"):
            fixed = shown(schemas[name].get("default"), bool(schemas[name].get("secret")))
            value_text = shown(value, bool(schemas[name].get("secret")))
            raise BadInput(f"{action.ref}: {name} is fixed at {fixed} and cannot be {value_text}: leave it out")
    values = {name: given[name] if given.get(name) is not None else s.get("default") for name, s in schemas.items()}
    rendered = _Rendering(action, values, {"config_context": config, "st2kv": kv, "action_context": {}}).all()
    result = {name: _cast(action, name, schemas[name], value) for name, value in rendered.items()}
    _check(action, result)
    return result


class _Rendering:
    """Renders templates, each after the parameters that it names."""

    def __init__(self, action: Action, values: dict[str, Any], context: dict[str, Any]) -> None:
        self._action, self._values, self._context = action, values, context
        self._done: dict[str, Any] = {}
        self._open: list[str] = []
        self._env: Any = None

    def all(self) -> dict[str, Any]:
        return {name: self._one(name) for name in self._values}

    def _one(self, name: str) -> Any:
        if name in self._done:
            return self._done[name]
        value = self._values[name]
        if expressions.is_expression(value):
            if name in self._open:
                raise BadInput(f"{self._action.ref}: the value of {name} refers to itself: change its template")
            self._open.append(name)
            value = self._render(name, value)
            self._open.remove(name)
        self._done[name] = value
        return value

    def _render(self, name: str, value: Any) -> Any:
        import jinja2

        self._env = self._env or expressions.environment()
        try:
            needed = expressions.variables_of(self._env, value)
        except jinja2.TemplateSyntaxError:
            return value
        for other in needed:
            if other in self._values and other not in self._context:
                self._context[other] = self._one(other)
        try:
            return expressions.render(self._env, value, self._context)
        except (jinja2.TemplateError, ValueError, TypeError, LookupError) as error:
            problem = getattr(error, "message", None) or type(error).__name__
            raise BadInput(f"{self._action.ref}: {name} cannot be rendered ({problem}): give {name} a value") from None


def _cast(action: Action, name: str, schema: Schema, value: Any) -> Any:
    """StackStorm's casts (st2common/util/casts.py): a string parameter accepts no number, an integer accepts "5"."""
    if value is None or value == expressions.NONE:
        return None
    try:
        return _cast_value(schema.get("type"), value)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        wanted = schema.get("type")
        value_text = shown(value, bool(schema.get("secret")))
        kind = type(value).__name__
        raise BadInput(f"{action.ref}: {name} must be of type {wanted}, not {kind} {value_text}") from None


def _cast_value(wanted: str | None, value: Any) -> Any:
    if wanted == "string" and not isinstance(value, str):
        raise ValueError(value)
    if wanted == "integer":
        return int(value)
    if wanted == "number":
        return float(value)
    if wanted == "boolean" and isinstance(value, str):
        return ast.literal_eval(value.capitalize())
    if wanted in ("array", "object") and isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return ast.literal_eval(value)
    return value


def _check(action: Action, values: dict[str, Any]) -> None:
    for name, schema in action.parameters.items():
        if values[name] is None and schema.get("required"):
            what = f" ({schema['description'].strip().rstrip('.')})" if schema.get("description") else ""
            raise BadInput(f"{action.ref} needs {name}{what}: add {name}=VALUE")
        for problem in problems(values[name], schema, name):
            raise BadInput(sentence(f"{action.ref}:", problem))


def split(action: Action, values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what run() gets, what the runner gets): a parameter of the runner never reaches run()."""
    runner = action.runner_parameters
    own = {name: value for name, value in values.items() if name not in runner}
    return own, {name: value for name, value in values.items() if name in runner}
