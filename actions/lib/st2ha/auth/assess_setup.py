"""From facts to findings: what the nodes are configured to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

from st2ha.auth.facts import Config, Unread
from st2ha.auth.scene import Scene
from st2ha.report import Finding, Severity

CA_OPTION = "24578"
"""python-ldap's OPT_X_TLS_CACERTFILE among st2-auth-ldap's client_options."""


def unreadable(scene: Scene) -> Iterator[Finding]:
    for node in scene.snapshot.nodes:
        if isinstance(node.config, Unread):
            yield scene.finding(
                "AuthConfigUnreadable", Severity.UNKNOWN,
                f"what it is configured to ask is unknown: {node.config.reason[:240]}",
                "correct command and st2_conf of the node in auth.nodes", node.name,
            )  # fmt: skip


def disabled(scene: Scene) -> Iterator[Finding]:
    for node, config in scene.configs():
        if not config.enabled:
            yield scene.finding(
                "AuthDisabled", Severity.CRITICAL, "[auth] enable is off: its API serves everybody who reaches it",
                "set enable = True under [auth] in st2.conf, restart st2api and st2stream", node.name,
            )  # fmt: skip


def proxy_mode(scene: Scene) -> Iterator[Finding]:
    for node, config in scene.configs():
        if config.mode == "proxy":
            yield scene.finding(
                "AuthProxyMode", Severity.WARNING,
                "[auth] mode is proxy: st2auth believes any name it is told, a password is not looked at",
                "let nobody but the proxy reach st2auth's port, or use mode = standalone with ldap3", node.name,
            )  # fmt: skip


def runs_as(scene: Scene) -> Iterator[Finding]:
    """PAM can look into /etc/shadow as root only; nothing else needs root."""
    for node, config in scene.configs():
        root = None if config.uids is None or not config.uids else 0 in config.uids
        if config.backend == "pam" and root is False:
            yield scene.finding(
                "PamNeedsRoot", Severity.CRITICAL,
                f"backend pam, but st2auth runs as uid {config.uids[0] if config.uids else '?'}: it can check nobody's "
                "password",
                "run st2auth as root, or better: backend = ldap3, which does not need it", node.name,
            )  # fmt: skip
        elif root:
            needed = "needs it" if config.backend == "pam" else "does not need it"
            yield scene.finding(
                "AuthRunsAsRoot", Severity.WARNING,
                f"st2auth runs as root (the backend {config.backend} {needed}): a hole in it is a hole in the node",
                "backend = ldap3" if config.backend == "pam" else "set User=st2 in its systemd unit", node.name,
            )  # fmt: skip


def flat_file(scene: Scene) -> Iterator[Finding]:
    for node, config in scene.configs():
        if config.mode == "standalone" and config.backend == "flat_file":
            yield scene.finding(
                "FlatFileBackend", Severity.WARNING,
                "its users are in a file on this node: who leaves keeps the access, and each node has its own list",
                "backend = ldap3 (auth_backend/README.md)", node.name,
            )  # fmt: skip


def broken_options(scene: Scene) -> Iterator[Finding]:
    """st2auth does not start with these."""
    for node, config in scene.configs():
        if config.broken_options and config.mode == "standalone":
            yield scene.finding(
                "AuthConfigWrong", Severity.CRITICAL,
                "backend_kwargs is no JSON object: st2auth ends when it is started again",
                "python -m st2auth_ldap3 config writes it; a dollar is written twice", node.name,
            )  # fmt: skip
    for directory in scene.snapshot.directories:
        if directory.problems:
            ours = directory.backend == "ldap3"
            yield scene.finding(
                "AuthConfigWrong", Severity.CRITICAL if ours else Severity.UNKNOWN,
                f"backend_kwargs of {', '.join(directory.nodes)}: {'; '.join(directory.problems)[:240]}"
                + (", every login is refused" if ours else ": its directory was not looked at"),
                "correct [auth] backend_kwargs in st2.conf", directory.nodes[0],
            )  # fmt: skip


def incumbent(scene: Scene) -> Iterator[Finding]:
    """st2-auth-ldap verifies nothing without a CA file, and speaks in the clear without a word about TLS."""
    for directory in scene.snapshot.directories:
        options = directory.options
        if directory.backend != "ldap":
            continue
        client = options.get("client_options")
        verified = options.get("cacert") or (isinstance(client, dict) and client.get(CA_OPTION))
        encrypted = options.get("use_ssl") or options.get("use_tls")
        if not encrypted or not verified:
            what = "are not encrypted" if not encrypted else "go to whoever answers: no certificate is verified"
            yield scene.finding(
                "TlsUnverified", Severity.CRITICAL if not encrypted else Severity.WARNING,
                f"users' passwords {what} (backend ldap on {', '.join(directory.nodes)})",
                "backend = ldap3 takes the same backend_kwargs and always verifies; give it cacert", directory.nodes[0],
            )  # fmt: skip


def drift(scene: Scene) -> Iterator[Finding]:
    """Who may sign in must not depend on the node. Options are named, their values never."""
    read = list(scene.configs())
    for node, config in read[1:]:
        parts = _differences(config, read[0][1])
        if parts:
            yield scene.finding(
                "AuthConfigDrift", Severity.WARNING,
                f"differs from {read[0][0].name} in {', '.join(parts)[:240]}: who may sign in depends on the node",
                "make [auth] and [rbac] of st2.conf alike on all nodes", node.name,
            )  # fmt: skip


def _differences(one: Config, other: Config) -> list[str]:
    shared = ("enabled", "mode", "backend", "rbac", "rbac_backend", "role_sync")
    found = [name for name in shared if getattr(one, name) != getattr(other, name)]
    for name in sorted({*one.options, *other.options}):
        if json.dumps(one.options.get(name)) != json.dumps(other.options.get(name)):
            found.append(f"backend_kwargs.{str(name)[:40]}")
    if one.users_digest and other.users_digest and one.users_digest != other.users_digest:
        found.append("the users of the flat file")
    return found


RULES = (unreadable, disabled, proxy_mode, runs_as, flat_file, broken_options, incumbent, drift)
