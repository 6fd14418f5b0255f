"""A request for a token, as `st2 auth` makes it, within one deadline.

StackStorm has no call that takes a token back. So the shortest life there is is asked for, one second; StackStorm's
garbage collector removes the record. The token is looked at here and kept nowhere.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import time
from typing import Any, Optional

from st2ha.auth.facts import CREATED, Answer
from st2ha.auth.settings import Url
from st2ha.probe import Attempt, Silence, Unanswered, connect

TTL_S = 1
LARGEST = 65536


def request_token(
    url: Url, attempt: Attempt, username: Optional[str], password: Optional[str], ca_file: Optional[str]
) -> Answer:
    """What st2auth says. Without a user nobody is signed in: that it refuses shows that it works.

    Raises Unanswered or ssl.SSLError.
    """
    began = time.monotonic()
    sock, expires_at = _open(url, attempt, ca_file)
    attempt.afterwards(sock.close)
    connection = http.client.HTTPConnection(str(url.host), timeout=attempt.left_s())
    connection.sock = sock
    with contextlib.closing(connection):
        try:
            connection.request("POST", f"{url.path}/tokens", json.dumps({"ttl": TTL_S}), _headers(username, password))
            sock.settimeout(attempt.left_s())
            response = connection.getresponse()
            body = response.read(LARGEST)
        except http.client.HTTPException as error:
            raise Unanswered(Silence.BROKEN, f"answers no proper HTTP ({type(error).__name__})") from None
        except socket.timeout:
            raise Unanswered(Silence.HUNG, f"accepts connections, no answer within {attempt.timeout_s:g} s") from None
    user = _user(body) if response.status == CREATED else None
    if response.status == CREATED and user is None:
        raise Unanswered(Silence.BROKEN, "answers 201 without a token: this is no st2auth")
    return Answer(response.status, time.monotonic() - began, user, expires_at)


def _open(url: Url, attempt: Attempt, ca_file: Optional[str]) -> tuple[socket.socket, Optional[float]]:
    """A connection, and the end of the server's certificate. Certificates are always verified."""
    connection = connect(url.host, attempt)
    connection.settimeout(attempt.left_s())
    if not url.secure:
        return connection, None
    try:
        context = ssl.create_default_context(cafile=ca_file)
        secured = context.wrap_socket(connection, server_hostname=url.host.name)
    except BaseException:
        connection.close()
        raise
    certificate = secured.getpeercert() or {}
    return secured, ssl.cert_time_to_seconds(str(certificate["notAfter"])) if "notAfter" in certificate else None


def _headers(username: Optional[str], password: Optional[str]) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Connection": "close"}
    if username is not None and password is not None:
        login = base64.b64encode(f"{username}:{password}".encode())
        headers["Authorization"] = f"Basic {login.decode('ascii')}"
    return headers


def _user(body: bytes) -> Optional[str]:
    try:
        token: Any = json.loads(body)
    except ValueError:
        return None
    return str(token["user"]) if isinstance(token, dict) and token.get("token") and token.get("user") else None
