"""Pure rules on names: what may be typed, DNs, SIDs, filters."""

from __future__ import annotations

import re
import struct
import unicodedata
from typing import Optional

NAME_LIMIT, PASSWORD_LIMIT = 256, 1024
FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, lone surrogates, line and paragraph separators: AD ignores some of them behind a name."""

Rdn = frozenset[tuple[str, str]]
Dn = tuple[Rdn, ...]
"""For comparing: type and value of each part in lower case, unescaped, spaces collapsed."""

_FILTER_SPECIAL = re.compile(r"[\\*()\x00]|[^\S ]|^ +| +$")
"""ldap3 cuts white space at both ends of a value."""

_DN_SPECIAL = re.compile(r'[,+"\\<>;=\x00]|^[ #]| $')
_SPACES = re.compile(" +")
_SID = re.compile(r"S-1-(\d{1,14})((?:-\d{1,10}){1,15})", re.IGNORECASE)


def unfit_name(name: object) -> Optional[str]:
    """Why a typed user name is not worth asking the directory, None if it is."""
    if not isinstance(name, str) or not name:
        return "the name is empty"
    if len(name) > NAME_LIMIT:
        return "the name is too long"
    if name != name.strip():
        return "the name begins or ends with a space"
    return "the name holds a control character" if _has_forbidden(name) else None


def unfit_password(password: object) -> Optional[str]:
    """Why a password is not worth sending. An empty one would be an unauthenticated bind, which some servers grant."""
    if not isinstance(password, str) or not password:
        return "the password is empty"
    if len(password) > PASSWORD_LIMIT:
        return "the password is too long"
    return "the password holds a control character" if _has_forbidden(password) else None


def _has_forbidden(text: str) -> bool:
    return any(unicodedata.category(character) in FORBIDDEN for character in text)


def escape_filter(value: str) -> str:
    """A value for a search filter (RFC 4515)."""
    return _FILTER_SPECIAL.sub(lambda found: filter_bytes(found[0].encode("utf-8")), value)


def escape_dn(value: str) -> str:
    """A value for a DN (RFC 4514)."""
    return _DN_SPECIAL.sub(lambda found: f"\\{ord(found[0]):02x}", value)


def parse_dn(text: str) -> Optional[Dn]:
    """A DN for comparing, None if it is none."""
    rdns = []
    for part in _split(text, ",;"):
        pairs = [_pair(each) for each in _split(part, "+")]
        if None in pairs:
            return None
        rdns.append(frozenset(pair for pair in pairs if pair))
    return tuple(rdns)


def rdn_value(dn: str, attribute: str) -> Optional[str]:
    """The value of `attribute` in the first part of a DN, as it is spelled there."""
    for each in _split(_split(dn, ",;")[0], "+"):
        kind, equals, value = each.partition("=")
        if equals and kind.strip().lower() == attribute.lower():
            return _unescape(value)
    return None


def _pair(text: str) -> Optional[tuple[str, str]]:
    kind, equals, value = text.partition("=")
    if not equals or not kind.strip():
        return None
    unescaped = _unescape(value)
    return None if unescaped is None else (kind.strip().lower(), _SPACES.sub(" ", unescaped.casefold()))


def _split(text: str, separators: str) -> list[str]:
    """At the separators that are not escaped."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] in separators:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _unescape(value: str) -> Optional[str]:
    """Without escapes and outer spaces; None if an escape is wrong."""
    value = value.lstrip(" ")
    result, position, kept = bytearray(), 0, 0
    while position < len(value):
        if value[position] != "\\":
            result += value[position].encode("utf-8", "surrogatepass")
            position += 1
            kept = len(result) if value[position - 1] != " " else kept
            continue
        pair = value[position + 1 : position + 3]
        if re.fullmatch("[0-9a-fA-F]{2}", pair):
            result.append(int(pair, 16))
            position += 3
        elif pair:
            result += pair[0].encode("utf-8", "surrogatepass")
            position += 2
        else:
            return None
        kept = len(result)
    try:
        return result[:kept].decode("utf-8")
    except UnicodeDecodeError:
        return None


def sid_text(sid: bytes) -> Optional[str]:
    """`S-1-5-...` of a binary SID, None if it is none."""
    if len(sid) < 8 or len(sid) != 8 + 4 * sid[1]:
        return None
    parts = struct.unpack(f"<{sid[1]}I", sid[8:])
    return "-".join(map(str, ("S", sid[0], int.from_bytes(sid[2:8], "big"), *parts)))


def sid_bytes(text: str) -> Optional[bytes]:
    """The binary SID, None if the text is none."""
    found = _SID.fullmatch(text.strip())
    if not found:
        return None
    authority, parts = int(found[1]), [int(part) for part in found[2].split("-")[1:]]
    if authority >= 1 << 48 or any(part >= 1 << 32 for part in parts):
        return None
    return struct.pack(f"<BB6s{len(parts)}I", 1, len(parts), authority.to_bytes(6, "big"), *parts)


def filter_bytes(value: bytes) -> str:
    """A binary value for a search filter."""
    return "".join(f"\\{octet:02x}" for octet in value)
