"""The edge as a whole: what ha.check asks, and what an upgrade calls."""

from __future__ import annotations

import importlib
import time
from typing import Any, Optional

from st2ha.config import Deployment
from st2ha.edge import paths
from st2ha.edge.paths import node_questions, of_group
from st2ha.edge.settings import Edge
from st2ha.edge.web import ask
from st2ha.probe import ask_all
from st2ha.report import Report


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """All parts of the edge that are configured, as one report."""
    began = time.monotonic()
    edge: Edge = deployment.require("edge", timeout_s)
    reports: list[Report] = []
    if edge.nginx is not None:
        from st2ha.edge.nginx import operations as nginx

        reports.append(nginx.check(deployment, timeout_s))
    if edge.haproxy is not None:
        from st2ha.edge.haproxy import operations as haproxy

        reports.append(haproxy.check(deployment, timeout_s))
    if edge.vrrp.enabled and edge.vip is not None and any(each.prefix is not None for each in edge.balancers):
        from st2ha.edge.vrrp import operations as vrrp

        reports.append(vrrp.check(deployment, timeout_s))
    # All parts look inside the balancers: one that is not let in is told once.
    findings = tuple({each.key: each for report in reversed(reports) for each in report.findings}.values())
    facts: dict[str, Any] = {}
    for report in reports:
        facts.update(report.facts)
    healthy = "; ".join(report.healthy for report in reports) or "nothing of it is configured"
    return Report("edge", healthy, findings, facts, time.monotonic() - began)


def look(deployment: Deployment, group: str) -> Any:
    """What a switch to `group` is decided upon, for whom the switch itself must be quick; good for some seconds."""
    return _balancing(deployment).look(deployment, group)


def switch(deployment: Deployment, group: str, **how: Any) -> dict[str, Any]:
    """Send clients to `group`, by nginx where it is configured, else by haproxy: `how` and result are its switch's."""
    return _balancing(deployment).switch(deployment, group, **how)  # type: ignore[no-any-return]


def astray(deployment: Deployment, group: str) -> Optional[str]:
    """What sends clients anywhere else than to `group`; None if every balancer serves it."""
    edge: Edge = deployment.require("edge")
    if edge.nginx is None:
        return "where haproxy sends them, its switch alone can tell"
    from st2ha.edge.nginx import operations as nginx

    return nginx.astray(deployment, group)


def unfit(deployment: Deployment, group: str) -> list[str]:
    """Services of the group's nodes that do not answer as they must, asked directly; empty if all do."""
    edge: Edge = deployment.require("edge")
    questions = node_questions(of_group(edge, group))
    replies = ask_all(questions, ask, edge.timeout_s)
    return paths.unfit(edge, group, {(each.about[1], each.about[2]): replies[each] for each in questions})


def undo(
    deployment: Deployment, force: bool = False, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Send clients back to where they went before the last switch."""
    return _balancing(deployment).undo(deployment, force, dry_run, deadline_s)  # type: ignore[no-any-return]


def _balancing(deployment: Deployment) -> Any:
    edge: Edge = deployment.require("edge")
    name = "haproxy" if edge.nginx is None and edge.haproxy is not None else "nginx"
    return importlib.import_module(f"st2ha.edge.{name}.operations")
