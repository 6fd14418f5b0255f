"""Chat aliases.

Sources: st2common/models/api/action.py, ``ActionAliasAPI`` (keys), st2common/models/utils/action_alias_utils.py (the
format's syntax), st2common/bootstrap/aliasesregistrar.py: an alias is found by its name alone, in all packs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from metadata.calls import call_problems, find_action, required_parameters
from metadata.load import Document, Pack, listing, mapping
from metadata.parameters import own_parameters
from metadata.problem import Problem
from metadata.shape import shape_problems

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_REPLY: dict[str, Any] = {"enabled": _FLAG, "format": _TEXT, "extra": {"type": "object"}}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "description", "action_ref", "formats"],
    "properties": {
        "name": _TEXT,
        "pack": _TEXT,
        "description": _TEXT,
        "enabled": _FLAG,
        "action_ref": _TEXT,
        "formats": {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}},
        "ack": {"type": "object", "properties": {**_REPLY, "append_url": _FLAG}, "additionalProperties": False},
        "result": {"type": "object", "properties": _REPLY, "additionalProperties": False},
        "extra": {"type": "object"},
        "immutable_parameters": {"type": "object"},
    },
    "additionalProperties": False,
}

_PLACE = re.compile(r"{{\s*(\S+?)\s*(?:=.*?)?}}")


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack's aliases."""
    for alias in pack.folders["aliases"]:
        yield from shape_problems(alias.path, alias.data, SCHEMA)
        ref = alias.data.get("action_ref")
        yield from call_problems(pack, alias.path, "action_ref", ref, "unknown")
        action = find_action(pack, ref) if isinstance(ref, str) else None
        if action:
            yield from _format_problems(alias, action)


def format_texts(formats: Any) -> Iterator[str]:
    """The texts users may type: plain formats, and the representations of the others."""
    for item in listing(formats):
        if isinstance(item, str):
            yield item
        yield from map(str, listing(mapping(item).get("representation")))


def _format_problems(alias: Document, action: Document) -> Iterator[Problem]:
    fixed = mapping(alias.data.get("immutable_parameters"))
    known = own_parameters(action)
    for name in sorted(fixed.keys() - known.keys()):
        yield Problem(alias.path, f"immutable_parameters has {name!r}, no parameter of {action.name}", "correct it")
    for text in format_texts(alias.data.get("formats")):
        places = set(_PLACE.findall(text))
        for name in sorted(places - known.keys()):
            yield Problem(alias.path, f"format {text!r} has {name!r}, no parameter of {action.name}", "correct it")
        for name in required_parameters(action):
            if name not in places and name not in fixed:
                what = f"format {text!r} lacks {name!r}, which {action.name} requires"
                yield Problem(alias.path, what, "add it to the format or to immutable_parameters")
