"""What st2-auth-ldap does at a login, with python-ldap.

A fresh connection and service bind, the user's search, the groups' search unless they are cached, a second fresh
connection and the user's bind. Certificates are verified here, for fairness.
"""

from __future__ import annotations

from typing import Any

from lab.errors import LabError


class Incumbent:
    """Its group cache is always warm after the first login."""

    def __init__(self, host: str, ca_file: str, bind_dn: str, password: str, base: str) -> None:
        try:
            import ldap
            import ldap.filter
        except ImportError:
            raise LabError(
                "python-ldap is missing: apt-get install libldap2-dev libsasl2-dev, pip install it"
            ) from None
        self._ldap: Any = ldap
        self._url, self._ca_file = f"ldaps://{host}:636", ca_file
        self._service = (bind_dn, password)
        self._base = base
        self._groups: dict[str, set[str]] = {}

    def login(self, username: str, password: str, group: str) -> None:
        """Raises unless the user gets in."""
        escape = self._ldap.filter.escape_filter_chars
        connection = self._connect()
        try:
            connection.simple_bind_s(*self._service)
            query = f"sAMAccountName={escape(username)}"
            found = connection.search_s(self._base, self._ldap.SCOPE_SUBTREE, query, [])
            (dn,) = [each[0] for each in found if each[0]]
            if username not in self._groups:
                value = escape(dn)
                query = f"(|(&(objectClass=*)(|(member={value})(uniqueMember={value})(memberUid={escape(username)}))))"
                groups = connection.search_s(self._base, self._ldap.SCOPE_SUBTREE, query, [])
                self._groups[username] = {each[0].lower() for each in groups if each[0]}
            if group.lower() not in self._groups[username]:
                raise LabError(f"{username} is not in {group}")
        finally:
            connection.unbind_s()
        connection = self._connect()
        try:
            connection.simple_bind_s(dn, password)
        finally:
            connection.unbind_s()

    def _connect(self) -> Any:
        connection = self._ldap.initialize(self._url)
        connection.set_option(self._ldap.OPT_PROTOCOL_VERSION, 3)
        connection.set_option(self._ldap.OPT_REFERRALS, 0)
        connection.set_option(self._ldap.OPT_NETWORK_TIMEOUT, 10.0)
        connection.set_option(self._ldap.OPT_X_TLS_CACERTFILE, self._ca_file)
        connection.set_option(self._ldap.OPT_X_TLS_REQUIRE_CERT, self._ldap.OPT_X_TLS_DEMAND)
        connection.set_option(self._ldap.OPT_X_TLS_NEWCTX, 0)
        return connection
