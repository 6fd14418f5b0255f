"""Policies.

Sources: st2common/models/api/policy.py (keys), st2common/policies/meta (parameters),
st2common/bootstrap/policiesregistrar.py: a policy is found by its name alone, in all packs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metadata.calls import find_action, required_parameters
from metadata.known import CONCURRENCY_BY_ATTRIBUTE, POLICY_TYPES
from metadata.load import Document, Pack, listing, mapping, text
from metadata.parameters import own_parameters
from metadata.problem import Problem
from metadata.shape import shape_problems

_TEXT = {"type": "string"}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "description", "enabled", "resource_ref", "policy_type", "parameters"],
    "properties": {
        "name": _TEXT,
        "pack": _TEXT,
        "description": _TEXT,
        "enabled": {"type": "boolean"},
        "resource_ref": _TEXT,
        "policy_type": {"enum": sorted(POLICY_TYPES)},
        "parameters": {"type": "object"},
    },
    "additionalProperties": False,
}


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack's policies."""
    for policy in pack.folders["policies"]:
        yield from shape_problems(policy.path, policy.data, SCHEMA)
        kind = text(policy.data.get("policy_type"))
        parameters = mapping(policy.data.get("parameters"))
        if kind in POLICY_TYPES:
            yield from shape_problems(policy.path, parameters, POLICY_TYPES[kind], "parameters")
        ref = policy.data.get("resource_ref")
        action = find_action(pack, ref) if isinstance(ref, str) else None
        if action is None:
            yield Problem(policy.path, f"resource_ref {ref} is no action of this pack", "correct the name")
        elif kind == CONCURRENCY_BY_ATTRIBUTE:
            yield from _attribute_problems(policy, action, parameters.get("attributes"))


def _attribute_problems(policy: Document, action: Document, attributes: Any) -> Iterator[Problem]:
    """st2actions/policies/concurrency_by_attr.py compares what an execution was given: defaults are not filled in."""
    for name in map(str, listing(attributes)):
        if name not in own_parameters(action):
            yield Problem(policy.path, f"attribute {name!r} is no parameter of {action.name}", "correct it")
        elif name not in required_parameters(action):
            what = f"attribute {name!r} is optional in {action.name}: executions that leave it out are not counted"
            yield Problem(policy.path, what, "make the parameter required, or take another one")
