"""`backend_kwargs` -> Settings, or Misconfigured with every problem at once, named without values."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from ldap3.core.exceptions import LDAPExceptionError
from ldap3.operation.search import compile_filter, parse_filter

from st2auth_ldap3.errors import Misconfigured
from st2auth_ldap3.names import Dn, escape_dn, escape_filter, parse_dn
from st2auth_ldap3.options import Server, convert
from st2auth_ldap3.secret import Secret

LDAPS_PORT, STARTTLS_PORT = 636, 389
PLACE = re.compile(r"\{(username|user_dn)\}")
_COMPARED = re.compile(r"([A-Za-z][\w;-]*)=\{username\}")
_CLIENT_TIMEOUTS, _CLIENT_CA_FILE = ("20482", "20485"), "24578"
"""python-ldap's OPT_TIMEOUT, OPT_NETWORK_TIMEOUT and OPT_X_TLS_CACERTFILE; no other has a meaning here."""


class Format(enum.Enum):
    """What users type."""

    ACCOUNT = "account"
    UPN = "upn"
    DOMAIN = "domain"


@dataclass(frozen=True)
class Settings:
    """All that the backend needs to know. `servers` is empty with `srv_domain`. `security` is for every password."""

    servers: tuple[Server, ...]
    starttls: bool
    default_port: int
    ca_file: Optional[str]
    base: str
    group_base: str
    scope: int
    format: Format
    domain: Optional[str]
    id_attr: Optional[str]
    account_pattern: Optional[str]
    group_pattern: Optional[str]
    bind_dn: Optional[str]
    bind_password: Secret = field(repr=False)
    user_bind_pattern: Optional[str]
    required: tuple[str, ...]
    require_all: bool
    denied: tuple[str, ...]
    optional: tuple[str, ...]
    connect_s: float
    operation_s: float
    login_s: float
    srv_domain: Optional[str]
    srv_site: Optional[str]
    dns_server: Optional[Server]
    plaintext_searches: bool
    debug: bool
    remarks: tuple[str, ...] = ()

    @property
    def canonical_attribute(self) -> Optional[str]:
        """The attribute whose spelling is the user's name; None: the flavour's own."""
        if self.format is Format.UPN:
            return "userPrincipalName"
        if self.id_attr or not self.account_pattern:
            return self.id_attr
        return str(_COMPARED.findall(self.account_pattern)[0])


def parse(given: Mapping[str, Any]) -> Settings:
    """Raises Misconfigured with all problems."""
    values, problems = convert(given)
    if not problems:
        problems = [*_server_problems(values), *_account_problems(values), *_group_problems(values)]
    if problems:
        raise Misconfigured(problems)
    remarks: list[str] = []
    starttls = _starttls(values, remarks)
    ca_file, operation_s = _client_options(values, remarks)
    remarks += _without_effect(given, values)
    return Settings(
        servers=values["host"],
        starttls=starttls,
        default_port=values["port"] or (STARTTLS_PORT if starttls else LDAPS_PORT),
        ca_file=ca_file,
        base=values["base_ou"],
        group_base=values["base_ou_group"] or values["base_ou"],
        scope=values["scope"],
        format=Format(values["username_format"]),
        domain=values["domain"],
        id_attr=values["id_attr"],
        account_pattern=in_parentheses(values["account_pattern"]),
        group_pattern=in_parentheses(values["group_pattern"]),
        bind_dn=values["bind_dn"],
        bind_password=Secret(file=file) if (file := values["bind_password_file"]) else values["bind_password"],
        user_bind_pattern=values["user_bind_pattern"],
        required=values["group_dns"],
        require_all=values["group_dns_check"] == "and",
        denied=values["denied_group_dns"],
        optional=values["optional_group_dns"],
        connect_s=min(values["connect_timeout"], operation_s),
        operation_s=operation_s,
        login_s=values["login_timeout"],
        srv_domain=values["srv_domain"],
        srv_site=values["srv_site"],
        dns_server=values["dns_server"][0] if values["dns_server"] else None,
        plaintext_searches=values["insecure_plaintext_searches"],
        debug=values["debug"],
        remarks=tuple(remarks),
    )


def fill_filter(pattern: str, **values: str) -> str:
    """A pattern with its places filled, escaped for a search filter."""
    return PLACE.sub(lambda found: escape_filter(values[found[1]]), pattern)


