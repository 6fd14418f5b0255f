"""From facts to findings: the servers of the directory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from st2ha.auth.facts import Controller, Directory
from st2ha.auth.scene import Scene
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity

Each = TypeVar("Each", Controller, Silent)
SECONDS_A_DAY = 86_400
EFFECTS = {
    "required": "nobody is in it",
    "denied": "every login is refused, since who is in it cannot be told",
    "optional": "it gives nobody a role",
}


def no_directory(scene: Scene) -> Iterator[Finding]:
    """Where the service account is refused, that is the finding."""
    for directory in scene.snapshot.directories:
        servers = directory.controllers
        if servers and not directory.working and not _refused(directory):
            yield scene.finding(
                "NoDirectory", Severity.CRITICAL,
                f"{count(len(servers), 'directory server')} configured, none works: nobody signs in through "
                f"{', '.join(directory.nodes)}",
                f"see the findings about {', '.join(servers)}",
            )  # fmt: skip


def one_left(scene: Scene) -> Iterator[Finding]:
    """The next failure ends sign-in. One name with several addresses is more than one server."""
    for directory in scene.snapshot.directories:
        servers, working = directory.controllers, directory.working
        if len(working) != 1 or (len(servers) == 1 and directory.addresses > 1):
            continue
        what, remedy = "1 directory server is configured", "add a second server to host, or use srv_domain"
        if len(servers) > 1:
            what, remedy = f"1 of {len(servers)} directory servers works", "bring the others back"
        yield scene.finding(
            "OneDirectoryLeft", Severity.WARNING, f"{what}: without it nobody signs in", remedy, working[0].name
        )


def silent(scene: Scene) -> Iterator[Finding]:
    for name, answer in _servers(scene, Silent):
        if answer.kind is Silence.TLS:
            yield scene.finding(
                "DirectoryTlsFailed", Severity.WARNING, f"no trusted connection: {answer.reason[:200]}",
                "correct its certificate, or cacert in backend_kwargs", name,
            )  # fmt: skip
        elif answer.kind is Silence.HUNG:
            yield scene.finding(
                "DirectoryHung", Severity.WARNING,
                f"accepts connections and says nothing: {answer.reason[:200]}; a login waits for it once",
                "restart the directory service there", name,
            )  # fmt: skip
        else:
            yield scene.finding(
                "DirectoryDown", Severity.WARNING, f"does not serve: {answer.reason[:200]}",
                "start it, or look at the firewall between this node and it", name,
            )  # fmt: skip


def service_account(scene: Scene) -> Iterator[Finding]:
    for name, answer in _servers(scene, Controller):
        if answer.service:
            yield scene.finding(
                "ServiceAccountRefused", Severity.CRITICAL,
                f"refuses bind_dn: {answer.service}; nobody signs in where it is refused",
                "correct bind_dn and bind_password_file in backend_kwargs, or unlock the account", name,
            )  # fmt: skip
        elif answer.unread:
            yield scene.finding(
                "DirectoryUnreadable", Severity.CRITICAL, f"lets bind_dn in but not read: {answer.unread[:200]}",
                "correct base_ou, or give the service account the right to read it", name,
            )  # fmt: skip


def groups_missing(scene: Scene) -> Iterator[Finding]:
    """Every server is asked, a group is told once; one that only some servers have is being replicated."""
    for directory in scene.snapshot.directories:
        lacking: dict[tuple[str, str], list[str]] = {}
        for each in directory.working:
            for group in each.groups:
                if not group.exists:
                    lacking.setdefault((group.rule, group.name), []).append(each.name)
        required = {group.name for each in directory.working for group in each.groups if group.rule == "required"}
        none_left = required <= {name for rule, name in lacking if rule == "required"}
        for (rule, name), servers in lacking.items():
            fatal = rule == "denied" or (rule == "required" and (directory.require_all or none_left))
            yield scene.finding(
                "GroupMissing", Severity.CRITICAL if fatal else Severity.WARNING,
                f"the {rule} group {name[:120]!r} is not there on {len(servers)} of {len(directory.working)} servers: "
                f"{EFFECTS[rule]}",
                f"correct its name in backend_kwargs of {', '.join(directory.nodes)}, or create it", servers[0],
            )  # fmt: skip


def clocks(scene: Scene) -> Iterator[Finding]:
    for name, answer in _servers(scene, Controller):
        if answer.skew_s is not None and abs(answer.skew_s) > scene.limits.clock_skew_s:
            yield scene.finding(
                "ClockSkew", Severity.WARNING,
                f"its clock and this node's differ by {abs(answer.skew_s):.0f} s, Kerberos allows 300 s",
                "chronyc tracking, here and there", name,
            )  # fmt: skip


def certificates(scene: Scene) -> Iterator[Finding]:
    for name, answer in _servers(scene, Controller):
        if answer.tls_expires_at is not None:
            days = (answer.tls_expires_at - scene.now) / SECONDS_A_DAY
            if days < scene.limits.tls_days:
                yield scene.finding(
                    "TlsExpiring", Severity.WARNING,
                    f"its certificate ends in {days:.0f} days, then no login trusts it", "renew it", name,
                )  # fmt: skip


def slow(scene: Scene) -> Iterator[Finding]:
    for name, answer in _servers(scene, Controller):
        if answer.latency_s > scene.limits.latency_s:
            yield scene.finding(
                "DirectorySlow", Severity.WARNING,
                f"connecting, TLS and the service bind take {answer.latency_s:.1f} s, more than "
                f"{scene.limits.latency_s:g} s",
                "list a nearer server first in host, or set srv_site", name,
            )  # fmt: skip


def _refused(directory: Directory) -> bool:
    return any(isinstance(each, Controller) and each.service for each in directory.controllers.values())


def _servers(scene: Scene, kind: type[Each]) -> Iterator[tuple[str, Each]]:
    """Each server that answered so, once, whatever number of nodes ask it."""
    seen = set()
    for directory in scene.snapshot.directories:
        for name, answer in directory.controllers.items():
            if isinstance(answer, kind) and name not in seen:
                seen.add(name)
                yield name, answer


RULES = (no_directory, one_left, silent, service_account, groups_missing, clocks, certificates, slow)
