"""The `[auth]` section of st2.conf: read, shown and replaced. Pure: text in, text out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Optional

SECRETS = ("bind_password",)
_SECTION = re.compile(r"^\s*\[([^\]]+)\]\s*$")
_SETTING = re.compile(r"^([A-Za-z_][\w.-]*)\s*[=:]\s*(.*)$")
_MEMBERSHIP = re.compile(
    r"\((?:objectClass=[\w*-]+|(?:member|uniqueMember|member:1\.2\.840\.113556\.1\.4\.1941:)=\{user_dn\}"
    r"|memberUid=\{username\})\)",
    re.IGNORECASE,
)


def read_auth(text: str) -> dict[str, str]:
    """The settings of `[auth]`, with `$$` as the `$` that oslo.config makes of it."""
    found: dict[str, str] = {}
    last: Optional[str] = None
    for section, line in _lines(text):
        if section != "auth" or line.lstrip().startswith(("#", ";")):
            continue
        setting = _SETTING.match(line)
        if setting:
            last = setting[1]
            found[last] = setting[2].strip()
        elif last and line[:1].isspace() and line.strip():
            found[last] += "\n" + line.strip()
        else:
            last = None
    return {name: value.replace("$$", "$") for name, value in found.items()}


def settings(kwargs: Mapping[str, Any], *, show_secrets: bool = False) -> dict[str, str]:
    """The lines' values: JSON on one line, `$` doubled because oslo.config takes it for a reference."""
    shown = {name: "***" if name in SECRETS and not show_secrets else value for name, value in kwargs.items()}
    return {"mode": "standalone", "backend": "ldap3", "backend_kwargs": json.dumps(shown).replace("$", "$$")}


def section(kwargs: Mapping[str, Any], *, show_secrets: bool = False) -> str:
    """The section as text; passwords as *** unless they are asked for."""
    lines = [f"{name} = {value}" for name, value in settings(kwargs, show_secrets=show_secrets).items()]
    return "\n".join(["[auth]", *lines, ""])


def replace_auth(text: str, kwargs: Mapping[str, Any]) -> str:
    """The same file with these settings in `[auth]`; all else stays, comments too."""
    wanted = settings(kwargs, show_secrets=True)
    result: list[str] = []
    end: Optional[int] = None
    skipping = False
    for name, line in _lines(text):
        if skipping and line[:1].isspace() and line.strip():
            continue  # the rest of a value that was replaced
        setting = _SETTING.match(line) if name == "auth" else None
        skipping = bool(setting and setting[1] in settings({}))
        if skipping and setting:
            if setting[1] in wanted:
                result.append(f"{setting[1]} = {wanted.pop(setting[1])}")
        else:
            result.append(line)
        if name == "auth" and line.strip():
            end = len(result)
    rest = [f"{name} = {value}" for name, value in wanted.items()]
    if end is None:
        return "\n".join([*result, *([""] if result else []), "[auth]", *rest, ""])
    return "\n".join([*result[:end], *rest, *result[end:], ""])


def convert(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`backend_kwargs` of st2-auth-ldap without what has no effect here, and what was changed."""
    kept = {name: value for name, value in kwargs.items() if value is not None}
    said = []
    for name in list(kept):
        if name.startswith("cache_user_groups") or name == "chase_referrals":
            del kept[name]
            said.append(f"{name} is left out: membership is read at each login, referrals are never followed")
    pattern = kept.get("group_pattern")
    if isinstance(pattern, str) and not re.sub(r"[()|&\s]", "", _MEMBERSHIP.sub("", pattern)):
        del kept["group_pattern"]
        said.append("group_pattern is left out: nested and primary groups count now, and are found faster")
    if not kept.get("use_ssl") and not kept.get("use_tls"):
        kept["use_tls" if kept.get("port", 389) != 636 else "use_ssl"] = True
        said.append("TLS is turned on")
    return kept, said


def _lines(text: str) -> list[tuple[str, str]]:
    """Each line with the section it is in."""
    current, found = "", []
    for line in text.splitlines():
        heading = _SECTION.match(line)
        current = heading[1].strip() if heading else current
        found.append((current, line))
    return found
