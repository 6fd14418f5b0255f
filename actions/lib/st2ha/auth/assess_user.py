"""From an explanation to findings: whether one user may sign in, and which roles are lost by a misspelling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from st2ha.auth.rbac import Roles
from st2ha.report import Finding, Severity

REMEDIES = {
    "name": "type the name as the directory has it",
    "entry": "type the name as the directory has it, or correct base_ou and id_attr",
    "account": "have the directory's administrators put the account right",
    "groups": "have the user put into the group, or correct group_dns in backend_kwargs",
}


def assess_user(
    user: str, refusal: Optional[str], decided_by: str, roles: Roles, broken: tuple[str, ...]
) -> tuple[Finding, ...]:
    """Pure. `refusal`: why the user may not sign in."""
    return (*_refused(user, refusal, decided_by), *_roles(user, roles, broken))


def _refused(user: str, refusal: Optional[str], decided_by: str) -> Iterator[Finding]:
    if refusal is not None:
        yield Finding(
            "SignInRefused", Severity.WARNING, f"auth/{user}",
            f"may not sign in, whatever the password: {refusal}", REMEDIES[decided_by],
        )  # fmt: skip


def _roles(user: str, roles: Roles, broken: tuple[str, ...]) -> Iterator[Finding]:
    for grant in roles.missed:
        yield Finding(
            "RoleMappingMisspelled", Severity.WARNING, f"auth/{user}",
            f"{grant.file} spells a group of the user otherwise, so {', '.join(grant.roles)} is not given: StackStorm "
            "compares letter by letter",
            "write the group as `groups` of this result has it, then st2-apply-rbac-definitions",
        )  # fmt: skip
    for role, file in roles.undefined:
        yield Finding(
            "RoleUndefined", Severity.WARNING, f"auth/{user}",
            f"{file} gives the role {role}, which roles/ does not define: StackStorm leaves it out",
            "define the role, then st2-apply-rbac-definitions",
        )  # fmt: skip
    if broken:
        yield Finding(
            "RoleFilesBroken", Severity.WARNING, f"auth/{user}",
            f"{len(broken)} of the RBAC files cannot be used: {'; '.join(broken)[:240]}; StackStorm loads none of them",
            "correct them, then st2-apply-rbac-definitions",
        )  # fmt: skip
