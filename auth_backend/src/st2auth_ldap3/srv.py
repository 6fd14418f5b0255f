"""The servers as DNS names them (SRV records), with the site's own first; or as the settings list them."""

from __future__ import annotations

import ipaddress
import logging
import random
import time
from collections.abc import Iterable
from typing import Any

from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import Unavailable
from st2auth_ldap3.options import Server
from st2auth_ldap3.settings import Settings

LOG = logging.getLogger(__name__)
SHORTEST_S, LONGEST_S = 30.0, 3600.0


class Names:
    """Host and port (0: the default) of each server, in the order of asking."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: list[Server] = list(settings.servers)
        self._until = 0.0

    def __call__(self, deadline: Deadline) -> list[Server]:
        """Raises Unavailable if DNS never told any. Once it did, its last answer holds while it is silent."""
        if self._settings.srv_domain and time.monotonic() >= self._until:
            try:
                self._known, ttl = self._ask(self._settings.srv_domain, deadline)
                self._until = time.monotonic() + min(LONGEST_S, max(SHORTEST_S, ttl))
            except Unavailable as error:
                if not self._known:
                    raise
                LOG.warning("%s: the servers known before are used", error)
                self._until = time.monotonic() + SHORTEST_S
        return self._known

    def _ask(self, domain: str, deadline: Deadline) -> tuple[list[Server], float]:
        site = self._settings.srv_site
        found: list[Server] = []
        ttl = LONGEST_S
        for name in [f"_ldap._tcp.{site}._sites.dc._msdcs.{domain}"] * bool(site) + [
            f"_ldap._tcp.dc._msdcs.{domain}",
            f"_ldap._tcp.{domain}",
        ]:
            answer = self._query(name, deadline)
            if answer is None:
                continue
            ttl = min(ttl, float(answer.rrset.ttl))
            found += [each for each in self._servers(answer, domain) if each not in found]
            if not name.startswith(f"_ldap._tcp.{site}._sites"):
                break
        if not found:
            raise Unavailable(f"DNS names no LDAP server for {domain}")
        return found, ttl

    def _query(self, name: str, deadline: Deadline) -> Any:
        """The answer, None if there is none such. dnspython is loaded where it is needed only."""
        import dns.exception
        import dns.resolver

        resolver = dns.resolver.Resolver(configure=self._settings.dns_server is None)
        if self._settings.dns_server is not None:
            host, resolver.port = self._settings.dns_server[0], self._settings.dns_server[1] or 53
            resolver.nameservers = [str(ipaddress.ip_address(host))]
        try:
            return resolver.resolve(
                name, "SRV", lifetime=min(self._settings.connect_s, deadline.left_s()), search=False
            )
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise Unavailable(f"DNS does not answer ({type(error).__name__})") from None

    def _servers(self, answer: Iterable[Any], domain: str) -> list[Server]:
        """By priority, and by chance within one, as the weights have it.

        DNS is not trusted: a name outside of the domain could have a certificate of its own, and is left out. The port
        of the records is that of LDAP without TLS: it serves StartTLS only.
        """
        kept = []
        for record in sorted(answer, key=lambda each: (each.priority, -(each.weight + 1) * random.random())):
            host = record.target.to_text(omit_final_dot=True).lower()
            if host == domain.lower() or host.endswith("." + domain.lower()):
                kept.append((host, record.port if self._settings.starttls else 0))
            else:
                LOG.warning("DNS names %r, which is not in %r: left out", host, domain)
        return kept
