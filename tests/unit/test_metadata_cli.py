"""The command line of `python -m metadata`, the README's table, and orquesta's own inspection."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from metadata import inspection
from metadata.__main__ import main
from metadata.load import load_pack

HEALTHY = Path(__file__).parent / "metadata_cases" / "healthy.yaml"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    for path, text in yaml.safe_load(HEALTHY.read_text(encoding="utf-8")).items():
        (tmp_path / "ha" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ha" / path).write_text(text, encoding="utf-8")
    return tmp_path / "ha"


def test_healthy(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pack)]) == 0
    assert capsys.readouterr().out == "metadata: 13 files, no problem\n"


def test_present_directory_is_the_default(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(pack)
    assert main([]) == 0
    assert "no problem" in capsys.readouterr().out


def test_problem(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pack / "icon.png").unlink()
    assert main([str(pack)]) == 1
    assert capsys.readouterr().out == "icon.png: does not exist, so st2web shows a blank; add it\n"


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "nowhere")])
    assert stopped.value.code == 2


def test_write_readme(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = pack / "README.md"
    wanted = readme.read_text(encoding="utf-8")
    readme.write_text(
        "# A pack\n<!-- actions:begin -->\nold | table\n<!-- actions:end -->\nThe end.\n", encoding="utf-8"
    )
    assert main([str(pack)]) == 1
    assert main([str(pack), "--write-readme"]) == 0
    assert capsys.readouterr().out.endswith("README.md: table of 3 actions\n")
    assert readme.read_text(encoding="utf-8") == wanted
    assert main([str(pack)]) == 0


def test_write_readme_without_marks(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pack / "README.md").write_text("# A pack\n", encoding="utf-8")
    assert main([str(pack), "--write-readme"]) == 1
    assert "<!-- actions:begin -->" in capsys.readouterr().err


needs_orquesta = pytest.mark.skipif(importlib.util.find_spec("orquesta") is None, reason="orquesta is not installed")


@needs_orquesta
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("<% ctx().deployment %>\n", "<% ctx().deploy %>\n", 'Variable "deploy" is referenced before assignment'),
        ("<% ctx().deployment %>\n", "<% ctx(.deployment %>\n", "Parse error"),
        ("core.noop", "core.noop\n    join: every", "tasks.cleanup.join"),
    ],
)
def test_orquesta_inspects(pack: Path, old: str, new: str, expected: str) -> None:
    workflow = pack / "actions/workflows/db_rescue.yaml"
    text = workflow.read_text(encoding="utf-8")
    assert old in text
    workflow.write_text(text.replace(old, new, 1), encoding="utf-8")
    found = [str(problem) for problem in inspection.problems(load_pack(pack))]
    assert any(expected in line for line in found), found


@needs_orquesta
def test_orquesta_finds_nothing_in_the_healthy_pack(pack: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(inspection.problems(load_pack(pack))) == []
    assert "not inspected" not in capfd.readouterr().err


def test_without_orquesta_it_says_so(
    pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspection, "native_language", lambda: importlib.import_module("no_such_engine"))
    assert inspection.main([]) == inspection.NO_ORQUESTA
    assert "no_such_engine" in capsys.readouterr().err
