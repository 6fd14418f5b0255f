"""The options of `backend_kwargs`: their names, and how a JSON value becomes ours. Values never get into a message."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, Callable, Optional

from st2auth_ldap3.link import BASE, ONE, SUBTREE
from st2auth_ldap3.secret import Secret

SCOPES = {"base": BASE, "onelevel": ONE, "subtree": SUBTREE}
SERVER = re.compile(r"\[?([0-9A-Za-z._-]+|[0-9A-Fa-f:.]+)\]?(?::(\d{1,5}))?")
Server = tuple[str, int]
"""Host and port; port 0 is the default one."""


def text(value: Any) -> Optional[str]:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError("must be text")
    return value


def flag(value: Any) -> bool:
    """JSON's booleans, and the words for them: `"false"` is not true."""
    words = {"true": True, "false": False, "yes": True, "no": False, "": False}
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("must be true or false")


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts; one text is a list of one."""
    values = [value] if isinstance(value, str) else value or []
    if not isinstance(values, (list, tuple)) or not all(isinstance(each, str) and each.strip() for each in values):
        raise ValueError("must be a list of texts")
    return tuple(values)


def seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("must be a number of seconds")
    number = float(value)
    if not 0.05 <= number <= 600:
        raise ValueError("must be between 0.05 and 600 seconds")
    return number


def port(value: Any) -> int:
    """0 is "not given"."""
    number = 0 if value is None or value == "" else int(value)
    if isinstance(value, bool) or not 0 <= number <= 65535:
        raise ValueError("must be a port number")
    return number


def servers(value: Any) -> tuple[Server, ...]:
    """Names or addresses, with or without ports: a list, or separated by commas."""
    found = []
    for each in texts(value.split(",") if isinstance(value, str) else value):
        literal = each.strip()
        if literal.count(":") > 1 and not literal.startswith("["):
            literal = f"[{literal}]"  # a bare IPv6 address
        match = SERVER.fullmatch(literal)
        if not match or int(match[2] or 0) > 65535:
            raise ValueError("must be host names or addresses, with or without :port")
        found.append((match[1], int(match[2] or 0)))
    return tuple(found)


def one_of(*words: str) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return str(value)

    return convert


def scope(value: Any) -> int:
    return SCOPES[one_of(*SCOPES)(value)]


def secret(value: Any) -> Secret:
    return Secret(text(value))


def anything(value: Any) -> Any:
    return value


OPTIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    # those of st2-auth-ldap
    "bind_dn": (text, None),
    "bind_password": (secret, None),
    "base_ou": (text, None),
    "base_ou_group": (text, None),
    "group_dns": (texts, None),
    "group_dns_check": (one_of("and", "or"), "and"),
    "host": (servers, None),
    "port": (port, None),
    "scope": (scope, "subtree"),
    "id_attr": (text, None),
    "account_pattern": (text, None),
    "group_pattern": (text, None),
    "use_ssl": (flag, False),
    "use_tls": (flag, False),
    "cacert": (text, None),
    "network_timeout": (seconds, 10.0),
    "chase_referrals": (flag, False),
    "debug": (flag, False),
    "client_options": (anything, None),
    "cache_user_groups_response": (flag, True),
    "cache_user_groups_cache_ttl": (anything, 120),
    "cache_user_groups_cache_max_size": (anything, 100),
    "cache_user_groups_ttl": (anything, 120),  # so its README spells the one above
    # ours
    "bind_password_file": (text, None),
    "user_bind_pattern": (text, None),
    "anonymous_search": (flag, False),
    "username_format": (one_of("account", "upn", "domain"), "account"),
    "domain": (text, None),
    "denied_group_dns": (texts, None),
    "optional_group_dns": (texts, None),
    "allow_any_user": (flag, False),
    "connect_timeout": (seconds, 3.0),
    "login_timeout": (seconds, 20.0),
    "srv_domain": (text, None),
    "srv_site": (text, None),
    "dns_server": (servers, None),
    "insecure_plaintext_searches": (flag, False),
}
"""Option -> (converter, default)."""


def convert(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """All options with their values, and what is wrong with them."""
    problems = [_unknown(name) for name in given if name not in OPTIONS]
    values: dict[str, Any] = {}
    for name, (converter, default) in OPTIONS.items():
        value = given.get(name)
        try:
            values[name] = converter(default if value is None else value)
        except (ValueError, TypeError, OverflowError) as error:
            known = isinstance(error, ValueError) and str(error).startswith("must be")
            problems.append(f"{name} {error if known else 'has a wrong value'}")  # int() repeats what it was given
            values[name] = None
    return values, problems


def _unknown(name: str) -> str:
    """An option misspelled is not ignored: it may be the one that denies."""
    like = difflib.get_close_matches(str(name), OPTIONS, 1)
    return f"there is no option {str(name)[:60]!r}" + (f": is {like[0]} meant?" if like else "")
