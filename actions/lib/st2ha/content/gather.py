"""Read the content of all nodes at once; a second time, whole, only what is not the same everywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Optional, Union

from st2ha.config import Deployment
from st2ha.content.facts import Looked, Node, Registered, Snapshot, Unread, parse
from st2ha.content.far import program
from st2ha.content.settings import Content, ContentNode
from st2ha.errors import HaError, HostError
from st2ha.probe import Attempt, Silent, ask_all

if TYPE_CHECKING:
    from st2ha.platform.settings import Stackstorm

OUTPUT_LIMIT = 64 * 1024 * 1024
MOST_LISTED = 20
"""Entries of a root that are compared file by file; a node with more differences is another tree."""
SPARE = 0.95
Told = Mapping[str, list[str]]


def gather(settings: Content, deployment: Optional[Deployment] = None, listed: Optional[Told] = None) -> Snapshot:
    """All nodes and, with a `deployment` that has a layer `stackstorm`, what its API knows of packs.

    `listed`: root to entries that are told file by file whether they differ or not.
    """
    every = {node.name: tuple(settings.roots) for node in settings.nodes}
    if deployment is None or deployment.stackstorm is None:
        nodes, registered = _look(settings, every, listed or {}), Registered()
    else:
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(_registered, deployment.stackstorm)
            nodes, registered = _look(settings, every, listed or {}), asking.result()
    snapshot = Snapshot(nodes, time.time(), registered)
    different = differing(snapshot)
    if different and not listed:
        alive = {name: tuple(root for root in different if name in snapshot.roots(root)) for name in snapshot.read}
        again = _look(settings, {name: roots for name, roots in alive.items() if roots}, different)
        snapshot = replace(snapshot, nodes={name: _newer(nodes[name], again.get(name)) for name in nodes})
    return snapshot


def differing(snapshot: Snapshot) -> dict[str, list[str]]:
    """Root to the entries that are on several nodes, and not the same there."""
    found: dict[str, list[str]] = {}
    for name in sorted({name for node in snapshot.read.values() for name in node.roots}):
        roots = snapshot.roots(name)
        if len({root.digest for root in roots.values()}) < 2:
            continue
        entries: dict[str, set[tuple[int, str]]] = {}
        for root in roots.values():
            for path, entry in root.tops.items():
                entries.setdefault(path, set()).add(entry.same)
        paths = [path for path, kinds in entries.items() if len(kinds) > 1]
        if paths:
            found[name] = sorted(paths)[:MOST_LISTED]
    return found


def _look(settings: Content, roots: Mapping[str, tuple[str, ...]], told: Told) -> dict[str, Looked]:
    """Some nodes; `roots` of each, so that one which hangs is not touched twice."""

    def ask(node: ContentNode, attempt: Attempt) -> Union[Node, Unread]:
        return look(settings, node, roots[node.name], told, attempt.left_s() * SPARE)

    answers = ask_all([settings.node(name) for name in roots], ask, settings.timeout_s)
    return {
        node.name: Unread(answer.reason) if isinstance(answer, Silent) else answer for node, answer in answers.items()
    }


def look(settings: Content, node: ContentNode, roots: tuple[str, ...], told: Told, deadline_s: float) -> Looked:
    """One node; whatever is in the way is a fact."""
    request = {
        "node": node.name,
        "roots": [(name, settings.roots[name]) for name in roots],
        "told": dict(told),
        "skip": list(settings.skip),
        "cache": settings.cache,
        "silence_s": min(settings.mount_timeout_s, deadline_s * SPARE),
    }
    words = [settings.python, "-I", "-S", "-"]
    try:
        return parse(node.door().run(words, deadline_s, program(request), OUTPUT_LIMIT))
    except HostError as error:
        return Unread(str(error))


def _newer(before: Looked, again: Optional[Looked]) -> Looked:
    """The first look with what the second one saw again."""
    if not isinstance(before, Node) or not isinstance(again, Node):
        return before
    packs = again.packs if "packs" in again.roots else before.packs
    return replace(before, roots={**before.roots, **again.roots}, packs=packs)


def _registered(settings: Stackstorm) -> Registered:
    from st2ha.platform.api import Api

    try:
        with Api(settings) as api:
            return Registered({str(row.get("ref")): str(row.get("version")) for row in api.packs()})
    except HaError as error:
        return Registered(problem=str(error))
