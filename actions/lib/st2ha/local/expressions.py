"""StackStorm's Jinja environment and expression functions (st2common/expressions/functions), without StackStorm."""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Callable
from typing import Any

#: What StackStorm's casts turn back into None.
NONE = "%*****__%NONE%__*****%"

_MARKS = re.compile(r"{{.*}}|{%.*%}", re.DOTALL)


def is_expression(value: Any) -> bool:
    """Whether a value, or a text inside it, is a Jinja template."""
    if isinstance(value, (dict, list)):
        value = str(value)
    return isinstance(value, str) and bool(_MARKS.search(value))


def _to_json(value: Any, indent: int | None = None, sort_keys: bool = False) -> str:
    return json.dumps(value, indent=indent, sort_keys=sort_keys, separators=(",", ": "))


def _from_json(value: Any) -> Any:
    return json.loads(str(value))


def _to_yaml(value: Any, indent: int | None = None, allow_unicode: bool = True) -> str:
    import yaml

    return str(yaml.safe_dump(value, indent=indent, allow_unicode=allow_unicode, default_flow_style=False))


def _from_yaml(value: Any) -> Any:
    import yaml

    return yaml.safe_load(str(value))


def _json_escape(value: Any) -> str:
    return json.dumps(value).strip('"')


def _flags(ignorecase: bool) -> int:
    return re.IGNORECASE if ignorecase else 0


def _regex_match(value: Any, pattern: str, ignorecase: bool = False) -> bool:
    return bool(re.match(pattern, str(value), _flags(ignorecase)))


def _regex_search(value: Any, pattern: str, ignorecase: bool = False) -> bool:
    return bool(re.search(pattern, str(value), _flags(ignorecase)))


def _regex_replace(value: Any, pattern: str, replacement: str, ignorecase: bool = False) -> str:
    return re.sub(pattern, replacement, str(value), flags=_flags(ignorecase))


def _regex_substring(value: Any, pattern: str, result_index: int = 0, ignorecase: bool = False) -> Any:
    return re.findall(pattern, str(value), _flags(ignorecase))[result_index]


def _human_time(seconds: float) -> str:
    """ "3m5s" for 185; leading zero parts are left out."""
    if 0 < seconds < 1:
        return f"{seconds}\u03bcs"
    rest = round(seconds)
    parts: list[str] = []
    for unit, length in (("y", 31536000), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _use_none(value: Any) -> Any:
    return NONE if value is None else value


#: Functions that are Jinja filters in parameters and configuration, and functions in workflows.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "basename": os.path.basename,
    "dirname": os.path.dirname,
    "from_json_string": _from_json,
    "from_yaml_string": _from_yaml,
    "json_dump": _to_json,
    "json_escape": _json_escape,
    "json_parse": _from_json,
    "regex_match": _regex_match,
    "regex_replace": _regex_replace,
    "regex_search": _regex_search,
    "regex_substring": _regex_substring,
    "to_human_time_from_seconds": _human_time,
    "to_json_string": _to_json,
    "to_yaml_string": _to_yaml,
    "use_none": _use_none,
    "yaml_dump": _to_yaml,
    "yaml_parse": _from_yaml,
}


class KeyLookup:
    """`st2kv.system.some.key` in a template: attributes gather the name, rendering reads it ('' if missing)."""

    def __init__(self, read: Callable[[str], str | None], name: str = "") -> None:
        self._read = read
        self._name = name

    def __getattr__(self, name: str) -> KeyLookup:
        if name.startswith("__"):
            raise AttributeError(name)
        return KeyLookup(self._read, f"{self._name}.{name}" if self._name else name)

    def __getitem__(self, name: str) -> KeyLookup:
        return KeyLookup(self._read, f"{self._name}.{name}" if self._name else str(name))

    def __str__(self) -> str:
        value = self._read(self._name)
        return "" if value is None else value


def environment() -> Any:
    """A sandboxed Jinja environment in which an undefined variable is an error, as StackStorm's is."""
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    env = SandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters.update(FUNCTIONS)
    env.filters["to_complex"] = json.dumps
    env.filters["decrypt_kv"] = str
    env.tests["in"] = lambda item, items: item in items
    return env


def variables_of(env: Any, value: Any) -> set[str]:
    """The names that a template needs; raises jinja2.TemplateSyntaxError where it is no template after all."""
    from jinja2 import meta

    return set(meta.find_undeclared_variables(env.parse(value if isinstance(value, str) else json.dumps(value))))


def render(env: Any, value: Any, context: dict[str, Any]) -> Any:
    """One rendered value; lists and objects go through JSON, so that `"{{x}}"` keeps x's type, as in StackStorm."""
    if isinstance(value, str):
        return env.from_string(value).render(context)
    template = re.sub(r'"{{([A-Za-z0-9_-]+)}}"', r"{{\1 | to_complex}}", json.dumps(value))
    return json.loads(env.from_string(template).render(context))
