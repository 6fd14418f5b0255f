"""Each rule of `python -m metadata` finds its fault in an otherwise healthy pack, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from metadata import load
from metadata.check import check, problems_of
from metadata.load import Document, Pack, load_pack
from tests.examples import FEWER

CASES = Path(__file__).parent / "metadata_cases"
HEALTHY: dict[str, str] = yaml.safe_load((CASES / "healthy.yaml").read_text(encoding="utf-8"))
MUTATIONS: list[dict[str, Any]] = yaml.safe_load((CASES / "mutations.yaml").read_text(encoding="utf-8"))
HARMLESS: list[dict[str, Any]] = yaml.safe_load((CASES / "harmless.yaml").read_text(encoding="utf-8"))


CACHED = functools.lru_cache(maxsize=None)(load.parse)


@pytest.fixture(autouse=True)
def parse_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most files are the same in all tests; no check may change what it was given, so one reading is enough."""
    monkeypatch.setattr(load, "parse", CACHED)


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """The healthy pack on disk."""
    root = tmp_path / "ha"
    for path, text in HEALTHY.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def lines(root: Path) -> list[str]:
    return [str(problem) for problem in check(root, with_orquesta=False)[1]]


def follow(data: Any, place: str) -> tuple[Any, Any]:
    """The container a dotted place is in, and its key there."""
    *parts, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    for part in parts:
        data = data[part]
    return data, last


def mutated(text: str, mutation: dict[str, Any]) -> str:
    if "write" in mutation:
        return str(mutation["write"])
    if "replace" in mutation:
        old, new = mutation["replace"]
        assert text.count(old) >= 1
        return text.replace(old, new, 1)
    data = yaml.safe_load(text)
    for place, value in mutation.get("set", {}).items():
        container, key = follow(data, place)
        container[key] = value
    if "drop" in mutation:
        container, key = follow(data, mutation["drop"])
        del container[key]
    return yaml.safe_dump(data, sort_keys=False)


def test_healthy_pack_has_no_problem(pack: Path) -> None:
    assert lines(pack) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation["id"])
def test_fault_is_found(pack: Path, mutation: dict[str, Any]) -> None:
    file = pack / mutation["file"]
    if mutation.get("remove"):
        file.unlink()
    else:
        file.write_text(mutated(HEALTHY.get(mutation["file"], ""), mutation), encoding="utf-8")
    # the README's table is a mirror of the metadata: it is stale after most changes, and that is not the point here
    found = [line for line in lines(pack) if mutation["file"] == "README.md" or "README.md" not in line]
    assert [line for line in found if mutation["expect"] in line], found
    assert len(found) <= mutation.get("only", 1), found


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change["id"])
def test_allowed_change_is_not_reported(pack: Path, change: dict[str, Any]) -> None:
    (pack / change["file"]).write_text(mutated(HEALTHY[change["file"]], change), encoding="utf-8")
    assert [line for line in lines(pack) if "README.md" not in line] == []


def test_every_line_names_file_fault_and_remedy(pack: Path) -> None:
    (pack / "rules/hourly.yaml").write_text("name: hourly\n", encoding="utf-8")
    for line in lines(pack):
        file, rest = line.split(": ", 1)
        assert file == "rules/hourly.yaml"
        assert all(part.strip() for part in rest.rsplit("; ", 1))


@pytest.mark.parametrize("path", [path for path in HEALTHY if path.endswith((".yaml", ".py"))])
@pytest.mark.parametrize(
    "text", ["", "7\n", "- 1\n- {a: b}\n", "name: [1]\nparameters: 3\nx: {y: null}\n", "a: !!python/x 1\n"]
)
def test_nonsense_is_reported_not_raised(pack: Path, path: str, text: str) -> None:
    (pack / path).write_text(text, encoding="utf-8")
    lines(pack)


@pytest.mark.parametrize("value", [None, 7, "x", [1], {"a": {"b": [None]}}][::FEWER])
@pytest.mark.parametrize("path", [path for path in HEALTHY if path.endswith(".yaml")])
def test_wrong_value_anywhere_is_reported_not_raised(pack: Path, path: str, value: Any) -> None:
    """Every value in every file, replaced by one of the wrong kind: a report, never a traceback."""
    loaded = load_pack(pack)
    for place in places(yaml.safe_load(HEALTHY[path])):
        data = copy.deepcopy(next(document.data for document in loaded.documents if document.path == path))
        container: Any = data
        for part in place[:-1]:
            container = container[part]
        container[place[-1]] = value
        problems_of(with_document(loaded, Document(path, data)))


def with_document(loaded: Pack, new: Document) -> Pack:
    def swap(old: Any) -> Any:
        return new if old and old.path == new.path else old

    folders = {name: tuple(map(swap, documents)) for name, documents in loaded.folders.items()}
    manifest, config_schema = swap(loaded.manifest), swap(loaded.config_schema)
    return dataclasses.replace(loaded, manifest=manifest, config_schema=config_schema, folders=folders)


def places(data: Any) -> list[list[Any]]:
    """The place of every value in a tree."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [[key, *rest] for key, value in pairs for rest in ([], *places(value))]
