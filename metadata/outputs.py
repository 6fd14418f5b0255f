"""The output_schema of an action.

Source: st2common/util/output_schema.py. An output_schema that does not pass StackStorm's own check is ignored with a
log line: nothing is validated and nothing is masked. Masking follows properties, patternProperties,
additionalProperties and items, each only below its ``type``; it does not look into anyOf, oneOf or allOf.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metadata.attributes import SHOWN_SECRET, node_problems, nodes, secret_problems
from metadata.load import Document, listing, mapping
from metadata.problem import Problem

_BELOW = {"properties": "object", "patternProperties": "object", "items": "array"}


def problems(action: Document) -> Iterator[Problem]:
    """Everything wrong with one action's output_schema."""
    file, schema = action.path, action.data.get("output_schema")
    if not isinstance(schema, dict) or not schema:
        yield Problem(file, "no output_schema: results are neither checked nor masked", "add one")
        return
    properties = mapping(schema.get("properties"))
    if schema.get("type") != "object" or not properties:
        what = "output_schema is not the full form, so StackStorm does not validate with it"
        yield Problem(file, what, "write 'type: object' and 'properties:'")
        return
    yield from node_problems(file, schema, "output_schema")
    yield from secret_problems(file, schema, "output_schema", SHOWN_SECRET)
    if next(iter(properties)) != "summary" or mapping(properties["summary"]).get("type") != "string":
        yield Problem(file, "output_schema does not begin with the string 'summary'", "put it first")
    for place, node in nodes(schema, "output_schema"):
        yield from _masking_problems(file, place, mapping(node))


def _masking_problems(file: str, place: str, node: dict[str, Any]) -> Iterator[Problem]:
    for key, wanted in _BELOW.items():
        if key in node and node.get("type") != wanted and not isinstance(node.get("type"), list):
            yield Problem(file, f"{place} has {key} but not 'type: {wanted}': nothing below is masked", "add the type")
    for key in ("anyOf", "oneOf", "allOf"):
        for index, child in enumerate(listing(node.get(key))):
            if any(mapping(below).get("secret") for _, below in nodes(child, "")) and not node.get("secret"):
                what = f"{place}.{key}.{index} holds a secret, which is not masked there"
                yield Problem(file, what, f"put 'secret: true' beside {key}")
