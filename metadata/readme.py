"""The README's table of actions: generated from the metadata, and compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from metadata.known import writes
from metadata.load import Document, Pack
from metadata.parameters import own_parameters
from metadata.problem import Problem

FILE = "README.md"
BEGIN, END = "<!-- actions:begin -->", "<!-- actions:end -->"
REMEDY = "run python -m metadata --write-readme"


def table(pack: Pack) -> str:
    """The table in Markdown, one row for each action."""
    rows = ["| action | writes? | what it does | parameters |", "| --- | --- | --- | --- |"]
    for name, action in sorted(pack.actions.items()):
        cells = (
            f"`{pack.ref}.{name}`",
            "yes" if writes(name) else "no",
            _text(action.data.get("description", "")),
            _parameters(action),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _parameters(action: Document) -> str:
    own = own_parameters(action)
    shown = [name for name in own if not own[name].get("immutable")]
    shown.sort(key=lambda name: (_position(own[name]), name))
    return ", ".join(_parameter(name, own[name]) for name in shown) or "none"


def _position(node: dict[str, Any]) -> int:
    position = node.get("position")
    return position if isinstance(position, int) else len(str(node)) + 1000


def _parameter(name: str, node: dict[str, Any]) -> str:
    if "default" in node:
        return f"`{name}={_text(_plain(node['default']))}`"
    return f"`{name}`" + (" (required)" if node.get("required") else "")


def _plain(value: Any) -> str:
    """A value as one would type it."""
    if isinstance(value, str):
        return value or "''"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()


def _text(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def with_table(text: str, pack: Pack) -> str | None:
    """The README with the present table between its marks; None if a mark is missing or they are in disorder."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{table(pack)}\n{end}{after}" if begin and end else None


def problems(pack: Pack) -> Iterator[Problem]:
    """A README without the table, or with an old one. A pack without actions needs none."""
    file = pack.root / FILE
    if not pack.actions:
        return
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    wanted = with_table(text, pack)
    if wanted is None:
        yield Problem(FILE, f"has no lines {BEGIN} and {END}", f"add them and {REMEDY}")
    elif wanted != text:
        yield Problem(FILE, "its table of actions is not what the metadata say", REMEDY)


def write(pack: Pack) -> bool:
    """Puts the present table into the README. False if the README has no marks."""
    file = pack.root / FILE
    wanted = with_table(file.read_text(encoding="utf-8"), pack) if file.is_file() else None
    if wanted is not None:
        file.write_text(wanted, encoding="utf-8")
    return wanted is not None
