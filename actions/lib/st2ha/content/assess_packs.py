"""Rules about what is in the roots: drift, packs, virtualenvs, secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from st2ha.content.drift import Drift, drifts, shown
from st2ha.content.facts import Root, Snapshot
from st2ha.content.settings import Content
from st2ha.naming import count
from st2ha.report import Finding, Severity

MOST_TOLD, NAMED = 5, 3
SYNC = "content_sync path={} source=NODE target=NODE, from the node that is right"


def drift(comparable: Mapping[str, Mapping[str, Root]]) -> Iterator[Finding]:
    """A finding for each entry that differs; one for the root where they are many."""
    for name, roots in comparable.items():
        found = drifts(name, roots)
        if len(found) > MOST_TOLD:
            yield _many(name, found, roots)
        else:
            yield from map(_one, found)


def _one(drift: Drift) -> Finding:
    entry, path = drift.entry, f"{drift.root}/{shown(drift.entry.path)}"
    parts = []
    if entry.lacking:
        parts.append(f"missing on {', '.join(entry.lacking)}")
    if drift.files:
        more = f" and {len(drift.files) - NAMED} more" if len(drift.files) > NAMED else ""
        named = ", ".join(each.words() for each in drift.files[:NAMED])
        parts.append(f"{count(len(drift.files), 'file')} not alike: {named}{more}")
    elif len(entry.groups) > 1:
        sides = " / ".join(", ".join(group) for group in entry.groups)
        parts.append(f"not alike on {sides}" + (f", newest on {entry.newest}" if entry.newest else ""))
    gone = drift.root == "packs" and entry.lacking
    severity = Severity.CRITICAL if gone else Severity.WARNING
    consequence = "executions fail there" if gone else "the same action does not do the same everywhere"
    return Finding("ContentDrift", severity, f"content/{path}", f"{'; '.join(parts)}: {consequence}", SYNC.format(path))


def _many(name: str, found: tuple[Drift, ...], roots: Mapping[str, Root]) -> Finding:
    odd = {node: sum(node in each.outliers for each in found) for node in roots}
    alone = ", ".join(f"{node} in {number}" for node, number in odd.items() if number)
    named = ", ".join(shown(each.entry.path) for each in found[:NAMED])
    message = f"{len(found)} entries not alike ({named} and {len(found) - NAMED} more); not as most: {alone}"
    gone = name == "packs" and any(each.entry.lacking for each in found)
    severity = Severity.CRITICAL if gone else Severity.WARNING
    return Finding("ContentDrift", severity, f"content/{name}", message, SYNC.format(name))


def packs(snapshot: Snapshot, settings: Content) -> Iterator[Finding]:
    """Packs whose version is not the same on all nodes and in StackStorm."""
    known = snapshot.registered.packs or {}
    for ref, versions in _versions(snapshot).items():
        sides = _by_value(versions)
        subject = f"content/packs/{shown(ref)}"
        if len(sides) > 1:
            text = "; ".join(f"{version or 'none'} on {', '.join(nodes)}" for version, nodes in sides.items())
            yield Finding("PackVersionsDiffer", Severity.WARNING, subject, text, SYNC.format(f"packs/{shown(ref)}"))
        elif ref in known and known[ref] not in sides:
            message = (
                f"StackStorm has registered {known[ref]}, the files are {next(iter(sides)) or 'without a version'}"
            )
            path = f"{settings.roots['packs']}/{shown(ref)}"
            yield Finding("PackVersionsDiffer", Severity.WARNING, subject, message, f"st2 pack register {path}")


def registered(snapshot: Snapshot, settings: Content) -> Iterator[Finding]:
    """Packs that are files only, or known only. What could not be read everywhere proves nothing missing."""
    if snapshot.registered.problem is not None:
        remedy = "correct the layer `stackstorm`, or start st2api"
        message = f"which packs are registered is not known: {snapshot.registered.problem}"
        yield Finding("PacksUnknown", Severity.UNKNOWN, "content/packs", message, remedy)
    known = snapshot.registered.packs
    if known is None or "packs" not in settings.roots:
        return
    found = _versions(snapshot)
    for ref, versions in found.items():
        if ref not in known:
            message = f"its files are on {', '.join(versions)}, StackStorm does not know it"
            remedy = f"st2 pack register {settings.roots['packs']}/{shown(ref)}; or remove the files"
            yield Finding("NotRegistered", Severity.WARNING, f"content/packs/{shown(ref)}", message, remedy)
    if len(snapshot.roots("packs")) == len(snapshot.nodes):
        for ref in sorted(set(known) - set(found)):
            message = "StackStorm knows it, its files are on no node: its actions fail"
            remedy = f"st2 pack install {shown(ref)}; or st2 pack remove {shown(ref)}"
            yield Finding("NotRegistered", Severity.WARNING, f"content/packs/{shown(ref)}", message, remedy)


def _versions(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    """Pack to node to version."""
    found: dict[str, dict[str, str]] = {}
    for name, node in snapshot.read.items():
        for pack in node.packs:
            if pack.ref:
                found.setdefault(pack.ref, {})[name] = pack.version
    return found


def virtualenvs(snapshot: Snapshot, settings: Content) -> Iterator[Finding]:
    """Virtualenvs that are not there, cannot run, were made for another Python, or are older than requirements.txt."""
    broken: dict[tuple[str, str], list[str]] = {}
    stale: dict[str, list[str]] = {}
    for node in snapshot.roots("virtualenvs"):
        read = snapshot.read[node]
        made = {each.name: each for each in read.virtualenvs}
        for each in made.values():
            reason = each.broken
            if not reason and each.made_for and each.runs and each.made_for != each.runs:
                reason = f"made for Python {each.made_for}, its python is {each.runs}"
            if reason:
                broken.setdefault((each.name, reason), []).append(node)
        for pack in read.packs:
            own = made.get(pack.ref)
            if not pack.required_ns or pack.ref in settings.system_packs:
                continue
            if own is None:
                broken.setdefault((pack.ref, "it has a requirements.txt and no virtualenv"), []).append(node)
            elif pack.required_ns > own.made_ns:
                stale.setdefault(pack.ref, []).append(node)
    for (name, reason), nodes in broken.items():
        message = f"on {', '.join(nodes)}: {shown(reason)}; its Python actions fail there"
        remedy = f"there: st2 pack install, or st2 run packs.setup_virtualenv packs={shown(name)}"
        yield Finding("VirtualenvBroken", Severity.CRITICAL, f"content/virtualenvs/{shown(name)}", message, remedy)
    for name, nodes in stale.items():
        message = f"on {', '.join(nodes)}: older than the pack's requirements.txt"
        remedy = f"st2 run packs.setup_virtualenv packs={shown(name)} update=true"
        yield Finding("VirtualenvStale", Severity.WARNING, f"content/virtualenvs/{shown(name)}", message, remedy)


def secrets(snapshot: Snapshot) -> Iterator[Finding]:
    """Configurations with secrets in the clear that every user of a node can read."""
    found: dict[str, tuple[set[str], list[str]]] = {}
    for name, node in snapshot.read.items():
        for file, key in node.secrets:
            keys, nodes = found.setdefault(file, (set(), []))
            keys.add(key)
            if name not in nodes:
                nodes.append(name)
    for file, (keys, nodes) in found.items():
        message = f"every user of {', '.join(nodes)} can read {', '.join(sorted(map(shown, keys)))} in it"
        remedy = f"there: chmod o-r {shown(file)}; or put the value into the datastore"
        yield Finding("WorldReadableSecrets", Severity.WARNING, f"content/configs/{shown(file)}", message, remedy)


def _by_value(nodes: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node, value in nodes.items():
        found.setdefault(value, []).append(node)
    return found
