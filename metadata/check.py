"""All checks over one pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from metadata import actions, aliases, inspection, pack, policies, readme, rules, sensors, workflows
from metadata.load import Pack, load_pack
from metadata.problem import Problem

CHECKS: tuple[Callable[[Pack], Iterator[Problem]], ...] = (
    pack.problems,
    actions.problems,
    workflows.problems,
    sensors.problems,
    rules.problems,
    policies.problems,
    aliases.problems,
    readme.problems,
)


def check(root: Path, with_orquesta: bool = True) -> tuple[Pack, list[Problem]]:
    """The pack in a directory, and all its problems in the order of the files.

    ``with_orquesta`` also lets orquesta inspect the workflows, which takes a process of its own.
    """
    loaded = load_pack(root)
    found = set(problems_of(loaded))
    if with_orquesta:
        found.update(inspection.problems(loaded))
    return loaded, sorted(found)


def problems_of(loaded: Pack) -> list[Problem]:
    """All problems of a pack in memory, without orquesta's."""
    found = set(loaded.problems)
    for run in CHECKS:
        found.update(run(loaded))
    return sorted(found)
