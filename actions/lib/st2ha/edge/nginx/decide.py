"""From a Snapshot and a goal to a Plan or a Refusal. Pure.

Invariants of a switch: the balancer without the VIP comes first, and the other only after the first one's proof; a file
that nginx refuses is put back at once; nothing is written to a balancer that was not read; no foreign change is loaded
along unless forced. A repeated switch does what is left of an interrupted one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from st2ha.edge.nginx import lines
from st2ha.edge.nginx.facts import Disk, Snapshot
from st2ha.edge.nginx.render import render, stamp
from st2ha.edge.paths import unfit
from st2ha.edge.settings import Edge, Nginx
from st2ha.errors import BadInput
from st2ha.plan import Decision, Plan, Refused, Step

STALE_S = 2.0
"""Files are dated by the wall clock, processes by ticks since the start of the machine."""


@dataclass(frozen=True)
class Target:
    """What a balancer's files are to be, by path; `generation` of the pack's file, None if it is not one of ours."""

    files: Mapping[str, bytes]
    generation: Optional[str]
    group: str


def switch(
    snapshot: Snapshot, edge: Edge, nginx: Nginx, group: str, force: bool = False
) -> tuple[Decision, dict[str, Target]]:
    """Point every balancer to `group`; the targets by balancer are what the steps write."""
    goal = f"switch to {group}"
    hard = [*_limitations(snapshot, edge, nginx), *_taken(snapshot, nginx)]
    soft = _unfit(snapshot, edge, group)
    targets: dict[str, Target] = {}
    for name, disk in _read(snapshot).items():
        try:
            targets[name] = target_for(disk, edge, nginx, group)
        except BadInput as error:
            hard.append(f"{name}: {error}")
    return _decided(snapshot, edge, goal, targets, hard, [*soft, *_silent(snapshot)], force), targets


def undo(snapshot: Snapshot, edge: Edge, nginx: Nginx, force: bool = False) -> tuple[Decision, dict[str, Target]]:
    """Give every balancer the files back that it had before the last switch."""
    goal, hard, soft = "undo of the last switch", _limitations(snapshot, edge, nginx), _silent(snapshot)
    targets: dict[str, Target] = {}
    for name, disk in _read(snapshot).items():
        former = {path: owned.former for path, owned in disk.owned.items()}
        kept = {path: content for path, content in former.items() if content is not None}
        if len(kept) < len(former):
            hard.append(f"{name} has no former file: nothing was switched there by this pack")
            continue
        mark = stamp(kept[nginx.upstreams_file])
        targets[name] = Target(kept, mark.generation if mark else None, mark.group if mark else "as it was")
    if len({target.files[nginx.upstreams_file] for target in targets.values()}) > 1:
        soft.append("the former files of the balancers are not the same: nginx_switch to a group makes them so")
    return _decided(snapshot, edge, goal, targets, hard, soft, force), targets


def back(before: Snapshot, now: Snapshot, edge: Edge, nginx: Nginx) -> tuple[Optional[Plan], dict[str, Target]]:
    """The way back of a switch that was not finished: files as they were read, on each balancer where they are not."""
    targets: dict[str, Target] = {}
    steps: list[Step] = []
    for name, disk in _read(before).items():
        files = {path: owned.content for path, owned in disk.owned.items() if owned.content is not None}
        mark = stamp(files.get(nginx.upstreams_file))
        targets[name] = Target(files, mark.generation if mark else None, mark.group if mark else "as it was")
        current = now.disk(name)
        if current is None:
            continue
        as_read = all(current.owned[path].content == content for path, content in files.items())
        if not as_read or now.marker(name) != before.marker(name):
            steps += _steps(name, current, targets[name])
    return (Plan("former files back", tuple(steps)) if steps else None), targets


def target_for(disk: Disk, edge: Edge, nginx: Nginx, group: str) -> Target:
    """The files of a balancer that send clients to `group`. BadInput where the site's file cannot be edited."""
    nodes, files = edge.groups[group], {}
    site, elsewhere = None, frozenset[str]()
    if nginx.site_file is not None:
        was = disk.owned[nginx.site_file].content or b""
        own = disk.owned[nginx.upstreams_file].content or b""
        known = {node for each in edge.groups.values() for node in each}
        mine = lines.servers(lines.read(own)) if stamp(own) else ()
        site = lines.edit(was, edge.upstreams, nodes, nginx.site_file, known, mine)
        elsewhere = frozenset(lines.servers(lines.read(site)))
        files[nginx.site_file] = site
    content = render(group, nodes, edge.upstreams, nginx.marker_port, site, elsewhere)
    mark = stamp(content)
    return Target({nginx.upstreams_file: content, **files}, mark.generation if mark else None, group)


def diff(snapshot: Snapshot, targets: Mapping[str, Target]) -> str:
    """What becomes of each file, as a unified diff."""
    found: list[str] = []
    for name, target in targets.items():
        disk = snapshot.disk(name)
        for path, content in target.files.items():
            now = disk.owned[path].content if disk else None
            found += difflib.unified_diff(
                _lines(now), _lines(content), f"{name}:{path}", f"{name}:{path} ({target.group})", lineterm="", n=1
            )
    return "\n".join(found)


