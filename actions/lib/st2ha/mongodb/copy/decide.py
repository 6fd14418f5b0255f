"""From what is known of two databases to the plan of a copy, or a refusal. Pure."""

from __future__ import annotations

import re
from typing import Any

from st2ha.errors import BadInput
from st2ha.mongodb.copy.facts import LEDGER, Part, World, small_words
from st2ha.naming import count
from st2ha.plan import Decision, Plan, Refused, Step

SYSTEM = ("admin", "config", "local")
MOST_NAME = 63
ROOM = 1.2
"""Free disk wanted, as a multiple of what the source takes: `$out` writes once, index builds sort beside it."""
SHORT_OPLOG_S = 3600.0
HANDED_OVER = "handed over"
VERIFY = ("auto", "dbhash", "snapshot")


def checked_name(value: Any, parameter: str) -> str:
    """The name of a database, or BadInput."""
    if not isinstance(value, str) or not value.strip():
        raise BadInput(f"parameter `{parameter}` is {value!r}: name the database, for example st2_v2_5")
    name = value.strip()
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or len(name) > MOST_NAME:
        raise BadInput(f"parameter `{parameter}` is {name!r}: use at most {MOST_NAME} letters, digits, _ and -")
    if name in (*SYSTEM, LEDGER):
        raise BadInput(f"parameter `{parameter}` is {name!r}, which is no StackStorm's: name another database")
    return name


def checked_names(source: Any, target: Any) -> tuple[str, str]:
    """Both names; two that differ only by case are one for the server."""
    pair = checked_name(source, "source"), checked_name(target, "target")
    if pair[0].lower() == pair[1].lower():
        raise BadInput(f"parameter `target` is {pair[1]!r}, as is `source`: give the copy a name of its own")
    return pair


def copy(world: World, verify: str = "auto") -> Decision:
    """Copy what is not copied yet, catch up with what was written meanwhile, prove that both are equal.

    The documents first, because the server remembers the copy's time for minutes only; of them the small collections.
    """
    goal = f"copy of {world.source} to {world.target}"
    hard = reasons_against(world)
    if hard:
        return Refused(goal, tuple(hard))
    record = world.record
    steps = [] if record else [Step("begin", world.target, "fix the cluster time that all is read at")]
    done = record.parts if record else {}
    left = [part for name, part in world.source_parts.items() if part.kind == "collection" and name not in done]
    small = tuple(sorted((part for part in left if part.small), key=lambda part: part.name))
    if small:
        steps.append(Step("copy_small", small_words(len(small)), _size(small), {"parts": small}))
    large = sorted((part for part in left if not part.small), key=lambda part: -part.data_bytes)
    steps += [Step("copy_collection", part.name, _size((part,)), {"part": part}) for part in large]
    unindexed = [*large, *(part for name, part in world.source_parts.items() if name in done and _lacks(world, part))]
    steps += [
        Step("build_indexes", part.name, count(len(part.indexes), "index").replace("indexs", "indexes"))
        for part in unindexed
        if part.indexes
    ]
    steps += [
        Step("make_view", name, "a view stays a view")
        for name, part in sorted(world.source_parts.items())
        if part.kind == "view" and name not in world.target_parts
    ]
    steps.append(Step("catch_up", world.target, f"apply what was written to {world.source} since"))
    steps.append(Step("verify", world.target, "prove that both are equal", {"how": verify}))
    return Plan(goal, tuple(steps))


def _size(parts: tuple[Part, ...]) -> str:
    documents, size = sum(part.documents for part in parts), sum(part.data_bytes for part in parts)
    return f"{count(documents, 'document')}, {size / 1e6:.1f} MB"


def _lacks(world: World, part: Part) -> bool:
    there = world.target_parts.get(part.name)
    return there is None or set(there.indexes) != set(part.indexes)


def reasons_against(world: World) -> list[str]:
    """Why this copy must not be made, or not go on."""
    source, target, record = world.source, world.target, world.record
    hard = []
    if world.missing_rights:
        hard.append(f"the user of mongodb.username lacks {'; '.join(world.missing_rights)}: grant the roles")
    elif not world.source_parts:
        hard.append(f"there is no database {source}, or it is empty: correct `source`")
    odd = [name for name, part in world.source_parts.items() if part.kind not in ("collection", "view")]
    if odd:
        hard.append(
            f"{', '.join(odd)} of {source} is a {world.source_parts[odd[0]].kind} collection, which cannot be copied so"
        )
    if record is None:
        full = [name for name, part in world.target_parts.items() if not part.empty]
        if full:
            hard.append(
                f"{target} exists and holds data ({', '.join(sorted(full)[:3])}), and we did not make it: name another"
            )
    elif record.state == HANDED_OVER:
        hard.append(f"{target} was handed over to the new side: a copy now would overwrite what it wrote")
    return hard + _too_little_room(world)


def _too_little_room(world: World) -> list[str]:
    done = set(world.record.parts) if world.record else set()
    needed = ROOM * sum(part.disk_bytes for name, part in world.source_parts.items() if name not in done)
    return [
        f"{host} has {free / 1e9:.1f} GB free, the copy needs {needed / 1e9:.1f} GB: make room there"
        for host, free in world.free_bytes.items()
        if free is not None and free < needed
    ]
