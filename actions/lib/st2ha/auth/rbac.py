"""The roles that follow from groups: StackStorm's RBAC files (mappings/, assignments/, roles/), read and applied.

StackStorm compares a mapping's group with the backend's letter by letter, and gives a role only if it is defined.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

BUILT_IN = ("system_admin", "admin", "observer")


@dataclass(frozen=True)
class Grant:
    """One file that gives roles: to the members of a group, or to a user."""

    file: str
    to: str
    roles: tuple[str, ...]
    enabled: bool = True


@dataclass(frozen=True)
class Files:
    """All of a directory. `broken`: files that StackStorm would refuse, and why; it loads none while there is one."""

    mappings: tuple[Grant, ...] = ()
    assignments: tuple[Grant, ...] = ()
    defined: Optional[frozenset[str]] = None  # None: there is no roles/ to look into
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """`given`: role and why; `missed`: mappings that mean one of the groups and spell it otherwise."""

    given: tuple[tuple[str, str], ...] = ()
    missed: tuple[Grant, ...] = ()
    undefined: tuple[tuple[str, str], ...] = ()


def read_files(directory: str) -> Files:
    """What is there, now. A file that cannot be read is told, not raised."""
    broken: list[str] = []
    mappings = tuple(_grants(directory, "mappings", "group", broken))
    assignments = tuple(_grants(directory, "assignments", "username", broken))
    defined = None
    if os.path.isdir(os.path.join(directory, "roles")):
        documents = list(_documents(directory, "roles", broken))
        defined = frozenset(str(each.get("name")) for _, each in documents if each.get("enabled", True))
    return Files(mappings, assignments, defined, tuple(broken))


def roles_of(username: str, groups: Iterable[str], files: Files, synced: bool) -> Roles:
    """Pure. `groups` as the backend tells them; without `synced` (role sync in st2.conf) these give nothing."""
    names = set(groups)
    alike = {name.casefold().replace(", ", ",") for name in names}
    grants = [grant for grant in files.assignments if grant.enabled and grant.to == username]
    missed = []
    for grant in files.mappings:
        if grant.enabled and synced and grant.to in names:
            grants.append(grant)
        elif grant.enabled and grant.to not in names and grant.to.casefold().replace(", ", ",") in alike:
            missed.append(grant)
    known = None if files.defined is None else {*files.defined, *BUILT_IN}
    pairs = [(role, grant.file) for grant in grants for role in grant.roles]
    return Roles(
        tuple(pair for pair in pairs if known is None or pair[0] in known),
        tuple(missed),
        tuple(pair for pair in pairs if known is not None and pair[0] not in known),
    )


def _grants(directory: str, kind: str, key: str, broken: list[str]) -> Iterable[Grant]:
    for file, document in _documents(directory, kind, broken):
        to, roles = document.get(key), document.get("roles")
        if not isinstance(to, str) or not isinstance(roles, list):
            broken.append(f"{file}: has no `{key}` or no list `roles`")
        else:
            yield Grant(file, to, tuple(map(str, roles)), bool(document.get("enabled", True)))


def _documents(directory: str, kind: str, broken: list[str]) -> Iterable[tuple[str, dict[str, Any]]]:
    import yaml

    for path in sorted(glob.glob(os.path.join(glob.escape(directory), kind, "*.yaml"))):  # noqa: PTH207 - of text
        file = f"{kind}/{os.path.basename(path)}"
        try:
            with open(path, encoding="utf-8") as stream:
                document = yaml.safe_load(stream)
        except (OSError, ValueError, yaml.YAMLError) as error:
            broken.append(f"{file}: cannot be read ({type(error).__name__})")
            continue
        if isinstance(document, dict):
            yield file, document
        else:
            broken.append(f"{file}: is no mapping")
