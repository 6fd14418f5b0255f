"""The pack's content actions. Entry files call these."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.config import Deployment
from st2ha.content.assess import assess, healthy_words
from st2ha.content.drift import drifts
from st2ha.content.facts import Snapshot
from st2ha.content.gather import gather
from st2ha.content.settings import Content
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
