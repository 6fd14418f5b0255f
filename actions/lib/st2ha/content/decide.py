"""Pure: a snapshot and a goal -> the plan of a copy from one node to others, or why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from st2ha.content.drift import shown
from st2ha.content.facts import Entry, Root, Snapshot, Unread
from st2ha.content.settings import Content
from st2ha.errors import BadInput
from st2ha.naming import count
from st2ha.plan import Decision, Plan, Refused, Step

NAMED = 3


@dataclass(frozen=True)
class Part:
    """What is copied: a root, or one entry of it."""

    root: str
    entry: Optional[str] = None

    def __str__(self) -> str:
        return f"{self.root}/{shown(self.entry)}" if self.entry else self.root

    def entries(self, root: Root) -> dict[str, Entry]:
        """All that is in it, the entries of the root first."""
        if self.entry is None:
            return {**root.tops, **root.rows}
        found = {self.entry: root.tops[self.entry]} if self.entry in root.tops else {}
        return {**found, **{path: row for path, row in root.rows.items() if path.startswith(f"{self.entry}/")}}

    def state(self, root: Root) -> dict[str, tuple[int, str]]:
        """What must still be so when it is written to."""
        return {path: top.same for path, top in root.tops.items() if self.entry in (None, path)}


@dataclass(frozen=True)
class Work:
    """What is to be done on one target, as paths below the root."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    newer: tuple[str, ...]
    extra: tuple[str, ...]
    clashing: tuple[str, ...]

    @property
    def copied(self) -> tuple[str, ...]:
        return self.new + self.changed


def part_of(settings: Content, path: object) -> Part:
    """`packs/jira`, `configs`, or an absolute path of such. BadInput for what lies outside of the content's roots."""
    roots = ", ".join(settings.roots)
    example = f"name one of {roots}, or an entry of it such as packs/jira"
    if not isinstance(path, str) or not path.strip():
        raise BadInput(f"parameter `path` is {path!r}: {example}")
    text = path.rstrip("/")
    for name, place in settings.roots.items():
        for start in (name, place):
            if text == start:
                return Part(name)
            entry = text[len(start) + 1 :]
            if text.startswith(f"{start}/") and "/" not in entry and entry not in (".", "..", *settings.skip):
                return Part(name, entry)
    where = "outside of the content roots, or deeper than an entry"
    raise BadInput(f"parameter `path` is {path[:60]!a}, {where}: {example}")


def work(part: Part, source: Root, target: Root) -> Work:
    """The difference of two nodes; directories are there only if they are new or of another mode."""
    here, there = part.entries(source), part.entries(target)
    changed = [path for path, entry in here.items() if path in there and _differs(entry, there[path])]
    clashing = [path for path in changed if here[path].is_directory != there[path].is_directory]
    return Work(
        new=tuple(path for path in here if path not in there),
        changed=tuple(path for path in changed if path not in clashing),
        newer=tuple(
            path for path in changed
            if not here[path].is_directory and there[path].modified_ns > here[path].modified_ns
        ),
        extra=tuple(path for path in there if path not in here),
        clashing=tuple(clashing),
    )  # fmt: skip


def _differs(one: Entry, two: Entry) -> bool:
    """Directories by themselves: what is in them is told apart."""
    return one.mode != two.mode if one.is_directory and two.is_directory else one.same != two.same


def sync(
    snapshot: Snapshot, settings: Content, part: Part, source: str, targets: Iterable[str], delete: bool, force: bool
) -> Decision:
    """Copy what differs to each target; with `delete` also remove there what the source has not."""
    goal = f"{part} as on {source}"
    reasons = list(_blind(snapshot, part, source))
    forceable: list[str] = []
    steps: list[Step] = []
    for target in targets:
        why = [f"{target} is the source itself"] if target == source else [*_closed(snapshot, settings, part, target)]
        if not why and not reasons:
            todo = work(part, snapshot.roots(part.root)[source], snapshot.roots(part.root)[target])
            why, may = _risks(todo, source, target)
            forceable += may
            steps += _steps(part, todo, snapshot.roots(part.root)[target], target, source, delete)
        reasons += why
    if reasons or (forceable and not force):
        return Refused(goal, tuple(reasons), () if force else tuple(forceable))
    return Plan(goal, tuple(steps))


