"""Rules: snapshot -> findings. Nodes, mounts and roots here; what is in them in assess_packs.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from st2ha.content.assess_packs import drift, packs, registered, secrets, virtualenvs
from st2ha.content.drift import shown
from st2ha.content.facts import Root, Snapshot, Unread
from st2ha.content.settings import Content
from st2ha.naming import count
from st2ha.report import Finding, Severity

DENIED = ("Permission denied", "Operation not permitted")


def assess(snapshot: Snapshot, settings: Content) -> tuple[Finding, ...]:
    """All that is not as it should be. One cause makes one finding: a node whose mount is missing does not drift."""
    hidden = _hidden(snapshot, settings)
    apart = {**hidden, **_unmounted(snapshot, settings, hidden)}
    findings = [*unread(snapshot), *roots(snapshot, settings), *mounts(snapshot, settings)]
    findings += apart.values()
    comparable = {
        name: {node: root for node, root in snapshot.roots(name).items() if (node, name) not in apart}
        for name in settings.roots
    }
    findings += drift(comparable)
    findings += [*packs(snapshot, settings), *registered(snapshot, settings)]
    findings += [*virtualenvs(snapshot, settings), *secrets(snapshot)]
    return tuple(findings)


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    nodes = list(snapshot.read.values())
    files = sum(root.files for root in nodes[0].roots.values()) if nodes else 0
    return f"{count(len(nodes), 'node')}, {files} files" + (" alike" if len(nodes) > 1 else "")


def unread(snapshot: Snapshot) -> Iterator[Finding]:
    for name, node in snapshot.nodes.items():
        if isinstance(node, Unread):
            remedy = f"try content.command by hand for {name}"
            yield Finding("NodeUnread", Severity.UNKNOWN, f"content/{name}", f"not looked into: {node.reason}", remedy)


def roots(snapshot: Snapshot, settings: Content) -> Iterator[Finding]:
    """Roots that could not be read, or not whole. A mount that hangs is told once, whatever lies in it."""
    told: set[tuple[str, str]] = set()
    for name, node in snapshot.read.items():
        for root in node.roots.values():
            point = root.mount.point if root.mount else settings.roots[root.name]
            if root.state == "hung" and (name, point) not in told:
                told.add((name, point))
                yield _hung(name, point, root, settings)
            elif root.state in ("absent", "error"):
                yield _closed(name, root, settings.roots[root.name])
            elif root.unreadable:
                path, reason = root.samples[0] if root.samples else ("", "")
                message = (
                    f"{count(root.unreadable, 'entry')} not readable, the first {shown(path)} ({reason}): not compared"
                )
                remedy = f"let the command on {name} read all (sudo), or correct the file's mode"
                yield Finding("ContentUnreadable", Severity.UNKNOWN, f"content/{name}/{root.name}", message, remedy)


def _hung(name: str, point: str, root: Root, settings: Content) -> Finding:
    served = f" of {root.mount.server}" if root.mount and root.mount.server else ""
    message = (
        f"{point}{served} gave no answer for {settings.mount_timeout_s:g} s at {shown(root.reason)}: "
        "every action and sensor that touches it hangs"
    )
    remedy = f"look at the file server; if it is gone for long, on {name}: umount -l {point}"
    return Finding("MountHung", Severity.CRITICAL, f"content/{name}{point}", message, remedy)


def _closed(name: str, root: Root, path: str) -> Finding:
    subject = f"content/{name}{path}"
    if root.state == "absent":
        message = f"there is no directory {path}: nothing of {root.name} can run there"
        return Finding("ContentMissing", Severity.CRITICAL, subject, message, f"on {name}: mount it, or content_sync")
    if root.reason in DENIED:
        remedy = f"let the command on {name} read it (sudo)"
        return Finding("ContentUnreadable", Severity.UNKNOWN, subject, f"not looked into: {root.reason}", remedy)
    message = f"{path} cannot be read ({root.reason}): nothing of {root.name} can run there"
    remedy = f"on {name}: findmnt -T {path}; umount -l it and mount it again"
    return Finding("MountBroken", Severity.CRITICAL, subject, message, remedy)


def mounts(snapshot: Snapshot, settings: Content) -> Iterator[Finding]:
    """Mounts that are there, but not as they should be."""
    purpose = {node.name for node in settings.nodes if node.read_only}
    told: set[tuple[str, str]] = set()
    for name, path in settings.roots.items():
        servers: dict[str, list[str]] = {}
        for node, root in snapshot.roots(name).items():
            mount = root.mount
            if mount is None:
                continue
            if mount.read_only and node not in purpose and (node, mount.point) not in told:
                told.add((node, mount.point))
                how = "the file system is" if "ro" in mount.super_options else "this mount is"
                message = f"{path} lies in {mount.point}, and {how} read-only: installing a pack fails there"
                remedy = (
                    f"on {node}: mount -o remount,rw {mount.point}; or set read_only for the node if it is meant so"
                )
                yield Finding("MountReadOnly", Severity.WARNING, f"content/{node}{mount.point}", message, remedy)
            if mount.server is not None:
                servers.setdefault(mount.server, []).append(node)
        if len(servers) > 1:
            who = "; ".join(f"{', '.join(nodes)} from {server}" for server, nodes in servers.items())
            message = f"not all nodes mount it from the same place: {who}"
            yield Finding(
                "MountServerDiffers", Severity.WARNING, f"content/{name}", message, "correct /etc/fstab of the odd one"
            )


def _unmounted(
    snapshot: Snapshot, settings: Content, hidden: Mapping[tuple[str, str], Finding]
) -> dict[tuple[str, str], Finding]:
    """(node, root) where a mount is missing.

    Without `mounts` at least half of the nodes must have it, and other content: a node without it may be the server. A
    mount that hides the system packs is no example.
    """
    found: dict[tuple[str, str], Finding] = {}
    for name, path in settings.roots.items():
        wanted = next((each for each in settings.mounts if path == each or path.startswith(each + "/")), None)
        nodes = {node: root for node, root in snapshot.roots(name).items() if (node, name) not in hidden}
        points = {node: root.mount.point for node, root in nodes.items() if root.mount is not None}
        deepest = max(points.values(), key=len, default="/")
        mounted = [nodes[node].digest for node, point in points.items() if point == deepest]
        most = 2 * len(mounted) >= len(points)
        for node, point in points.items():
            if wanted:
                lost = not (point == wanted or point.startswith(wanted + "/"))
            else:
                lost = most and len(point) < len(deepest) and nodes[node].digest not in mounted
            if lost:
                where = wanted or deepest
                message = f"{where} is no mount there: {path} shows what lies below it on {node}'s own disk"
                subject, remedy = f"content/{node}{where}", f"on {node}: mount {where}"
                found[node, name] = Finding("MountMissing", Severity.CRITICAL, subject, message, remedy)
    return {key: finding for key, finding in found.items()}


def _hidden(snapshot: Snapshot, settings: Content) -> dict[tuple[str, str], Finding]:
    """(node, packs) where StackStorm's own packs are not to be seen."""
    found = {}
    for node, root in snapshot.roots("packs").items():
        lost = [pack for pack in settings.system_packs if pack not in root.tops]
        if lost:
            point = root.mount.point if root.mount and root.mount.point != "/" else ""
            why = f"the mount {point} hides them" if point else "they are not there"
            message = f"{', '.join(lost)} of StackStorm itself: {why}, core.* and packs.* fail on {node}"
            remedy = f"copy them into {settings.roots['packs']} from a node that has them (content_sync)"
            found[node, "packs"] = Finding(
                "SystemPacksHidden", Severity.CRITICAL, f"content/{node}/packs", message, remedy
            )
    return found
