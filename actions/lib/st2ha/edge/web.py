"""One HTTP request on a connection of its own: an old connection belongs to an old worker and tells of the past."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass
from typing import Optional

from st2ha.config import Host
from st2ha.edge.content import Reply
from st2ha.probe import Attempt, Silence, Unanswered, connect

BODY_LIMIT = 65536


@dataclass(frozen=True)
class Question:
    """What to ask where; `about` is the asker's own name for it. `host_name` is what TLS and the Host header say."""

    about: tuple[str, ...]
    address: str
    port: int
    path: str
    method: str = "GET"
    host_name: Optional[str] = None
    tls: bool = False


def ask(question: Question, attempt: Attempt, context: Optional[ssl.SSLContext] = None) -> Reply:
    """The answer, of an endless one the beginning. Raises Unanswered or ssl.SSLError."""
    connection = connect(Host(question.address.strip("[]"), question.port), attempt)
    name = question.host_name or question.address
    talk = http.client.HTTPConnection(name, timeout=attempt.left_s())
    attempt.afterwards(talk.close)
    talk.sock = connection
    connection.settimeout(attempt.left_s())
    until: Optional[float] = None
    if question.tls and context is not None:
        talk.sock = secured = context.wrap_socket(connection, server_hostname=name)
        certificate = secured.getpeercert() or {}
        until = ssl.cert_time_to_seconds(str(certificate["notAfter"])) if "notAfter" in certificate else None
    try:
        length = {"Content-Length": "0"} if question.method == "POST" else {}
        talk.request(question.method, question.path, headers={"Connection": "close", **length})
        answer = talk.getresponse()
        kind = answer.getheader("Content-Type", "")
        body = (answer.read1 if kind.startswith("text/event-stream") else answer.read)(BODY_LIMIT)
    except http.client.HTTPException as error:
        raise Unanswered(Silence.BROKEN, f"no HTTP from {question.address}: {type(error).__name__}") from None
    return Reply(answer.status, kind, body, answer.getheader("X-St2ha-Upstream", ""), until)
