"""Reads a pack's metadata files. Finds what YAML itself hides: duplicate keys, tabs, keys that are no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from metadata.problem import Problem

#: st2common/bootstrap/base.py: only files directly in these folders are read, with these endings.
FOLDERS = ("actions", "sensors", "triggers", "rules", "policies", "aliases")
ENDINGS = (".yaml", ".yml")
WORKFLOWS = "actions/workflows"


@dataclass(frozen=True)
class Document:
    """One YAML file. ``path`` is relative to the pack; ``data`` is a mapping with text keys."""

    path: str
    data: dict[str, Any]

    @property
    def name(self) -> str:
        """The ``name`` it gives itself, or its file's stem."""
        name = self.data.get("name")
        return name if isinstance(name, str) else Path(self.path).stem


@dataclass(frozen=True)
class Pack:
    """All metadata of a pack. ``problems`` are those found while reading."""

    root: Path
    ref: str
    manifest: Document | None
    config_schema: Document | None
    folders: Mapping[str, tuple[Document, ...]]
    problems: tuple[Problem, ...] = field(default=())

    @property
    def actions(self) -> dict[str, Document]:
        """Actions by name."""
        return {document.name: document for document in self.folders["actions"]}

    @property
    def documents(self) -> list[Document]:
        """Every file that was read and is a mapping."""
        single = [document for document in (self.manifest, self.config_schema) if document]
        return single + [document for documents in self.folders.values() for document in documents]

    def trigger_types(self) -> list[tuple[str, dict[str, Any]]]:
        """(file, definition) of each trigger type, from sensors and from triggers/."""
        own = [(document.path, document.data) for document in self.folders["triggers"]]
        for sensor in self.folders["sensors"]:
            own += [(sensor.path, item) for item in listing(sensor.data.get("trigger_types")) if isinstance(item, dict)]
        return own

    def triggers(self) -> dict[str, dict[str, Any]]:
        """Trigger definitions by reference, such as ``ha.state_changed``."""
        return {f"{self.ref}.{item.get('name')}": item for _, item in self.trigger_types()}


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is a mapping, else an empty one: shape errors are reported elsewhere, once."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is text, else none."""
    return value if isinstance(value, str) else ""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which takes the last of two equal keys without a word; this one keeps note of them."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.duplicates: list[tuple[int, str]] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    self.duplicates.append((key.start_mark.line + 1, key.value))
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(path: str, text: str) -> tuple[Any, list[Problem]]:
    """The data in a YAML text (None when it cannot be read) and what is wrong with the text."""
    problems = [
        Problem(path, f"line {number} is indented with a tab", "use spaces")
        for number, line in enumerate(text.splitlines(), 1)
        if "\t" in line[: len(line) - len(line.lstrip())]
    ]
    loader = _Loader(text)
    try:
        data = loader.get_single_data()
    except (yaml.YAMLError, ValueError, TypeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error)
        return None, [*problems, Problem(path, f"not valid YAML{where}: {what}", "correct it")]
    finally:
        loader.dispose()
    problems += [
        Problem(path, f"key {key!r} occurs twice (line {line}), the last one wins", "keep one")
        for line, key in loader.duplicates
    ]
    odd: list[str] = []
    data = _with_text_keys(data, odd)
    problems += [Problem(path, f"key {key} is no text for YAML", "put it in quotes") for key in odd]
    return data, problems


def _with_text_keys(data: Any, odd: list[str]) -> Any:
    if isinstance(data, list):
        return [_with_text_keys(item, odd) for item in data]
    if not isinstance(data, dict):
        return data
    odd += [repr(key) for key in data if not isinstance(key, str)]
    return {str(key): _with_text_keys(value, odd) for key, value in data.items()}


def read_document(root: Path, path: str) -> tuple[Document | None, list[Problem]]:
    """One file as a document, or None and the reason."""
    data, problems = parse(path, (root / path).read_text(encoding="utf-8"))
    if isinstance(data, dict):
        return Document(path, data), problems
    if not problems:
        problems = [Problem(path, "holds no mapping", "write 'key: value' lines")]
    return None, problems


def load_pack(root: Path) -> Pack:
    """Reads everything StackStorm would read, and the workflows."""
    problems: list[Problem] = []
    folders: dict[str, tuple[Document, ...]] = {}
    for folder in (*FOLDERS, WORKFLOWS):
        found = [read_document(root, path) for path in _yaml_files(root, folder)]
        folders[folder] = tuple(document for document, _ in found if document)
        problems += [problem for _, some in found for problem in some]
    single: dict[str, Document | None] = {}
    for path in ("pack.yaml", "config.schema.yaml"):
        single[path], some = read_document(root, path) if (root / path).is_file() else (None, [])
        problems += some
    manifest = single["pack.yaml"]
    ref = manifest.data.get("ref", manifest.data.get("name")) if manifest else None
    return Pack(
        root,
        ref if isinstance(ref, str) else root.resolve().name,
        manifest,
        single["config.schema.yaml"],
        folders,
        tuple(problems),
    )


def _yaml_files(root: Path, folder: str) -> Iterator[str]:
    for path in sorted((root / folder).glob("*")):
        if path.suffix in ENDINGS and path.is_file():
            yield f"{folder}/{path.name}"
