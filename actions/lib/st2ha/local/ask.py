"""`core.ask` without StackStorm: questions are answered by --answer, or by the person at the terminal."""

from __future__ import annotations

import json
import select
import sys
import threading
from collections.abc import Callable
from typing import Any

from st2ha.errors import BadInput, HaError
from st2ha.local.metadata import Schema
from st2ha.local.render import clean
from st2ha.local.schema import problems, shown

DEFAULT_SCHEMA: Schema = {
    "title": "response_data",
    "type": "object",
    "properties": {
        "continue": {
            "type": "boolean",
            "description": "Would you like to continue the workflow?",
            "required": True,
        }
    },
}
_ONE_AT_A_TIME = threading.Lock()
_WORDS = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False}


def ask(given: dict[str, Any], answers: dict[str, str], stopped: Callable[[], bool]) -> dict[str, Any]:
    """The result that an answered inquiry has in StackStorm; BadInput where an answer is missing or wrong."""
    schema = given.get("schema") or DEFAULT_SCHEMA
    response = {}
    for name, inner in (schema.get("properties") or {}).items():
        value = _answer(name, inner, answers, stopped)
        if value is not None:
            response[name] = value
    return {
        "schema": schema,
        "roles": given.get("roles") or [],
        "users": given.get("users") or [],
        "route": given.get("route") or "",
        "ttl": given.get("ttl") or 1440,
        "response": response,
    }


def _answer(name: str, schema: Schema, answers: dict[str, str], stopped: Callable[[], bool]) -> Any:
    if name in answers:
        value, problem = _parsed(answers[name], schema, name)
        if problem:
            raise BadInput(f"--answer {name} {problem}, not {shown(answers[name], bool(schema.get('secret')))}")
        return value
    if sys.stdin.isatty() and sys.stderr.isatty():
        with _ONE_AT_A_TIME:
            return _at_the_terminal(name, schema, stopped)
    if schema.get("required"):
        question = clean(str(schema.get("description") or name))
        raise BadInput(f'the workflow asks "{question}" and nobody is at a terminal: add --answer {name}=VALUE')
    return schema.get("default")


def _at_the_terminal(name: str, schema: Schema, stopped: Callable[[], bool]) -> Any:
    choices = schema.get("enum") or (["yes", "no"] if schema.get("type") == "boolean" else [])
    hint = f" [{'/'.join(str(choice) for choice in choices)}]" if choices else ""
    default = f" ({schema['default']})" if schema.get("default") is not None else ""
    while True:
        sys.stderr.write(f"{clean(str(schema.get('description') or name))}{hint}{default} ")
        sys.stderr.flush()
        text = _line(stopped)
        if not text and not schema.get("required"):
            return schema.get("default")
        value, problem = _parsed(text, schema, name)
        if not problem:
            return value
        sys.stderr.write(f"  it {problem}\n")


def _line(stopped: Callable[[], bool]) -> str:
    """One line from the terminal; a signal ends the wait."""
    while not select.select([sys.stdin], [], [], 0.1)[0]:
        if stopped():
            raise HaError("it was interrupted before it was answered")
    line = sys.stdin.readline()
    if not line:
        raise HaError("the terminal was closed before it was answered")
    return line.strip()


def _parsed(text: str, schema: Schema, name: str) -> tuple[Any, str]:
    """(the answer as a value of its type, what is wrong with it)."""
    value: Any = text
    wanted = schema.get("type", "string")
    if wanted == "boolean":
        value = _WORDS.get(text.strip().lower(), text)
    elif wanted != "string":
        try:
            value = json.loads(text)
        except ValueError:
            value = text
    return value, next((problem[2] for problem in problems(value, schema, name)), "")
