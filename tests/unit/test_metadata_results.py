"""check_result compares a real result with its action's output_schema, as StackStorm does and more strictly."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from metadata.results import check_result

ACTION = """
name: db_check
output_schema:
  type: object
  properties:
    summary: {type: string, required: true}
    severity: {type: string, enum: [ok, critical], required: true}
    lag_s: {anyOf: [{type: number}, {type: "null"}]}
    rows: {type: array, items: {type: object, properties: {n: {type: integer}}, additionalProperties: false}}
    facts: {type: object}
"""
GOOD: dict[str, Any] = {"summary": "fine", "severity": "ok", "lag_s": None, "rows": ({"n": 1},), "facts": {"x": 1.5}}


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    (tmp_path / "actions").mkdir()
    (tmp_path / "actions/db_check.yaml").write_text(ACTION, encoding="utf-8")
    return tmp_path


def test_good_result(pack: Path) -> None:
    assert check_result("db_check", GOOD, pack) == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("text", "the result is of type string, not object"),
        ({"severity": "ok", "summary": "x"}, "the first key is not 'summary'"),
        ({"severity": "ok"}, "'summary' is a required property"),
        ({"summary": "x"}, "'severity' is a required property"),
        ({**GOOD, "summary": ""}, "summary is no text"),
        ({**GOOD, "summary": "x" * 121}, "summary has 121 characters"),
        ({**GOOD, "summary": "a\nb"}, "several lines"),
        ({**GOOD, "severity": "bad"}, "severity: 'bad' is not one of"),
        ({**GOOD, "lag_s": "1"}, "lag_s: '1' is not valid under any"),
        ({**GOOD, "rows": [{"m": 1}]}, "rows.0: Additional properties"),
        ({**GOOD, "more": 1}, "key 'more' is not declared"),
        ({**GOOD, "facts": {1: 2}}, "result.facts has the key 1, which is no text"),
        ({**GOOD, "facts": {"s": {1}}}, "result.facts.s is of type set"),
        ({**GOOD, "facts": {"b": b"x"}}, "result.facts.b is of type bytes"),
        ({**GOOD, "facts": {"d": Decimal(1)}}, "result.facts.d is of type Decimal"),
        ({**GOOD, "facts": {"t": datetime(2026, 1, 1)}}, "result.facts.t is of type datetime"),
        ({**GOOD, "facts": {"big": 2**64}}, "result.facts.big does not fit into 64 bits"),
        ({**GOOD, "facts": {"nan": float("nan")}}, "result.facts.nan is nan, which becomes null"),
    ],
)
def test_bad_result(pack: Path, result: Any, expected: str) -> None:
    errors = check_result("db_check", result, pack)
    assert any(expected in error for error in errors), errors


def test_unknown_action(pack: Path) -> None:
    assert check_result("db_fly", GOOD, pack) == ["there is no actions/db_fly.yaml"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\n", "the action has no output_schema"),
        ("output_schema: {type: object, properties: {summary: {type: [string, 'null']}}}\n", "its schema is broken"),
        ("- x\n", "holds no mapping"),
    ],
)
def test_schema_that_cannot_be_used(pack: Path, text: str, expected: str) -> None:
    (pack / "actions/db_check.yaml").write_text(text, encoding="utf-8")
    errors = check_result("db_check", {"summary": "x"}, pack)
    assert any(expected in error for error in errors), errors
