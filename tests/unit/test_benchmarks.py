"""The figures' logic, without servers."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys

import pytest
from rich.console import Console

import benchmarks.__main__ as command
from benchmarks.figures import Figure, as_json, as_table, exit_code, worst
from lab.cluster import ROOT
from lab.errors import WaitTimeout

GOOD = Figure("fast", 0.25, 1.0, "s", "a bare one: 0.20 s", "worst of 3")
EXACT = Figure("lost", 0, 0, "writes")
BROKEN = Figure("slow", 1.51, 1.5, "x")
UNMEASURED = Figure("odd", float("nan"), 1.0, "s")


@pytest.mark.parametrize(("figure", "ok"), [(GOOD, True), (EXACT, True), (BROKEN, False), (UNMEASURED, False)])
def test_a_figure_is_ok_up_to_its_limit(figure: Figure, ok: bool) -> None:
    assert figure.ok is ok


def test_one_broken_limit_breaks_all() -> None:
    assert exit_code([GOOD, EXACT]) == 0
    assert exit_code([GOOD, BROKEN]) == 1
    assert exit_code([UNMEASURED]) == 1


def test_the_worst_of_values_is_no_number_if_one_is_none() -> None:
    assert worst([1.0, 3.0, 2.0]) == 3.0
    assert math.isnan(worst([1.0, math.nan]))
    assert math.isnan(worst([math.nan, 1.0]))


def test_json_holds_what_a_program_needs_and_is_strict() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    assert json.loads(as_json([GOOD, BROKEN, UNMEASURED]), parse_constant=refuse) == {
        "fast": {"value": 0.25, "limit": 1.0, "unit": "s", "ok": True},
        "slow": {"value": 1.51, "limit": 1.5, "unit": "x", "ok": False},
        "odd": {"value": None, "limit": 1.0, "unit": "s", "ok": False},
    }


def test_the_table_shows_the_floor_beside_the_figure() -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(as_table([GOOD, EXACT, BROKEN, UNMEASURED]))
    text = console.export_text()
    for part in ("0.25 s", "a bare one: 0.20 s", "worst of 3", "0 writes", "1.51 x", "nan s"):
        assert part in text


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What each area yields, an exception is raised; in place of measuring."""
    yields: dict[str, object] = {"mongodb": [GOOD], "mysql": [BROKEN]}

    def measured(names: list[str], say: command.Say) -> list[Figure]:
        found: list[Figure] = []
        for name in names:
            say(f"measuring {name}")
            figures = yields[name]
            if isinstance(figures, BaseException):
                raise figures
            found += figures  # type: ignore[operator]
        return found

    monkeypatch.setattr(command, "AREAS", dict.fromkeys(yields, ""))
    monkeypatch.setattr(command, "measured", measured)
    return yields


@pytest.mark.parametrize(
    ("argv", "code", "names"),
    [
        (["--json", "mongodb"], 0, ["fast"]),
        (["mysql", "--json"], 1, ["slow"]),
        (["--json"], 1, ["fast", "slow"]),
        (["--json", "mysql", "mongodb"], 1, ["fast", "slow"]),
    ],
)
def test_json_is_one_object_and_nothing_else(
    areas: dict[str, object], capsys: pytest.CaptureFixture[str], argv: list[str], code: int, names: list[str]
) -> None:
    assert command.main(argv) == code
    assert list(json.loads(capsys.readouterr().out)) == names


def test_what_cannot_be_measured_is_one_sentence(areas: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    areas["mongodb"] = WaitTimeout("waited 30 s in vain for a primary")
    assert command.main(["mongodb"]) == command.UNMEASURED
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "could not be measured: waited 30 s in vain for a primary" in shown.err


@pytest.mark.parametrize("words", [["nonsense"], ["mongodb", "--jsn"]])
def test_an_unknown_area_is_one_sentence_and_64(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == command.USAGE
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert words[-1] in done.stderr