def _blind(snapshot: Snapshot, part: Part, source: str) -> Iterable[str]:
    """Why nothing can be copied from the source."""
    looked = snapshot.nodes[source]
    if isinstance(looked, Unread):
        yield f"{source} was not looked into: {looked.reason}"
        return
    root = looked.roots[part.root]
    if root.state != "read":
        yield f"{part.root} of {source} is {root.state} {shown(root.reason)}".strip()
    elif root.unreadable:
        yield f"{count(root.unreadable, 'entry')} of {part.root} on {source} cannot be read"
    elif part.entry is not None and part.entry not in root.tops:
        yield f"{source} has no {part}: nothing is ever removed for that"
    elif not root.tops:
        yield f"{part.root} of {source} is empty"


def _closed(snapshot: Snapshot, settings: Content, part: Part, target: str) -> Iterable[str]:
    """Why nothing may be written to a target."""
    looked = snapshot.nodes[target]
    if isinstance(looked, Unread):
        yield f"{target} was not looked into: {looked.reason}"
        return
    root = looked.roots[part.root]
    if root.state != "read":
        yield f"{part.root} of {target} is {root.state} {shown(root.reason)}".strip()
        return
    if root.unreadable:
        yield f"{count(root.unreadable, 'entry')} of {part.root} on {target} cannot be read"
    mount = root.mount
    if mount is not None and mount.server is not None:
        yield f"{settings.roots[part.root]} of {target} is shared by {mount.server}: there is nothing to copy to it"
    elif mount is not None and mount.point in settings.mounts:
        yield f"{mount.point} of {target} is a shared mount by the configuration: there is nothing to copy to it"
    if mount is not None and mount.read_only:
        yield f"{mount.point} of {target} is read-only"


def _risks(todo: Work, source: str, target: str) -> tuple[list[str], list[str]]:
    """Reasons, and those that `force` overrides."""
    reasons, forceable = [], []
    if todo.clashing:
        reasons.append(f"a directory on one side only: {_named(todo.clashing)}; remove it on {target} by hand")
    if todo.newer:
        forceable.append(f"{count(len(todo.newer), 'file')} newer on {target} than on {source}: {_named(todo.newer)}")
    return reasons, forceable


def _steps(part: Part, todo: Work, root: Root, target: str, source: str, delete: bool) -> list[Step]:
    expect = part.state(root)
    steps = []
    if todo.copied:
        because = f"{len(todo.new)} new and {len(todo.changed)} changed: {_named(todo.copied)}"
        if todo.extra and not delete:
            because += f"; {len(todo.extra)} more are only there and stay"
        steps.append(Step("copy", target, because, {"paths": todo.copied, "state": expect}))
    if delete and todo.extra:
        because = f"{source} does not have {count(len(todo.extra), 'entry')}: {_named(todo.extra)}"
        # After a copy the entries are no longer as they were read: then it is the paths alone that must still stand.
        steps.append(Step("delete", target, because, {"paths": todo.extra, "state": None if todo.copied else expect}))
    if steps:
        steps.append(Step("prove", target, f"{part} must be as on {source}"))
    return steps


def _named(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(map(shown, paths[:NAMED])) + more


RELOADS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("packs", ("/sensors/",), "restart st2sensorcontainer: it runs the old code"),
    ("packs", (".yaml", ".yml"), "st2ctl reload --register-all: StackStorm knows the old metadata"),
    ("configs", ("",), "st2ctl reload --register-configs: StackStorm knows the old configurations"),
    ("virtualenvs", ("",), "restart st2sensorcontainer: its sensors run in the old virtualenv"),
)
"""Root, what a path that was copied holds or ends with, and what must follow; actions are read anew at each run."""


def reloads(part: Part, paths: Iterable[str]) -> list[str]:
    """What must be reloaded on the targets once these paths have changed."""
    found = list(paths)
    return [
        sentence
        for root, parts, sentence in RELOADS
        if root == part.root and any(each in f"/{path}" for path in found for each in parts)
    ]


def targets_of(settings: Content, value: object) -> tuple[str, ...]:
    """Names, separated by commas or as a list. BadInput for none, and for one that is no node."""
    items = value.split(",") if isinstance(value, str) else value
    names = [str(item).strip() for item in items] if isinstance(items, (list, tuple)) else []
    if not names or not all(names):
        example = settings.nodes[-1].name
        raise BadInput(f"parameter `target` is {value!r}: name the nodes to copy to, for example {example}")
    return tuple(dict.fromkeys(node_of(settings, name, "target") for name in names))


def node_of(settings: Content, value: object, parameter: str) -> str:
    """A configured node. BadInput if it is none."""
    names = {node.name.lower(): node.name for node in settings.nodes}
    found = names.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise BadInput(
            f"parameter `{parameter}` is {str(value)[:60]!r}, no node of the layer `content`: use one of "
            f"{', '.join(names.values())}"
        )
    return found
