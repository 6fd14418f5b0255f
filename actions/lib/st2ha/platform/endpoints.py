"""Ask api, auth and stream where they answer, and tell the service from what nginx says in its place.

StackStorm's nginx answers for a service that is dead: 503 with JSON for st2api and st2auth, and for st2stream **200**
and `retry: 1000` (conf/nginx/st2.conf). So the content decides, never the status alone. Nobody is signed in.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Optional, Union

from st2ha.platform.facts import Answer, Sick
from st2ha.platform.settings import Stackstorm, Url
from st2ha.probe import Attempt, Silence, Unanswered, connect

LARGEST = 65_536
STREAM_BEGINS = 16
"""st2stream sends a line end at once; what nginx says in its place begins with `retry:`."""
DATE_STEP_S = 1.0
"""A Date header tells whole seconds, rounded down."""


class Reply(NamedTuple):
    """What came: `began` and `ended` are epoch seconds here, `latency_s` is monotonic."""

    status: int
    headers: dict[str, str]
    body: bytes
    began: float
    ended: float
    latency_s: float


def ask(service: str, url: Url, settings: Stackstorm, attempt: Attempt) -> Union[Answer, Sick]:
    """How a service answers at `url`. Raises Unanswered or ssl.SSLError where nobody does."""
    method, path, login, read = REQUESTS[service]
    headers = {"Accept": "*/*", "Connection": "close", **(settings.login() if login else {})}
    reply = _request(url, method, f"{url.path}{path}", headers, settings.ca_file, attempt, service == "stream")
    answer: Union[Answer, Sick] = read(reply)
    return answer


def _request(
    url: Url, method: str, path: str, headers: dict[str, str], ca_file: Optional[str], attempt: Attempt, stream: bool
) -> Reply:
    started, began = time.monotonic(), time.time()
    sock = _open(url, attempt, ca_file)
    attempt.afterwards(sock.close)
    connection = http.client.HTTPConnection(str(url.host), timeout=attempt.left_s())
    connection.sock = sock
    with contextlib.closing(connection):
        try:
            connection.request(method, path, "{}" if method == "POST" else None, headers)
            sock.settimeout(attempt.left_s())
            response = connection.getresponse()
            ended = time.time()
            streams = stream and response.status == 200
            body = response.read1(STREAM_BEGINS) if streams else response.read(LARGEST)
        except http.client.HTTPException as error:
            raise Unanswered(Silence.BROKEN, f"answers no proper HTTP ({type(error).__name__})") from None
        except socket.timeout:
            raise Unanswered(Silence.HUNG, f"accepts connections, no answer within {attempt.timeout_s:g} s") from None
        names = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, names, body, began, ended, time.monotonic() - started)


def _open(url: Url, attempt: Attempt, ca_file: Optional[str]) -> socket.socket:
    """A connection; certificates are always verified, by name."""
    connection = connect(url.host, attempt)
    connection.settimeout(attempt.left_s())
    if not url.secure:
        return connection
    try:
        return ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=url.host.name)
    except BaseException:
        connection.close()
        raise


def read_api(reply: Reply) -> Union[Answer, Sick]:
    """200 with the version, or a refusal in st2api's own words."""
    body = _json(reply)
    if reply.status == 200 and body.get("version"):
        return _answer(reply, str(body["version"]))
    return _answer(reply) if _refuses(reply, body) else _sick(reply, body, "st2api")


def read_auth(reply: Reply) -> Union[Answer, Sick]:
    """A request for a token without a login is refused by st2auth: that shows that it works."""
    body = _json(reply)
    return _answer(reply) if _refuses(reply, body) else _sick(reply, body, "st2auth")


def read_stream(reply: Reply) -> Union[Answer, Sick]:
    """An event stream that does not begin with nginx' `retry:`, or a refusal in st2stream's own words."""
    if reply.status == 200 and reply.headers.get("content-type", "").startswith("text/event-stream"):
        if reply.body.lstrip().startswith(b"retry:"):
            return Sick("200 and `retry: 1000`, which nginx says when st2stream does not answer it")
        return _answer(reply)
    body = _json(reply)
    return _answer(reply) if _refuses(reply, body) else _sick(reply, body, "st2stream")


REQUESTS: dict[str, tuple[str, str, bool, Any]] = {
    "api": ("GET", "/", True, read_api),
    "auth": ("POST", "/tokens", False, read_auth),
    "stream": ("GET", "/stream", True, read_stream),
}
"""Service -> method, path, whether we say who we are, and how the reply is read."""


def _json(reply: Reply) -> dict[str, Any]:
    try:
        body = json.loads(reply.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _refuses(reply: Reply, body: dict[str, Any]) -> bool:
    return reply.status in (401, 403) and isinstance(body.get("faultstring"), str)


def _sick(reply: Reply, body: dict[str, Any], program: str) -> Sick:
    said = body.get("faultstring")
    words = f": {' '.join(said.split())[:160]}" if isinstance(said, str) else ", not as " + program + " answers"
    return Sick(f"HTTP {reply.status}{words}")


def _answer(reply: Reply, version: Optional[str] = None) -> Answer:
    """Its Date was written between our asking and its answer: so far its clock may be from ours, and no farther."""
    try:
        date = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return Answer(reply.latency_s, version)
    return Answer(reply.latency_s, version, date - reply.ended, date + DATE_STEP_S - reply.began)
