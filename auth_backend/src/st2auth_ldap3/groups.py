"""Which groups a user is in, and whether these let it in. Membership is read at each login, never kept.

AD: tokenGroups holds the SIDs of all security groups, nested, cyclic and primary ones included, for 1 to 16 ms; it
omits distribution groups, which are asked for one by one where they are configured. Elsewhere: memberOf, and searches
upwards.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Optional

from st2auth_ldap3.directory import Reader
from st2auth_ldap3.errors import GroupsUnknown, Misconfigured, NotAllowed
from st2auth_ldap3.link import BASE, NO_SUCH_OBJECT, Entry
from st2auth_ldap3.names import Dn, escape_filter, filter_bytes, parse_dn, sid_bytes
from st2auth_ldap3.settings import Settings, fill_filter

LOG = logging.getLogger(__name__)
KEPT_S = 300.0
"""How long it is remembered which SID a configured group has (never who is in it)."""
REFERRAL = 10
SECURITY_GROUP = 0x80000000
AT_ONCE, MOST_GROUPS = 40, 5000
IN_CHAIN = "1.2.840.113556.1.4.1941"


@dataclass(frozen=True)
class Known:
    """What a configured group is on AD: several groups may have one RDN."""

    sids: frozenset[bytes]
    distribution: tuple[str, ...]


@dataclass(frozen=True)
class Membership:
    """SIDs on AD, DNs elsewhere."""

    sids: frozenset[bytes] = frozenset()
    dns: tuple[str, ...] = ()


class Groups:
    """The gate, and the names for StackStorm's roles."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, tuple[float, Known]] = {}
        self._names: dict[bytes, tuple[float, str]] = {}

    def refusal(self, reader: Reader, entry: Entry, username: str) -> Optional[str]:
        """Why the user's groups do not let it in, None if they do. Raises AuthError where that cannot be told."""
        settings = self._settings
        if not settings.required and not settings.denied:
            return None
        membership = self._read(reader, entry, username)
        for group in settings.denied:
            if self._has(reader, entry, membership, group, must_exist=True):
                return f"in the denied group {group!r}"
        missing = [group for group in settings.required if not self._has(reader, entry, membership, group)]
        if settings.require_all and missing:
            return f"not in the required group {missing[0]!r}"
        if settings.required and len(missing) == len(settings.required):
            return "in none of the required groups"
        return None

    def names(self, reader: Reader, entry: Entry, username: str) -> list[str]:
        """The DNs of all groups; with `optional_group_dns` only of those that are configured. Raises AuthError."""
        membership = self._read(reader, entry, username)
        dns = [*self._sid_names(reader, membership.sids), *membership.dns]
        if reader.server.is_ad and not self._settings.group_pattern:
            dns += entry.texts("memberOf")  # the distribution groups
        unique = {parse_dn(dn) or dn: dn for dn in dns}
        wanted = (*self._settings.required, *self._settings.optional)
        kept = [dn for dn in unique.values() if not self._settings.optional or self._is_any(reader, dn, wanted)]
        return sorted(kept)

    def exists(self, reader: Reader, group: str) -> bool:
        """Whether a configured group is there; for the generator."""
        if reader.server.is_ad:
            known = self._resolve(reader, group)
            return bool(known.sids or known.distribution)
        return bool(self._search_group(reader, group, ["1.1"], "(objectClass=*)"))

    def _read(self, reader: Reader, entry: Entry, username: str) -> Membership:
        if self._settings.group_pattern:  # exactly what the site wrote, without nesting
            query = fill_filter(self._settings.group_pattern, user_dn=entry.dn, username=username)
            found = reader.search(self._settings.group_base, query, ["1.1"], self._settings.scope)
            return Membership(dns=tuple(each.dn for each in found))
        if not reader.server.is_ad:
            return Membership(dns=_upwards(reader, self._settings.group_base, entry, username))
        own = reader.read(entry.dn, ["tokenGroups"])
        sids = own.values.get("tokengroups", []) if own else []
        if not sids:
            raise GroupsUnknown("tokenGroups of the user cannot be read")
        return Membership(sids=frozenset(sids))

    def _has(
        self, reader: Reader, entry: Entry, membership: Membership, group: str, *, must_exist: bool = False
    ) -> bool:
        if not reader.server.is_ad or self._settings.group_pattern:
            return any(_same(dn, group) for dn in membership.dns)
        known = self._resolve(reader, group)
        if not known.sids and not known.distribution:
            if not must_exist:
                LOG.error("the required group %r does not exist", group)
            else:
                raise Misconfigured([f"the denied group {group!r} does not exist"])
        return bool(known.sids & membership.sids) or any(self._in_chain(reader, entry, dn) for dn in known.distribution)

    def _in_chain(self, reader: Reader, entry: Entry, group: str) -> bool:
        """A distribution group, nested or not. From the user's side this is cheap: its own entry is the only one."""
        query = f"(memberOf:{IN_CHAIN}:={escape_filter(group)})"
        return bool(reader.search(entry.dn, query, ["1.1"], BASE))

    def _resolve(self, reader: Reader, group: str) -> Known:
        at, known = self._known.get(group, (0.0, None))
        if known is not None and time.monotonic() - at < KEPT_S:
            return known
        sid = sid_bytes(group)
        if sid is not None:
            return Known(frozenset([sid]), ())
        found = self._search_group(reader, group, ["objectSid", "groupType"], "(objectClass=group)")
        known = Known(
            frozenset(sid for each in found if _is_security(each) for sid in each.values.get("objectsid", [])),
            tuple(each.dn for each in found if not _is_security(each)),
        )
        if found:
            self._known[group] = (time.monotonic(), known)
        return known

    def _search_group(self, reader: Reader, group: str, attributes: list[str], kind: str) -> list[Entry]:
        """A group by its DN, or all that have this RDN."""
        dn = parse_dn(group) or ()
        if len(dn) == 1:
            match = "".join(f"({attribute}={escape_filter(value)})" for attribute, value in dn[0])
            return reader.search(self._settings.group_base, f"(&{kind}{match})", attributes)
        try:
            return reader.search(group, kind, attributes, BASE)
        except NotAllowed as error:
            if error.code in (NO_SUCH_OBJECT, REFERRAL):
                return []
            raise

    def _sid_names(self, reader: Reader, sids: frozenset[bytes]) -> list[str]:
        """The DNs of SIDs; one of another domain has none here and is left out."""
        now = time.monotonic()
        unknown = [sid for sid in sids if sid not in self._names or now - self._names[sid][0] >= KEPT_S]
        for start in range(0, len(unknown), AT_ONCE):
            query = "".join(f"(objectSid={filter_bytes(sid)})" for sid in unknown[start : start + AT_ONCE])
            for found in reader.search(reader.server.root, f"(|{query})", ["objectSid"]):
                for sid in found.values.get("objectsid", []):
                    self._names[sid] = (now, found.dn)
        return [self._names[sid][1] for sid in sids if sid in self._names]

    def _is_any(self, reader: Reader, dn: str, groups: tuple[str, ...]) -> bool:
        sids = {sid for sid, (_, name) in self._names.items() if name == dn}
        return any(_same(dn, group) or sid_bytes(group) in sids for group in groups)


