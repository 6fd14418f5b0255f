"""A call of an action by reference, in a rule, a workflow or an alias: does it exist, does it take what it is given.

StackStorm looks at neither when it registers the caller; the execution fails when the event has come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metadata.attributes import usable
from metadata.known import CORE_ACTIONS, RUNNER_PARAMETERS, Signature
from metadata.load import Document, Pack, mapping
from metadata.parameters import own_parameters
from metadata.problem import Problem
from metadata.shape import is_template, value_errors


def required_parameters(action: Document) -> list[str]:
    """The parameters a caller must give."""
    return [
        name
        for name, node in mapping(action.data.get("parameters")).items()
        if mapping(node).get("required") is True and "default" not in mapping(node)
    ]


def find_action(pack: Pack, ref: str) -> Document | None:
    """The action of this pack that a reference names."""
    prefix, _, name = ref.partition(".")
    return pack.actions.get(name) if prefix == pack.ref else None


def signature(action: Document) -> Signature:
    """What an action of this pack can be given, its runner's parameters included."""
    required = frozenset(required_parameters(action))
    runner = RUNNER_PARAMETERS.get(str(action.data.get("runner_type")), {})
    return Signature(required, (frozenset(own_parameters(action)) | frozenset(runner)) - required)


def call_problems(pack: Pack, file: str, where: str, ref: Any, given: Any) -> Iterator[Problem]:
    """Problems of calling ``ref`` with the parameters ``given``; a mapping, or None or a template if not known."""
    if not isinstance(ref, str) or is_template(ref):
        return
    action = find_action(pack, ref)
    known = signature(action) if action else CORE_ACTIONS.get(ref)
    if known is None:
        own = ref.startswith(f"{pack.ref}.")
        remedy = "correct the name or add the action" if own else "correct it, or add it to metadata/known.py"
        yield Problem(file, f"{where} names the unknown action {ref}", remedy)
        return
    if not isinstance(given, dict) and given is not None:
        return
    parameters = given or {}
    for name in sorted(known.required - parameters.keys()):
        yield Problem(file, f"{where} calls {ref} without its required parameter {name!r}", "give it")
    for name in sorted(parameters.keys() - known.required - known.optional):
        allowed = ", ".join(sorted(known.required | known.optional)) or "none"
        yield Problem(file, f"{where} gives {ref} the unknown parameter {name!r}", f"it takes: {allowed}")
    if action:
        yield from _value_problems(file, where, ref, action, parameters)


def _value_problems(file: str, where: str, ref: str, action: Document, parameters: dict[str, Any]) -> Iterator[Problem]:
    for name, value in parameters.items():
        node = mapping(mapping(action.data.get("parameters")).get(name))
        if node.get("immutable"):
            yield Problem(file, f"{where} gives {ref} the immutable parameter {name!r}", "leave it out")
        elif value is not None and not _has_template(value) and usable(node):
            for error in value_errors(value, node):
                yield Problem(file, f"{where} gives {ref} a wrong {name!r}: {error}", "correct the value")


def _has_template(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_template(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_template(item) for item in value)
    return is_template(value)
