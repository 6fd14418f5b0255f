"""Why a user may sign in or not, without its password: its entry, its account's state, its groups, the deciding rule.

The decision is that of `users.find` and `Groups.refusal`, which st2auth asks, too. What only a bind can tell (AD looks
at the account's state itself) is read from the account's attributes, and said in the words of the audit line.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Optional

from st2auth_ldap3 import users
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.directory import Directory, Reader
from st2auth_ldap3.errors import AuthError, Refused, Unavailable
from st2auth_ldap3.groups import Groups
from st2auth_ldap3.link import Entry
from st2auth_ldap3.names import Dn, escape_filter, filter_bytes, parse_dn, unfit_name
from st2auth_ldap3.settings import Settings
from st2auth_ldap3.states import ACTIVE_DIRECTORY

ACCOUNT = (
    "userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires", "lockoutTime", "pwdLastSet",
    "logonHours", "userWorkstations", "primaryGroupID", "objectSid", "pwdAccountLockedTime", "pwdReset",
    "nsAccountLock", "loginDisabled",
)  # fmt: skip
DISABLED, LOCKED, NEVER_EXPIRES, EXPIRED = 0x2, 0x10, 0x10000, 0x800000
NEVER = (0, 0x7FFFFFFFFFFFFFFF)
EPOCH_1601_S, TICKS = 11_644_473_600, 10_000_000
HOURS_A_WEEK, MOST_GROUPS = 168, 500
NETBIOS_LENGTH = 15
THURSDAY = 4  # 1 January 1970, counted from Sunday as AD does


@dataclass(frozen=True)
class Path:
    """One group, how the user gets into it (DNs from the user's own groups to this one), and whether StackStorm's role
    sync is told of it."""

    dns: tuple[str, ...]
    for_roles: bool

    @property
    def group(self) -> str:
        return self.dns[-1]


@dataclass(frozen=True)
class Rule:
    """One group of the settings and what the gate says about it: `member` is None where it says that it cannot tell."""

    kind: str
    group: str
    member: Optional[bool]
    words: str = ""


@dataclass(frozen=True)
class Explanation:
    """`refusal` is why the user is refused, None if only the password is left to decide."""

    server: str
    refusal: Optional[str]
    decided_by: str  # name, entry, account, groups
    dn: Optional[str] = None
    states: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    paths: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()  # what StackStorm's role sync is told


def explain(settings: Settings, username: str, deadline: Deadline, now: float) -> Explanation:
    """Ask the first server that answers. `now` in epoch seconds. Raises AuthError where nobody can tell."""
    if unfit := unfit_name(username):
        return Explanation("-", unfit, "name")
    if settings.user_bind_pattern:
        raise Unavailable("without a service account nobody but the user itself may ask about it")
    directory = Directory(settings)

    def ask(reader: Reader) -> Explanation:
        try:
            entry = users.find(reader, settings, username, list(ACCOUNT))
        except Refused as error:
            return Explanation(str(reader.server), error.reason, "entry")
        return _explained(settings, reader, entry, username, now)

    return directory.anywhere(lambda server: directory.reading(server, ask, deadline), deadline)


def _explained(settings: Settings, reader: Reader, entry: Entry, username: str, now: float) -> Explanation:
    root = reader.read("", ["dnsHostName"]) if reader.server.is_ad else None
    states, notes = account_states(entry, now, (root and root.text("dnsHostName")) or "")
    gate: Optional[str]
    try:
        gate = Groups(settings).refusal(reader, entry, username)
    except Unavailable:
        raise
    except AuthError as error:  # the login fails closed
        gate = str(error)
    names = Groups(settings).names(reader, entry, username)
    return Explanation(
        server=str(reader.server),
        refusal=states[0] if states else gate,
        decided_by="account" if states else "groups",
        dn=entry.dn,
        states=tuple(states),
        notes=tuple(notes),
        rules=tuple(_rules(settings, reader, entry, username)),
        paths=tuple(_paths(settings, reader, entry, username, names)),
        names=tuple(names),
    )


def _rules(settings: Settings, reader: Reader, entry: Entry, username: str) -> list[Rule]:
    """The gate asked about one group at a time."""
    bare = replace(settings, required=(), denied=(), optional=())
    rules = []
    for kind, groups in (("required", settings.required), ("denied", settings.denied)):
        for group in groups:
            only = replace(bare, denied=(group,)) if kind == "denied" else replace(bare, required=(group,))
            try:
                refused = Groups(only).refusal(reader, entry, username) is not None
                rules.append(Rule(kind, group, refused if kind == "denied" else not refused))
            except Unavailable:
                raise
            except AuthError as error:
                rules.append(Rule(kind, group, None, str(error)))
    return rules


def account_states(entry: Entry, now: float, controller: str = "") -> tuple[list[str], list[str]]:
    """Reasons for a refusal in AD's order, as the audit line has them; and what else is worth knowing.

    AD takes the `controller` (its DNS name) for the workstation from which an LDAP client signs in.
    """
    flags, computed = (_number(entry, name) for name in ("userAccountControl", "msDS-User-Account-Control-Computed"))
    hours = next(iter(entry.values.get("logonhours", [])), b"")
    workstations, netbios = entry.text("userWorkstations"), controller.partition(".")[0].upper()[:NETBIOS_LENGTH]
    found = {
        "775": bool(computed & LOCKED),
        "533": bool(flags & DISABLED),
        "701": _passed(_number(entry, "accountExpires"), now),
        "530": len(hours) * 8 == HOURS_A_WEEK and not _allowed(hours, now),
        "531": bool(workstations) and netbios not in (workstations or "").upper().replace(" ", "").split(","),
        "773": "pwdlastset" in entry.values and _number(entry, "pwdLastSet") == 0 and not flags & NEVER_EXPIRES,
    }
    found["532"] = bool(computed & EXPIRED) and not found["773"]
    states = [f"{ACTIVE_DIRECTORY[code]} ({code})" for code, holds in found.items() if holds]
    if entry.text("pwdAccountLockedTime"):
        states.append("account locked")
    if (entry.text("nsAccountLock") or entry.text("loginDisabled") or "").lower() == "true":
        states.append("account disabled")
    if (entry.text("pwdReset") or "").lower() == "true":
        states.append("must change its password")
    notes = [f"may sign in at {workstations} only; over LDAP that is the domain controller's name"] * bool(workstations)
    if 0 < len(hours) * 8 == HOURS_A_WEEK and hours != b"\xff" * 21:
        notes.append("may not sign in at every hour of the week")
    return states, notes


def _number(entry: Entry, name: str) -> int:
    try:
        return int(entry.text(name) or 0)
    except ValueError:
        return 0


def _passed(ticks: int, now: float) -> bool:
    """Whether a time of AD's (100 ns since 1601) is over; two values mean never."""
    return ticks not in NEVER and ticks / TICKS - EPOCH_1601_S <= now


def _allowed(hours: bytes, now: float) -> bool:
    """AD: a bit for each hour of the week in UTC, from Sunday 00:00 on, the lowest bit of a byte first."""
    hour = (int(now // 3600) + THURSDAY * 24) % HOURS_A_WEEK
    return bool(hours[hour // 8] >> hour % 8 & 1)


def _paths(settings: Settings, reader: Reader, entry: Entry, username: str, names: list[str]) -> list[Path]:
    """All groups with the shortest way into each, upwards from the user. Cycles end; so does a crowd of groups."""
    told = {parse_dn(dn) for dn in names}
    first = entry.texts("memberOf") + _primary(reader, entry)
    if not reader.server.is_ad:
        first += _containing(settings, reader, entry.dn, username)
    waiting: deque[tuple[str, ...]] = deque((dn,) for dn in first)
    seen: set[Optional[Dn]] = set()
    found: list[Path] = []
    while waiting and len(found) < MOST_GROUPS:
        way = waiting.popleft()
        key = parse_dn(way[-1])
        if key in seen:
            continue
        seen.add(key)
        found.append(Path(way, key in told))
        group = reader.read(way[-1], ["memberOf"])
        above = reader.whole(group, "memberOf").texts("memberOf") if group else []
        if not reader.server.is_ad:
            above += _containing(settings, reader, way[-1])
        waiting.extend((*way, dn) for dn in above)
    return found


def _primary(reader: Reader, entry: Entry) -> list[str]:
    """The DN of AD's primary group, which memberOf does not list: the user's domain and the group's number."""
    sid, number = next(iter(entry.values.get("objectsid", [])), b""), _number(entry, "primaryGroupID")
    if not reader.server.is_ad or len(sid) < 12 or not number:
        return []
    wanted = sid[:-4] + number.to_bytes(4, "little")
    return [found.dn for found in reader.search(reader.server.root, f"(objectSid={filter_bytes(wanted)})", ["1.1"])]


def _containing(settings: Settings, reader: Reader, dn: str, username: Optional[str] = None) -> list[str]:
    value = escape_filter(dn)
    uid = f"(memberUid={escape_filter(username)})" if username else ""
    query = f"(|(member={value})(uniqueMember={value}){uid})"
    return [found.dn for found in reader.search(settings.group_base, query, ["1.1"])]


__all__ = ["Explanation", "Path", "Rule", "account_states", "explain"]
