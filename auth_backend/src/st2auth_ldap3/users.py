"""Finding a user's one entry, and the one spelling of its name."""

from __future__ import annotations

from typing import Optional

from st2auth_ldap3.directory import Reader
from st2auth_ldap3.errors import Refused
from st2auth_ldap3.link import BASE, Entry
from st2auth_ldap3.names import escape_filter, rdn_value
from st2auth_ldap3.settings import Format, Settings, fill_filter

SHOWN = ["cn", "displayName", "givenName", "sn", "mail", "telephoneNumber", "title", "department", "company"]
"""What `get_user` tells besides the name; never all attributes, among which may be password hashes."""


def find(reader: Reader, settings: Settings, username: str, more: Optional[list[str]] = None) -> Entry:
    """The entry of a typed name. Raises Refused unless there is exactly one and the name is typed as it is spelled."""
    account = _account(settings, username)
    attribute = _attribute(settings, reader)
    wanted = [attribute, "memberOf", *(more or [])]
    found = reader.search(settings.base, _query(settings, reader, attribute, account), wanted, settings.scope, limit=2)
    if not found:
        raise Refused("no such user")
    if len(found) > 1:
        raise Refused("more than one entry has this name")
    check_spelling(settings, attribute, found[0], username)
    return reader.whole(found[0], "memberOf")


def find_own(reader: Reader, settings: Settings, username: str, bind_name: str) -> Entry:
    """The entry of the user who is bound to this very link with `bind_name`.

    AD takes several kinds of bind names, and one user's UPN may look like another's account: the entry's SID must be in
    the token of this connection. Elsewhere the bind name is a DN, and the entry that of this DN.
    """
    if not reader.server.is_ad:
        attribute = _attribute(settings, reader)
        found = reader.search(bind_name, "(objectClass=*)", [attribute, "memberOf"], BASE)
        if not found:
            raise Refused("the user cannot read its own entry")
        check_spelling(settings, attribute, found[0], username)
        return found[0]
    entry = find(reader, settings, username, ["objectSid"])
    token = reader.read("", ["tokenGroups"])
    sids = entry.values.get("objectsid", [])
    if len(sids) != 1 or token is None or sids[0] not in token.values.get("tokengroups", []):
        raise Refused("the bind name belongs to somebody else")
    return entry


def check_spelling(settings: Settings, attribute: str, entry: Entry, username: str) -> None:
    """Raises Refused unless the typed name is the canonical one: it becomes StackStorm's user, letter by letter."""
    expected = _canonical(entry, attribute)
    if expected is None:
        raise Refused(f"the entry has no {attribute}")
    if settings.format is Format.DOMAIN:
        expected = f"{settings.domain}\\{expected}"
    if username != expected:
        raise Refused(f"the name must be typed as {expected!r}")


def _canonical(entry: Entry, attribute: str) -> Optional[str]:
    """One value even where the attribute has several: that of the DN, else the first in order of the alphabet."""
    values = entry.texts(attribute)
    named = rdn_value(entry.dn, attribute)
    return named if named in values else min(values, default=None)


def _account(settings: Settings, username: str) -> str:
    """What the directory is asked for: without the domain where users type it."""
    if settings.format is not Format.DOMAIN:
        return username
    domain, backslash, account = username.partition("\\")
    if not backslash or not account or domain.lower() != (settings.domain or "").lower():
        raise Refused(f"the name must be typed as {settings.domain}\\name")
    return account


def _attribute(settings: Settings, reader: Reader) -> str:
    return settings.canonical_attribute or ("sAMAccountName" if reader.server.is_ad else "uid")


def _query(settings: Settings, reader: Reader, attribute: str, account: str) -> str:
    if settings.account_pattern:
        return fill_filter(settings.account_pattern, username=account, user_dn="")
    match = f"({attribute}={escape_filter(account)})"
    return f"(&(objectCategory=person)(objectClass=user){match})" if reader.server.is_ad else match
