"""The one TLS context of a backend: always verified, by name or IP address; a changed CA file is read again."""

from __future__ import annotations

import logging
import os
import ssl
from typing import Optional

from st2auth_ldap3.errors import Misconfigured

LOG = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


class Trust:
    """Gives a context. Building one per connection would cost 21 ms with the system's store."""

    def __init__(self, ca_file: Optional[str]) -> None:
        self._ca_file = ca_file
        self._stamp: Optional[Stamp] = None
        self._context: Optional[ssl.SSLContext] = None

    def context(self) -> ssl.SSLContext:
        """The context of the CA file as it is now. While a new file is unreadable the last good one holds.

        Raises Misconfigured if there was no good one yet.
        """
        stamp = _stamp(self._ca_file)
        if self._context is None or stamp != self._stamp:
            try:
                self._context = _build(self._ca_file)
            except (OSError, ssl.SSLError):
                if self._context is None:
                    raise Misconfigured(["cacert is missing, unreadable or holds no certificate"]) from None
                LOG.error("the CA file (cacert) has changed and cannot be used: the one read before stays in force")
            self._stamp = stamp
        return self._context


def _stamp(path: Optional[str]) -> Optional[Stamp]:
    try:
        status = os.stat(path) if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino) if status else None


def _build(ca_file: Optional[str]) -> ssl.SSLContext:
    """PROTOCOL_TLS_CLIENT verifies chain and name. It has no VERIFY_X509_STRICT, which Python 3.13's default context
    adds and which refuses many internal authorities: the same certificates are good on 3.9 and on 3.13."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context
