"""Pure: what is not the same on all nodes, and where it is newest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.content.facts import Entry, Root


@dataclass(frozen=True)
class Difference:
    """One path: the nodes that have it, grouped by what they have, and those that lack it."""

    path: str
    groups: tuple[tuple[str, ...], ...]
    lacking: tuple[str, ...]
    newest: Optional[str]

    def words(self) -> str:
        """For example `actions/run.py (newest on st2-2)`."""
        if self.lacking and len(self.groups) == 1:
            return f"{shown(self.path)} (only on {', '.join(self.groups[0])})"
        newest = f"newest on {self.newest}" if self.newest else "equally new"
        lacking = f", not on {', '.join(self.lacking)}" if self.lacking else ""
        return f"{shown(self.path)} ({newest}{lacking})"

    def row(self) -> dict[str, Any]:
        return {
            "path": shown(self.path),
            "groups": [list(group) for group in self.groups],
            "lacking": list(self.lacking),
            "newest": self.newest,
        }


@dataclass(frozen=True)
class Drift:
    """An entry of a root (a pack, a configuration, a virtualenv) that differs; `files` of it, if they were told."""

    root: str
    entry: Difference
    files: tuple[Difference, ...] = ()

    @property
    def outliers(self) -> tuple[str, ...]:
        """The nodes that are not as most are; all of them if there is no most."""
        sides = [*self.entry.groups, *([self.entry.lacking] if self.entry.lacking else [])]
        largest = max(sides, key=len)
        if sum(len(side) == len(largest) for side in sides) > 1:
            return tuple(node for side in sides for node in side)
        return tuple(node for side in sides if side is not largest for node in side)

    def row(self) -> dict[str, Any]:
        return {"root": self.root, **self.entry.row(), "files": [each.row() for each in self.files]}


def drifts(name: str, roots: Mapping[str, Root]) -> tuple[Drift, ...]:
    """What differs between the nodes' roots called `name`; `roots` are only those that could be read."""
    if len({root.digest for root in roots.values()}) < 2:
        return ()
    found = []
    for entry in differences({node: root.tops for node, root in roots.items()}):
        there = {node: root for node, root in roots.items() if entry.path in root.tops}
        inside = {node: _below(root.rows, entry.path) for node, root in there.items()}
        told = [node for node, rows in inside.items() if rows or not there[node].tops[entry.path].is_directory]
        files = differences(inside) if len(entry.groups) > 1 and len(told) == len(there) else ()
        found.append(Drift(name, entry, tuple(each for each in files if not _follows(each, inside))))
    return tuple(found)


def differences(trees: Mapping[str, Mapping[str, Entry]]) -> tuple[Difference, ...]:
    """Each path that is not on all nodes, or not the same on all, in order. Nodes keep the order of `trees`."""
    found = []
    for path in sorted({path for tree in trees.values() for path in tree}):
        groups: dict[tuple[int, str], list[str]] = {}
        for node, tree in trees.items():
            if path in tree:
                groups.setdefault(tree[path].same, []).append(node)
        lacking = tuple(node for node, tree in trees.items() if path not in tree)
        if lacking or len(groups) > 1:
            sides = tuple(tuple(nodes) for nodes in groups.values())
            found.append(Difference(path, sides, lacking, _newest(path, trees, sides)))
    return tuple(found)


def _newest(path: str, trees: Mapping[str, Mapping[str, Entry]], sides: tuple[tuple[str, ...], ...]) -> Optional[str]:
    """The first node of the side whose youngest is younger than all of the others; None where two are equally young."""
    if len(sides) < 2:
        return None
    ages = [(max(trees[node][path].modified_ns for node in side), side[0]) for side in sides]
    ages.sort(reverse=True)
    return ages[0][1] if ages[0][0] > ages[1][0] else None


def _below(rows: Mapping[str, Entry], top: str) -> dict[str, Entry]:
    return {path[len(top) + 1 :]: entry for path, entry in rows.items() if path.startswith(top + "/")}


def _follows(difference: Difference, trees: Mapping[str, Mapping[str, Entry]]) -> bool:
    """Whether it is a directory, with the same mode everywhere, which differs only by what is in it."""
    entries = [tree.get(difference.path) for tree in trees.values()]
    return all(entry is not None and entry.is_directory for entry in entries) and (
        len({entry.mode for entry in entries if entry is not None}) == 1
    )


def shown(path: str) -> str:
    """A path as a message may show it: one line, printable, valid text."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in path)
