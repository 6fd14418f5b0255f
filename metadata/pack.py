"""pack.yaml, config.schema.yaml and what holds for all files of a folder.

Sources: st2common/models/api/pack.py and models/db/pack.py (mongoengine's EmailField), st2common/constants/pack.py
(patterns), st2common/util/pack.py (how a configuration is validated).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from metadata.attributes import default_problems, node_problems, secret_problems, unmarked_secret, usable
from metadata.load import FOLDERS, Document, Pack, mapping, parse
from metadata.problem import Problem
from metadata.shape import is_template, shape_problems, value_errors

_TEXT = {"type": "string", "minLength": 1}
_NUMBER = r"(0|[1-9]\d*)"
_LABEL = r"[\da-z-]+(\.[\da-z-]+)*"
_DOMAIN = r"([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
_COMPARISON = r"\s*(>=|<=|>|<|=)\s*\d+\.\d+\.\d+\s*"

MANIFEST: dict[str, Any] = {
    "type": "object",
    "required": ["ref", "name", "description", "version", "author", "email", "python_versions", "stackstorm_version"],
    "properties": {
        "ref": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "name": _TEXT,
        "description": _TEXT,
        "keywords": {"type": "array", "items": _TEXT},
        "version": {"type": "string", "pattern": rf"^{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_LABEL})?(\+{_LABEL})?$"},
        "stackstorm_version": {"type": "string", "pattern": f"^{_COMPARISON}(,{_COMPARISON})*$"},
        "python_versions": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": ["3"]}},
        "author": _TEXT,
        "email": {"type": "string", "pattern": rf"^[^@\s]+@{_DOMAIN}$"},
        "contributors": {"type": "array", "items": {"type": "string", "maxLength": 100}},
        "dependencies": {"type": "array", "items": _TEXT},
        "system": {"type": "object"},
    },
    "additionalProperties": False,
}

#: Found by name alone among all packs, so that a plain name would overwrite another pack's.
PREFIXED = ("policies", "aliases")


def problems(pack: Pack) -> Iterator[Problem]:
    """Everything wrong with the pack as a whole."""
    if pack.manifest:
        yield from shape_problems("pack.yaml", pack.manifest.data, MANIFEST)
    elif not (pack.root / "pack.yaml").is_file():
        yield Problem("pack.yaml", "does not exist", "add it")
    if not (pack.root / "icon.png").is_file():
        yield Problem("icon.png", "does not exist, so st2web shows a blank", "add it")
    if (pack.root / "config.yaml").is_file():
        yield Problem("config.yaml", "StackStorm has not read it since 2.4", "use config.schema.yaml")
    for folder in FOLDERS:
        yield from _folder_problems(pack, folder)
    if pack.config_schema:
        yield from _config_problems(pack.config_schema)
        yield from _example_problems(pack, pack.config_schema)


def _folder_problems(pack: Pack, folder: str) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for document in pack.folders[folder]:
        if document.data.get("pack", pack.ref) != pack.ref:
            yield Problem(document.path, f"its pack is {document.data['pack']!r}", "leave 'pack' out")
        if folder == "sensors":
            continue  # they have no name, but a class
        if document.name in seen:
            yield Problem(document.path, f"the name {document.name!r} is also in {seen[document.name]}", "rename one")
        seen[document.name] = document.path
        if folder in PREFIXED and not document.name.startswith(f"{pack.ref}_"):
            what = f"the name {document.name!r} would overwrite another pack's of that name"
            yield Problem(document.path, what, f"name it {pack.ref}_{document.name}")
    if folder in ("actions", "sensors"):
        return  # other modules know which further files belong there
    for path in sorted((pack.root / folder).glob("*")):
        if path.is_file() and path.suffix not in (".yaml", ".yml") and path.name != "README.md":
            yield Problem(f"{folder}/{path.name}", "StackStorm does not read it", "remove it, or end its name in .yaml")


def _config_problems(document: Document) -> Iterator[Problem]:
    for name, node in document.data.items():
        if not re.fullmatch(r"\w+", name):
            yield Problem(document.path, f"{name!r} is not made of letters, digits and _", "rename it")
        for key in ("type", "description"):
            if key not in mapping(node):
                yield Problem(document.path, f"{name} has no {key}", "add it")
        yield from node_problems(document.path, node, name)
        yield from default_problems(document.path, mapping(node), name)
        yield from unmarked_secret(document.path, name, node, name)
        yield from secret_problems(document.path, node, name)
        default = mapping(node).get("default")
        if mapping(node).get("secret") and default and not is_template(default):
            yield Problem(document.path, f"{name} has a literal secret as its default", "drop the default")


def _example_problems(pack: Pack, schema: Document) -> Iterator[Problem]:
    """The example must be a configuration that StackStorm accepts as it stands."""
    path = f"{pack.ref}.yaml.example"
    if not (pack.root / path).is_file():
        yield Problem(path, "does not exist", "add an example of the configuration")
        return
    data, some = parse(path, (pack.root / path).read_text(encoding="utf-8"))
    yield from some
    if some or not isinstance(data, dict):
        return
    for name in data.keys() - schema.data.keys():
        yield Problem(path, f"{name!r} is not in config.schema.yaml", "correct it or declare it")
    if not all(usable(node) for node in schema.data.values()):
        return
    for error in value_errors(data, {"type": "object", "properties": schema.data}):
        yield Problem(path, f"does not fit config.schema.yaml: {error}", "correct it")
