"""The first connection to a server: it tells refused, unreachable, hung and bad TLS apart."""

from __future__ import annotations

import contextlib
import ssl
from typing import Optional

from st2ha.config import Host, Tls
from st2ha.probe import Attempt, connect


def reach(host: Host, tls: Tls, attempt: Attempt) -> Optional[float]:
    """Connect, shake hands if TLS is on, and close; the end of the server's certificate (epoch seconds) or None.

    Raises Unanswered or ssl.SSLError. For services that speak TLS from the first byte.
    """
    with contextlib.closing(connect(host, attempt)) as connection:
        if not tls.enabled:
            return None
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate_key_file:
            context.load_cert_chain(tls.certificate_key_file)
        connection.settimeout(attempt.left_s())
        with context.wrap_socket(connection, server_hostname=host.name) as secured:
            certificate = secured.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) if "notAfter" in certificate else None
