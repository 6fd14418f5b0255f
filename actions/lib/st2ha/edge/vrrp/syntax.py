"""keepalived.conf as a tree of statements: comments, quotes, braces, `include`, `$NAME=value`, `@id` conditions.

Source of the rules: keepalived.conf(5) of 2.2. What belongs to one statement ends with its line; a `{`, on its line or
on the next, opens a block of it.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

INCLUDE = re.compile(r"include[a-z]?")
DEFINITION = re.compile(r"\$([A-Za-z_]\w*)=(.*)")
REFERENCE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
CONDITION = re.compile(r"@(\^?)(\S+)(?:\s+(.*))?")
TOKEN = re.compile(r'"((?:\\.|[^"\\])*)"|\'((?:\\.|[^\'\\])*)\'|([{}])|([^\s{}"\']+)')
DEPTH = 10


@dataclass(frozen=True)
class Statement:
    """`words` of one line, and the statements of its block. Never shown whole: `auth_pass` is among them."""

    words: tuple[str, ...] = field(repr=False)
    block: tuple[Statement, ...] = field(default=(), repr=False)

    @property
    def keyword(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def argument(self) -> str:
        """The word behind the keyword, empty if there is none."""
        return self.words[1] if len(self.words) > 1 else ""

    def all(self, *keywords: str) -> Iterator[Statement]:
        """Statements of the block, by keyword, in order."""
        return (each for each in self.block if each.keyword in keywords)

    def first(self, keyword: str) -> Optional[Statement]:
        """The last one wins in keepalived, too."""
        found = list(self.all(keyword))
        return found[-1] if found else None


@dataclass(frozen=True)
class Tree:
    """A whole configuration. `faults`: what could not be read, a sentence each, without a value in it."""

    root: Statement
    faults: tuple[str, ...] = ()


def parse_tree(files: Mapping[str, str], path: str, config_id: str = "") -> Tree:
    """The tree of the file at `path`, with what it includes from `files` (absolute path -> text)."""
    reading = _Reading(files, config_id)
    tokens = [token for line in reading.lines(path, 0) for token in (*_tokens(line), "\n")]
    block, rest = _block(tokens, 0, reading.faults)
    if rest < len(tokens):
        reading.faults.append(f"{path}: a `}}` too many")
    return Tree(Statement((), block), tuple(dict.fromkeys(reading.faults)))


class _Reading:
    """Lines in the order in which keepalived meets them, definitions filled in."""

    def __init__(self, files: Mapping[str, str], config_id: str) -> None:
        self.faults: list[str] = []
        self._files = files
        self._id = config_id
        self._values: dict[str, str] = {}

    def lines(self, path: str, depth: int) -> Iterator[str]:
        if depth > DEPTH:
            self.faults.append(f"{path}: includes itself, or more than {DEPTH} deep")
            return
        text = self._files.get(path)
        if text is None:
            self.faults.append(f"{path}: could not be read")
            return
        for raw in text.replace("\\\n", " ").splitlines():
            line = self._filled(self._applying(_without_comment(raw).strip()))
            words = line.split(None, 1)
            if line.startswith("$") and (definition := DEFINITION.fullmatch(line)):
                self._values[definition[1]] = definition[2].strip()
            elif words and INCLUDE.fullmatch(words[0]) and len(words) == 2:
                for each in self._included(words[1].strip().strip("\"'"), path):
                    yield from self.lines(each, depth + 1)
            elif line:
                yield line

    def _applying(self, line: str) -> str:
        """Nothing where a condition such as `@lb1` or `@^lb1` is not this node's."""
        condition = CONDITION.fullmatch(line)
        if condition is None:
            return line
        wanted = (condition[2] == self._id) != bool(condition[1])
        return condition[3] or "" if wanted else ""

    def _filled(self, line: str) -> str:
        if DEFINITION.fullmatch(line):
            name, _, value = line.partition("=")
            return f"{name}={self._filled(value)}"
        return REFERENCE.sub(lambda found: self._values.get(found[1] or found[2], found[0]), line)

    def _included(self, pattern: str, by: str) -> list[str]:
        full = os.path.normpath(os.path.join(os.path.dirname(by), pattern))
        found = sorted(path for path in self._files if fnmatch.fnmatchcase(path, full) and path != by)
        if not found:
            self.faults.append(f"{by}: includes {pattern}, which is not there or could not be read")
        return found


def _without_comment(line: str) -> str:
    """Up to a `#` or `!` that is not in quotes."""
    quote = ""
    for number, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in "#!":
            return line[:number]
    return line


def _tokens(line: str) -> Iterator[str]:
    """Words; a brace that is none of a word comes as itself, a quoted one does not."""
    for double, single, brace, word in TOKEN.findall(line):
        yield brace or ((word or double or single) if (word or double or single) not in "{}" else " ")


def _block(tokens: list[str], at: int, faults: list[str], depth: int = 0) -> tuple[tuple[Statement, ...], int]:
    """Statements up to the closing brace or the end, and where that is."""
    statements: list[Statement] = []
    words: list[str] = []

    def finish() -> None:
        if words:
            statements.append(Statement(tuple(words)))
            words.clear()

    while at < len(tokens):
        token = tokens[at]
        if token == "{" and depth >= DEPTH:
            faults.append(f"braces are more than {DEPTH} deep")
        elif token == "{":
            finish()
            inner, at = _block(tokens, at + 1, faults, depth + 1)
            if at >= len(tokens):
                faults.append("a `}` is missing")
            owner = statements.pop() if statements else Statement(())
            statements.append(Statement(owner.words, owner.block + inner))
        elif token == "}":
            finish()
            return tuple(statements), at
        elif token == "\n":
            finish()
        else:
            words.append(token)
        at += 1
    finish()
    return tuple(statements), at