def fill_dn(pattern: str, username: str) -> str:
    """A pattern of a bind name with the user filled in, escaped if the pattern is a DN."""
    is_dn = parse_dn(pattern) is not None
    return PLACE.sub(lambda found: escape_dn(username) if is_dn else username, pattern)


def in_parentheses(pattern: Optional[str]) -> Optional[str]:
    """python-ldap takes a filter without its outer parentheses, too."""
    return pattern if not pattern or pattern.startswith("(") else f"({pattern})"


def configured_dn(group: str) -> Optional[Dn]:
    """A configured group for comparing."""
    return parse_dn(group)


def _server_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if bool(values["host"]) == bool(values["srv_domain"]):
        problems.append("one of host and srv_domain must be given")
    if values["srv_site"] and not values["srv_domain"]:
        problems.append("srv_site needs srv_domain")
    if values["use_ssl"] and values["use_tls"]:
        problems.append("use_ssl and use_tls exclude each other")
    if values["cacert"] and not os.path.isfile(values["cacert"]):
        problems.append("cacert names no file")
    return problems


def _account_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    ways = [name for name in ("bind_dn", "user_bind_pattern", "anonymous_search") if values[name]]
    if len(ways) != 1:
        problems.append("exactly one of bind_dn, user_bind_pattern and anonymous_search must be given")
    passwords = [name for name in ("bind_password", "bind_password_file") if values[name]]
    if values["bind_dn"] and len(passwords) != 1:
        problems.append("bind_dn needs exactly one of bind_password and bind_password_file")
    if values["insecure_plaintext_searches"] and not values["anonymous_search"]:
        problems.append("insecure_plaintext_searches needs anonymous_search: a password is never sent in the clear")
    if not values["base_ou"]:
        problems.append("base_ou must be given")
    elif parse_dn(values["base_ou"]) is None:
        problems.append("base_ou is no DN")
    if values["username_format"] == "domain" and not values["domain"]:
        problems.append("username_format domain needs domain (the NetBIOS name)")
    for name, place in (("account_pattern", "{username}"), ("group_pattern", "{"), ("user_bind_pattern", "{username}")):
        if values[name] and (
            place not in values[name] or (name != "user_bind_pattern" and not _is_filter(values[name]))
        ):
            problems.append(f"{name} is no pattern with its place to fill in")
    if values["account_pattern"] and not values["id_attr"] and not _COMPARED.findall(values["account_pattern"]):
        problems.append("account_pattern compares no attribute with {username}: id_attr must be given")
    return problems


def _group_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if bool(values["group_dns"]) == values["allow_any_user"]:
        problems.append("group_dns must be given, or else allow_any_user")
    for name in ("group_dns", "denied_group_dns", "optional_group_dns"):
        if any(configured_dn(group) is None and not group.upper().startswith("S-1-") for group in values[name]):
            problems.append(f"{name} holds what is no DN, RDN or SID")
    return problems


def _is_filter(pattern: str) -> bool:
    try:
        compile_filter(
            parse_filter(PLACE.sub("x", in_parentheses(pattern) or ""), None, False, False, None, False).elements[0]
        )
    except (LDAPExceptionError, IndexError, ValueError):
        return False
    return True


def _starttls(values: Mapping[str, Any], remarks: list[str]) -> bool:
    if values["use_ssl"] or values["use_tls"]:
        return bool(values["use_tls"])
    if values["port"] in (0, LDAPS_PORT):
        return False
    remarks.append("use_ssl and use_tls are off: StartTLS is used all the same, no password goes in the clear")
    return True


def _client_options(values: Mapping[str, Any], remarks: list[str]) -> tuple[Optional[str], float]:
    """The CA file and the operations' timeout with what python-ldap's options say about them."""
    given = values["client_options"] if isinstance(values["client_options"], dict) else {}
    ca_file, operation_s = values["cacert"], values["network_timeout"]
    for name, value in given.items():
        if str(name) in _CLIENT_TIMEOUTS and isinstance(value, (int, float)) and value > 0:
            operation_s = min(operation_s, float(value))
        elif str(name) == _CLIENT_CA_FILE and isinstance(value, str):
            ca_file = ca_file or value
        else:
            remarks.append(f"client_options {str(name)[:20]!r} has no effect; certificates are always verified")
    return ca_file, operation_s


def _without_effect(given: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    remarks = []
    if values["chase_referrals"]:
        remarks.append("chase_referrals has no effect: a referral is never followed")
    if any(name.startswith("cache_user_groups") for name in given):
        remarks.append("cache_user_groups options have no effect: membership is read at each login")
    return remarks
