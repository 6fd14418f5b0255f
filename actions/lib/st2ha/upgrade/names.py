"""Versions, and the names that follow from them: `st2` and 2.5 make `st2_v2_5`. Pure."""

from __future__ import annotations

import re

from st2ha.errors import BadInput

VERSION = re.compile(r"v?(\d{1,4}(?:\.\d{1,4}){0,3})(?:[.-]?(?:dev|rc|a|b)\d*)?")
SUFFIX = re.compile(r"_v\d+(?:_\d+)*$")


def parse_version(text: str, where: str) -> tuple[int, ...]:
    """`2.5`, `3.8.1`, `3.9dev` as numbers; BadInput if it is none."""
    found = VERSION.fullmatch(text.strip())
    if found is None:
        raise BadInput(f"{where} is {text[:40]!r}, no version: write it like 3.8.1")
    return tuple(map(int, found[1].split(".")))


def is_downgrade(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether `new` is the older one; 2.5 and 2.5.0 are the same."""
    width = max(len(old), len(new))
    return new + (0,) * (width - len(new)) < old + (0,) * (width - len(old))


def named(base: str, version: tuple[int, ...]) -> str:
    """The name of the new side's vhost or database, from the old side's: a version in that is replaced."""
    return f"{SUFFIX.sub('', base)}_v{'_'.join(map(str, version))}"