def _is_security(group: Entry) -> bool:
    return bool(int(group.text("groupType") or 0) & SECURITY_GROUP)


def _same(dn: str, configured: str) -> bool:
    """Whether a group's DN is the configured one, or begins with the configured RDN."""
    have, want = parse_dn(dn), parse_dn(configured)
    if not have or not want:
        return False
    return have[0] == want[0] if len(want) == 1 else have == want


def _upwards(reader: Reader, base: str, entry: Entry, username: str) -> tuple[str, ...]:
    """All groups by memberOf, member, uniqueMember and memberUid, and the groups that these are in. Cycles end."""
    found: dict[Dn, str] = {}
    fresh = _add(found, entry.texts("memberOf"))
    query = f"(|{_membership(entry.dn)}(memberUid={escape_filter(username)}))"
    while True:
        results = reader.search(base, query, ["memberOf"])
        fresh += _add(found, [dn for each in results for dn in (each.dn, *each.texts("memberOf"))])
        if len(found) > MOST_GROUPS:
            raise GroupsUnknown(f"the user is in more than {MOST_GROUPS} groups")
        if not fresh:
            return tuple(found.values())
        now, fresh = fresh[:AT_ONCE], fresh[AT_ONCE:]
        query = f"(|{''.join(map(_membership, now))})"


def _add(found: dict[Dn, str], dns: list[str]) -> list[str]:
    """Add those that are new, and return them."""
    fresh = {key: dn for dn in dns if (key := parse_dn(dn)) and key not in found}
    found.update(fresh)
    return list(fresh.values())


def _membership(dn: str) -> str:
    value = escape_filter(dn)
    return f"(member={value})(uniqueMember={value})"
