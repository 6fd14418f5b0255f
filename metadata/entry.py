"""The Python files behind actions and sensors, read as syntax: nothing is imported, nothing is run.

How they are loaded: st2common/util/loader.py takes the classes of the file in alphabetical order and does not put the
module into ``sys.modules``, so that a dataclass there dies when its annotations are looked up.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metadata.problem import Problem

MAX_LINES = 15
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
MISSING = object()
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


@dataclass(frozen=True)
class Source:
    """A Python file: its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def classes(self) -> list[ast.ClassDef]:
        """The classes at the top level."""
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]


def read_source(root: Path, path: str) -> tuple[Source | None, list[Problem]]:
    """The source, or None and why not."""
    file = root / path
    if not file.is_file():
        return None, [Problem(path, "the entry file does not exist", "add it or correct entry_point")]
    text = file.read_text(encoding="utf-8")
    try:
        return Source(path, text, ast.parse(text)), []
    except (SyntaxError, ValueError) as error:
        return None, [Problem(path, f"not valid Python: {error}", "correct it")]


def methods(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The methods written in a class, by name."""
    return {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}


def code_lines(source: Source) -> int:
    """Lines that hold code: no blanks, comments or docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(source.tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            first = node.body[0]
            lines -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


def dataclass_problems(source: Source) -> Iterator[Problem]:
    """Dataclasses, which StackStorm's loader breaks."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.dump(item) for item in node.decorator_list):
            what = f"{node.name} is a dataclass, which StackStorm's loader breaks"
            yield Problem(source.path, what, "move it to st2ha")


def camel_case(stem: str) -> str:
    """``mongodb_check`` -> ``MongodbCheck``."""
    return "".join(word.capitalize() for word in stem.split("_"))


def run_parameters(function: ast.FunctionDef) -> tuple[dict[str, Any], bool]:
    """Names in a ``run`` signature with their defaults (MISSING if none, the node if no literal); has it * or **."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args][1:]
    defaults: list[ast.expr | None] = [None] * len(plain) + list(arguments.defaults)
    pairs = list(zip(plain, defaults[len(defaults) - len(plain) :]))
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults))
    found = {argument.arg: MISSING if default is None else _literal(default) for argument, default in pairs}
    return found, bool(arguments.vararg or arguments.kwarg)


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return node
