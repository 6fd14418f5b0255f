"""The pack's content actions. Entry files call these."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.content.assess import assess, healthy_words
from st2ha.content.decide import node_of, part_of, reloads, targets_of
from st2ha.content.decide import sync as decide
from st2ha.content.drift import drifts
from st2ha.content.facts import Snapshot
from st2ha.content.gather import gather
from st2ha.content.settings import Content
from st2ha.plan import Decision, Plan
from st2ha.report import Report

MOST_ROWS = 50


def settings_of(deployment: Deployment, timeout_s: Optional[float] = None) -> Content:
    """The deployment's layer, with the timeout of this run if one is given."""
    settings: Content = deployment.require("content", timeout_s)
    return settings


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Compare the content of all nodes, and what StackStorm knows of it."""
    began = time.monotonic()
    settings = settings_of(deployment, timeout_s)
    snapshot = gather(settings, deployment)
    findings = assess(snapshot, settings)
    return Report("Content", healthy_words(snapshot), findings, _facts(snapshot, settings), time.monotonic() - began)


def _facts(snapshot: Snapshot, settings: Content) -> dict[str, Any]:
    different = [each.row() for name in settings.roots for each in drifts(name, snapshot.roots(name))]
    return {
        "roots": snapshot.rows(),
        "drift": different[:MOST_ROWS],
        "read_mb": round(sum(r.read_bytes for n in snapshot.read.values() for r in n.roots.values()) / 1e6, 1),
        "without_cache": [name for name, node in snapshot.read.items() if not node.cached],
    }


def sync(
    deployment: Deployment,
    source: str,
    target: Any,
    path: str,
    delete: bool = False,
    force: bool = False,
    dry_run: bool = False,
    deadline_s: float = 600.0,
) -> dict[str, Any]:
    """Copy a root, or an entry of one, from one node to others; see decide.sync for the gates."""
    from st2ha.content.act import Acting

    settings = settings_of(deployment)
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    part, origin = part_of(settings, path), node_of(settings, source, "source")
    targets = targets_of(settings, target)
    concerned = tuple(node for node in settings.nodes if node.name in (origin, *targets))
    narrow = replace(settings, nodes=concerned, roots={part.root: settings.roots[part.root]})
    told = {part.root: [part.entry] if part.entry else ["*"]}
    acting = Acting(narrow, part, origin, bool(delete), deadline_s)
    paths: list[str] = []

    def decision(snapshot: Snapshot) -> Decision:
        decided = decide(snapshot, narrow, part, origin, targets, bool(delete), bool(force))
        if isinstance(decided, Plan):
            paths.extend(path for step in decided.steps for path in step.expect.get("paths", ()))
        return decided

    try:
        result = change(
            lambda: gather(narrow, listed=told),
            decision,
            lambda snapshot: acting.verbs(),
            lambda snapshot: assess(snapshot, narrow),
            bool(dry_run),
            deadline_s,
        )
    finally:
        acting.close()
    return {**result, "reload": reloads(part, paths)}
