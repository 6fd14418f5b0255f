"""nginx_check, nginx_switch and nginx_switch_undo. Entry files and issue-wide plans call these."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.edge.nginx import decide
from st2ha.edge.nginx.act import Acting
from st2ha.edge.nginx.assess import assess, healthy_words
from st2ha.edge.nginx.decide import Target
from st2ha.edge.nginx.facts import Snapshot
from st2ha.edge.nginx.gather import gather
from st2ha.edge.nginx.render import stamp
from st2ha.edge.paths import known_group
from st2ha.edge.settings import Edge, Nginx
from st2ha.errors import BadInput
from st2ha.plan import Decision, Plan
from st2ha.report import Report


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> tuple[Edge, Nginx]:
    """The deployment's edge, and where its nginx is."""
    edge: Edge = deployment.require("edge", timeout_s)
    if edge.nginx is None:
        raise BadInput(f"deployment {deployment.name!r} has no `edge.nginx`: add it, with upstreams_file at least")
    return edge, edge.nginx


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Look at each balancer and the VIP."""
    began = time.monotonic()
    edge, nginx = settings_of(deployment, timeout_s)
    snapshot = gather(edge, nginx)
    facts = {"vip": edge.vip, "holders": list(snapshot.holders), "balancers": snapshot.rows()}
    findings = assess(snapshot, edge, nginx, snapshot.at)
    return Report("nginx", healthy_words(snapshot, edge), findings, facts, time.monotonic() - began)


def look(deployment: Deployment, group: str) -> Snapshot:
    """What a switch to `group` is decided upon."""
    edge, nginx = settings_of(deployment)
    return gather(edge, nginx, known_group(edge, group), paths=False)


def switch(
    deployment: Deployment,
    group: str,
    force: bool = False,
    dry_run: bool = False,
    deadline_s: float = 120.0,
    seen: Optional[Snapshot] = None,
) -> dict[str, Any]:
    """Point the upstreams of every balancer to `group`, with proof; what fails is put back as it was.

    `seen`: from `look`, a moment ago. Files that were changed since then are not overwritten.
    """
    edge, nginx = settings_of(deployment)
    name = known_group(edge, group)

    def decision(world: Snapshot) -> tuple[Decision, dict[str, Target]]:
        return decide.switch(world, edge, nginx, name, force)

    return _change(edge, nginx, decision, name, True, dry_run, deadline_s, seen)


def astray(deployment: Deployment, group: str) -> Optional[str]:
    """What sends clients anywhere else than to `group`, or might after a restart; None if every balancer serves it.

    Also where it is the site's own file that does, which no marker tells of: then none may run.
    """
    edge, nginx = settings_of(deployment)
    snapshot, nodes = gather(edge, nginx), set(edge.groups[known_group(edge, group)])
    for name in snapshot.disks:
        disk, marker = snapshot.disk(name), snapshot.marker(name)
        if disk is None:
            return f"{name} cannot be read"
        mark = stamp(disk.owned[nginx.upstreams_file].content)
        if (marker.generation if marker else None) != (mark.generation if mark else None):
            return f"{name} does not run what is on its disk"
        for upstream in edge.upstreams:
            servers = {each.rpartition(":")[0] for each in snapshot.servers[name].get(upstream, ())}
            if not servers or not servers <= nodes:
                return f"{name} passes {upstream} to {', '.join(sorted(servers)) or 'nobody'}"
    return None


def undo(
    deployment: Deployment, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Give back, byte for byte, the files from before the last switch."""
    edge, nginx = settings_of(deployment)
    return _change(edge, nginx, lambda world: decide.undo(world, edge, nginx, force), None, False, dry_run, deadline_s)


def _change(
    edge: Edge,
    nginx: Nginx,
    decision: Callable[[Snapshot], tuple[Decision, dict[str, Target]]],
    group: Optional[str],
    keep_former: bool,
    dry_run: bool,
    deadline_s: float,
    seen: Optional[Snapshot] = None,
) -> dict[str, Any]:
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    shown = {"diff": ""}
    targets: dict[str, Target] = {}

    def decided(snapshot: Snapshot) -> Decision:
        found, wanted = decision(snapshot)
        shown["diff"] = decide.diff(snapshot, wanted)
        targets.update(wanted)
        return found

    former, deciding = _Former(edge, nginx), iter([seen is None])

    def world() -> Snapshot:
        """The first one is decided upon, the others are for people, too."""
        first = next(deciding, False)
        return gather(edge, nginx, group if first else None, paths=not first)

    result = change(
        world,
        decided,
        lambda snapshot: former.verbs() or Acting(edge, nginx, targets, keep_former).verbs(),
        lambda snapshot: assess(snapshot, edge, nginx, snapshot.at),
        dry_run,
        deadline_s,
        undo=former.plan,
        seen=seen,
    )
    return {**result, **shown}


class _Former:
    """The way back of a change that was not finished."""

    def __init__(self, edge: Edge, nginx: Nginx) -> None:
        self._edge, self._nginx = edge, nginx
        self._targets: dict[str, Target] = {}

    def plan(self, before: Snapshot, now: Snapshot) -> Optional[Plan]:
        found, self._targets = decide.back(before, now, self._edge, self._nginx)
        return found

    def verbs(self) -> Any:
        """Of the way back, once it was planned."""
        return Acting(self._edge, self._nginx, self._targets, keep_former=False).verbs() if self._targets else None
