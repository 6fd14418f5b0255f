"""Compares a real result with its action's output_schema. For tests: ``from metadata.results import check_result``.

Sources: st2common/util/output_schema.py (how StackStorm validates), its JSON encoder orjson (what it can hold), and
st2web, which shows the first 20 lines in the order of the keys, so that ``summary`` comes first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metadata.attributes import node_problems
from metadata.load import mapping, read_document
from metadata.shape import type_name, value_errors

PACK = Path(__file__).resolve().parent.parent
MAX_SUMMARY = 120
#: orjson: the range of a signed and of an unsigned 64-bit integer.
SMALLEST, LARGEST = -(2**63), 2**64 - 1


def check_result(action_name: str, result: Any, pack_dir: Path = PACK) -> list[str]:
    """What is wrong with a result of an action, in words; [] if nothing.

    ``action_name`` is the name without the pack (``mongodb_check``); ``result`` is what ``run`` returned, without the
    bool, or a workflow's output.
    """
    path = f"actions/{action_name}.yaml"
    if not (pack_dir / path).is_file():
        return [f"there is no {path}"]
    document, problems = read_document(pack_dir, path)
    if document is None:
        return [str(problem) for problem in problems]
    return list(_errors(result, mapping(document.data.get("output_schema"))))


def _errors(result: Any, schema: dict[str, Any]) -> Iterator[str]:
    if not isinstance(result, dict):
        yield f"the result is of type {type_name(result)}, not object"
        return
    if not schema:
        yield "the action has no output_schema"
        return
    for problem in node_problems("output_schema", schema, "output_schema"):
        yield f"its schema is broken: {problem.what}"
        return
    yield from _encoding_errors(result, "result")
    declared = mapping(schema.get("properties"))
    for key in result:
        if key not in declared:
            yield f"key {key!r} is not declared in the output_schema"
    yield from _summary_errors(result)
    yield from value_errors(_as_json(result), schema)


def _summary_errors(result: dict[str, Any]) -> Iterator[str]:
    summary = result.get("summary")
    if next(iter(result), None) != "summary":
        yield "the first key is not 'summary'"
    if not isinstance(summary, str) or not summary:
        yield "summary is no text"
    elif len(summary) > MAX_SUMMARY or "\n" in summary:
        yield f"summary has {len(summary)} characters or several lines; the limit is {MAX_SUMMARY} on one line"


def _encoding_errors(value: Any, where: str) -> Iterator[str]:
    """What orjson cannot encode turns the whole result into a string; NaN turns into null."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where} has the key {key!r}, which is no text"
            yield from _encoding_errors(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _encoding_errors(item, f"{where}.{index}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{where} is {value}, which becomes null"
    elif isinstance(value, int):
        if not SMALLEST <= value <= LARGEST:
            yield f"{where} does not fit into 64 bits"
    elif value is not None and type(value) is not str:
        yield f"{where} is of type {type_name(value)}, which is not JSON"


def _as_json(value: Any) -> Any:
    """The value as it looks after a trip through JSON: tuples are lists."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    return value
