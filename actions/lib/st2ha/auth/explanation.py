"""An explanation as people and programs read it: the verdict, the deciding rule, groups with their paths, roles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from st2ha.auth.assess_user import assess_user
from st2ha.auth.facts import Config
from st2ha.auth.rbac import Files, Roles, roles_of
from st2ha.report import Finding

if TYPE_CHECKING:
    from st2auth_ldap3.explain import Explanation, Path, Rule

SHOWN = 100
"""So many groups a result has; more are counted."""


@dataclass(frozen=True)
class Told:
    """`healthy` is the sentence for a user who may sign in."""

    healthy: str
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any]


def tell(user: str, explained: Explanation, config: Config, files: Files, with_roles: bool) -> Told:
    """Pure. `with_roles`: the RBAC files were given."""
    synced = config.rbac and config.role_sync and config.rbac_backend != "noop"
    roles = roles_of(user, explained.names, files, synced) if explained.refusal is None else Roles()
    facts = {
        "may_sign_in": explained.refusal is None,
        "decided_by": explained.decided_by,
        "because": explained.refusal or admission(user, explained),
        "server": explained.server,
        "entry": explained.dn,
        "states": list(explained.states),
        "notes": [*explained.notes, *_notes(explained, config, files, with_roles, synced)],
        "rules": [_rule(user, rule, explained) for rule in explained.rules],
        "groups": [
            {"group": path.group, "path": way(user, path), "for_roles": path.for_roles}
            for path in explained.paths[:SHOWN]
        ],
        "roles": [{"role": role, "because": file} for role, file in roles.given],
    }
    findings = assess_user(user, explained.refusal, explained.decided_by, roles, files.broken)
    return Told(f"{user} may sign in with the right password: {facts['because']}", findings, facts)


def admission(user: str, explained: Explanation) -> str:
    """Which rule lets the user in."""
    inside = [rule for rule in explained.rules if rule.kind == "required" and rule.member]
    if not inside:
        return "no group is required (allow_any_user)"
    return "; ".join(f"in {_where(user, rule, explained)}" for rule in inside)


def way(user: str, path: Path) -> str:
    """`alice > team > st2users`: the first parts of the DNs."""
    return " > ".join([user, *map(_short, path.dns)])


def _where(user: str, rule: Rule, explained: Explanation) -> str:
    path = _path_of(rule, explained)
    return f"{_short(rule.group)} by {way(user, path)}" if path is not None else f"the group {rule.group!r}"


def _path_of(rule: Rule, explained: Explanation) -> Optional[Path]:
    """For showing only: whether the user is in a group, the backend has said."""
    wanted = rule.group.casefold()
    folded = ((path, path.group.casefold()) for path in explained.paths)
    return next((path for path, group in folded if group == wanted or group.startswith(f"{wanted},")), None)


def _rule(user: str, rule: Rule, explained: Explanation) -> dict[str, Any]:
    path = _path_of(rule, explained)
    row: dict[str, Any] = {"rule": rule.kind, "group": rule.group, "member": rule.member}
    row["path"] = way(user, path) if path is not None else None
    return {**row, "problem": rule.words} if rule.words else row


def _notes(explained: Explanation, config: Config, files: Files, with_roles: bool, synced: bool) -> list[str]:
    notes = []
    if config.backend != "ldap3":
        notes.append(f"st2auth asks with the backend {config.backend}; this is what ldap3 would decide")
    if len(explained.paths) > SHOWN:
        notes.append(f"{len(explained.paths)} groups, the first {SHOWN} are shown")
    if not with_roles:
        notes.append("roles are not told: set auth.rbac_directory (/opt/stackstorm/rbac)")
    elif not config.rbac:
        notes.append("[rbac] enable is off: every user may do everything, roles mean nothing")
    elif files.mappings and not synced:
        notes.append("[rbac] sync_remote_groups is off: groups give no roles")
    return notes


def _short(dn: str) -> str:
    """The value of a DN's first part, without its escapes."""
    first = re.split(r"(?<!\\),", dn, maxsplit=1)[0]
    return re.sub(r"\\(.)", r"\1", first.partition("=")[2] or first)
