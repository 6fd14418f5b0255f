"""The parameters of an action: what st2 rejects, what it lets pass, and what goes wrong in st2web's form.

Sources: st2common/validators/api/action.py (positions, immutable, overriding a runner), the schema in attributes.py,
and st2web's form as seen in a browser ("forms").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from metadata.attributes import default_problems, node_problems, unmarked_secret
from metadata.known import OVERRIDABLE, RUNNER_PARAMETERS
from metadata.load import Document, mapping
from metadata.problem import Problem
from metadata.shape import is_template

Found = Iterator[tuple[str, str]]


def _required_false(node: dict[str, Any]) -> Found:
    """forms: it changes the order of the fields."""
    if node.get("required") is False:
        yield "says 'required: false'", "leave it out"


def _enum(node: dict[str, Any]) -> Found:
    """forms: shows the first value whatever the default; an item that is no text cannot be selected."""
    enum = node.get("enum")
    if not isinstance(enum, list) or not enum:
        return
    if node.get("type", "string") != "string" or not all(isinstance(item, str) for item in enum):
        yield "has an enum that is not of strings", "use strings, and quote yes, no, on, off and numbers"
    elif "default" in node and node["default"] != enum[0]:
        yield f"shows {enum[0]!r} in the form, but its default is {node['default']!r}", "put the default first"
    elif "default" not in node and not node.get("required"):
        yield f"shows {enum[0]!r} in the form, but has no default", "add the first item as the default"
    if node.get("immutable"):
        yield "is an immutable enum, which the form cannot submit", "drop the enum or immutable"


def _immutable(node: dict[str, Any]) -> Found:
    """st2common/validators/api/action.py: rejected."""
    if "immutable" in node and "default" not in node:
        yield "is immutable without a default", "add a default"


def _boolean(node: dict[str, Any]) -> Found:
    """forms: a default of true looks unticked."""
    if node.get("type") == "boolean" and node.get("default") is True and not node.get("immutable"):
        yield "is a boolean with default true, which looks unticked", "name it for the other side, default false"


def _zero(node: dict[str, Any]) -> Found:
    """forms: an empty box."""
    default = node.get("default")
    if node.get("type") in ("integer", "number") and type(default) in (int, float) and default == 0:
        yield "has default 0, which the form shows as empty", "use another default, or none and say so"


def _array(node: dict[str, Any]) -> Found:
    """forms: ``1, 2`` arrives as nothing at all; only ``[1,2]`` works."""
    if node.get("type") == "array" and mapping(node.get("items")).get("type") in ("integer", "number"):
        yield "is an array of numbers, which the form can hardly enter", "use a comma-separated string"


def _secret_default(node: dict[str, Any]) -> Found:
    """forms: shown in clear."""
    if node.get("secret") and node.get("default") and not is_template(node["default"]):
        yield "has a literal secret as its default", "take it from the configuration or the datastore"


def _complete(node: dict[str, Any]) -> Found:
    """The description is the form's only help, and the position its order."""
    for key in ("type", "description", "position"):
        if key not in node and not (key == "type" and ("anyOf" in node or "oneOf" in node)):
            yield f"has no {key}", "add it"


EVERY_PARAMETER: tuple[Callable[[dict[str, Any]], Found], ...] = (
    _required_false,
    _enum,
    _immutable,
    _boolean,
    _zero,
    _array,
    _secret_default,
)


def runner_parameters(action: Document) -> dict[str, Any]:
    """The runner's own parameters: they never reach ``run()`` or the workflow."""
    return RUNNER_PARAMETERS.get(str(action.data.get("runner_type")), {})


def own_parameters(action: Document) -> dict[str, dict[str, Any]]:
    """The parameters an action declares, without its runner's."""
    runner = runner_parameters(action)
    return {name: mapping(node) for name, node in mapping(action.data.get("parameters")).items() if name not in runner}


def parameter_problems(action: Document) -> Iterator[Problem]:
    """Everything wrong with an action's parameters."""
    file = action.path
    own = own_parameters(action)
    for name, node in mapping(action.data.get("parameters")).items():
        where = f"parameters.{name}"
        yield from node_problems(file, node, where)
        rules = (*EVERY_PARAMETER, _complete) if name in own else EVERY_PARAMETER
        for rule in rules:
            for what, remedy in rule(mapping(node)):
                yield Problem(file, f"{where} {what}", remedy)
        yield from default_problems(file, mapping(node), where)
        yield from unmarked_secret(file, name, node, where)
    for name in own:
        yield from _name_problems(file, name, own[name])
    yield from _override_problems(action)
    yield from _position_problems(file, own)
    secrets = [name for name, node in own.items() if node.get("secret")]
    if len(secrets) > 1:
        what = f"{len(secrets)} secret parameters ({', '.join(secrets)}): Rerun sends '********' for all but the first"
        yield Problem(file, what, "keep one at most, take the others from the configuration")


def _name_problems(file: str, name: str, node: dict[str, Any]) -> Iterator[Problem]:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield Problem(file, f"parameter {name!r} is not in snake_case", "rename it")
    plain = node.get("type") == "integer" and "enum" not in node
    if name in ("timeout", "limit") and not plain:
        what = f"parameter {name!r} is no plain integer, which blanks the whole page"
        yield Problem(file, what, "rename it (deadline_s, max_...)")


def _override_problems(action: Document) -> Iterator[Problem]:
    """st2common/util/schema/__init__.py: only some attributes of a runner's parameter can be changed."""
    for name, base in runner_parameters(action).items():
        node = mapping(mapping(action.data.get("parameters")).get(name))
        for attribute, value in node.items():
            if attribute not in OVERRIDABLE and value != base.get(attribute):
                what = f"parameters.{name}.{attribute} overrides the runner's"
                yield Problem(action.path, what, f"leave it out (allowed: {', '.join(sorted(OVERRIDABLE))})")
        if node.get("immutable") and "enum" in base:
            yield Problem(action.path, f"parameters.{name} is an immutable enum of the runner", "leave it alone")


def _position_problems(file: str, own: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    """st2common/validators/api/action.py: unique and contiguous; forms: 0 counts as none, so from 1."""
    positions = [node["position"] for node in own.values() if isinstance(node.get("position"), int)]
    if sorted(positions) != list(range(1, len(positions) + 1)):
        what = f"positions are {', '.join(map(str, sorted(positions)))}"
        yield Problem(file, what, f"number the parameters 1 to {len(positions)}, each once")