def _decided(
    snapshot: Snapshot,
    edge: Edge,
    goal: str,
    targets: Mapping[str, Target],
    hard: Sequence[str],
    soft: Sequence[str],
    force: bool,
) -> Decision:
    order = sorted(targets, key=lambda name: name in snapshot.holders)
    todo = [name for name in order if not _holds(snapshot, name, targets[name])]
    if hard:
        return Refused(goal, tuple(hard), tuple(soft))
    if not todo:
        return Plan(f"{goal}: it is so already", ())
    if soft and not force:
        return Refused(goal, (), tuple(soft))
    holder = snapshot.holders[0] if edge.vip is not None and len(snapshot.holders) == 1 else None
    steps = [
        step
        for name in todo
        if (disk := snapshot.disk(name))
        for step in _steps(name, disk, targets[name], "prove_upstreams" if name == holder else "prove")
    ]
    if edge.vip is not None:
        steps.append(Step("prove", "vip", "clients come in here"))
    return Plan(goal, tuple(steps))


def _steps(name: str, disk: Disk, target: Target, proof: str = "prove") -> list[Step]:
    """Of one balancer: `write` tests and loads, too; a reload alone where files are right and nginx does not know."""
    expect = {path: disk.owned[path].digest for path in target.files}
    written = all(disk.owned[path].content == content for path, content in target.files.items())
    unfinished = any(owned.unfinished for owned in disk.owned.values())
    why = "it has the VIP: last" if disk.has_vip else "it has no VIP: first"
    verb = "reload" if written and not unfinished else "write"
    return [Step(verb, name, why, expect), Step(proof, name, f"{target.group} on fresh connections")]


def _holds(snapshot: Snapshot, name: str, target: Target) -> bool:
    """Whether the balancer has these files and, as far as a marker tells, runs them."""
    disk, marker = snapshot.disk(name), snapshot.marker(name)
    if disk is None or any(owned.unfinished for owned in disk.owned.values()):
        return False
    written = all(disk.owned[path].content == content for path, content in target.files.items())
    return written and (marker.generation if marker else None) == target.generation


def _limitations(snapshot: Snapshot, edge: Edge, nginx: Nginx) -> list[str]:
    """What no force overrides."""
    found = []
    if not _read(snapshot):
        found = [f"no balancer can be read: {why}" for why in _silent(snapshot)]
    for name, disk in _read(snapshot).items():
        if disk.refusal is not None:
            found.append(f"nginx of {name} refuses its files as they are ({disk.refusal}): mend them first")
            continue
        if disk.master is None:
            found.append(f"nginx of {name} does not run by {nginx.pid_file}: start it")
        for path in nginx.files:
            if not disk.includes(path):
                found.append(f"nginx of {name} does not read {path}: make it (empty) and include it in the block http")
            elif not disk.owned[path].writable:
                found.append(f"{path} of {name} cannot be written by this user: let edge.command lead to root (sudo)")
    return found


def _taken(snapshot: Snapshot, nginx: Nginx) -> list[str]:
    """`nginx -t` and the reload would say yes, and nothing would be loaded."""
    return [
        f"port {nginx.marker_port} of {name} is another program's: set edge.nginx.marker_port to a free one"
        for name, disk in _read(snapshot).items()
        if snapshot.fronts[name].occupied and stamp(disk.owned[nginx.upstreams_file].content) is None
    ]


def _unfit(snapshot: Snapshot, edge: Edge, group: str) -> list[str]:
    """Nodes of the group that do not answer as they must, and foreign changes that a reload would load."""
    found = unfit(edge, group, snapshot.nodes)
    for name, disk in _read(snapshot).items():
        if stale := unloaded(disk):
            found.append(f"{name} has changes on disk that do not run ({', '.join(stale)}): the reload would load them")
    return found


def unloaded(disk: Disk) -> list[str]:
    """Files that were changed after the youngest worker had started, without those that a switch writes itself."""
    youngest = min((worker.age_s for worker in disk.serving), default=None)
    if youngest is None:
        return []
    return [
        file.path for file in disk.files
        if file.path not in disk.owned and file.changed_s is not None and file.changed_s < youngest - STALE_S
    ]  # fmt: skip


def _silent(snapshot: Snapshot) -> list[str]:
    return [
        f"{name} cannot be read ({seen.why}): what it does, and would do with the VIP, stays as it is"
        for name, seen in snapshot.disks.items()
        if not isinstance(seen, Disk)
    ]


def _read(snapshot: Snapshot) -> dict[str, Disk]:
    return {name: disk for name in snapshot.disks if (disk := snapshot.disk(name)) is not None}


def _lines(content: Optional[bytes]) -> list[str]:
    return (content or b"").decode("utf-8", "replace").splitlines()
