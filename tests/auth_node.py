"""A node's st2auth for tests: POST /tokens as StandaloneAuthHandler answers it, with a real backend behind it.

Where StackStorm itself cannot run. 201 with a token (its life at most `token_ttl`), 401, 400 for a life that is too
long, 500 where the backend raises; and the disguises of a node that is ill.
"""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, Optional
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

TOKEN_TTL_S = 86_400


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


class AuthNode:
    """st2auth at `url`. `status` makes it answer that to everything, `delay_s` late, `renames` with another user."""

    def __init__(self, backend: Any, pem: Optional[Path] = None, host: str = "127.0.0.1") -> None:
        self.backend = backend
        self.tokens: list[dict[str, Any]] = []
        self.status = ""
        self.delay_s = 0.0
        self.renames = ""
        self._server = make_server(host, 0, self._answer, server_class=_Server, handler_class=_Handler)
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if pem else ''}://{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        time.sleep(self.delay_s)
        status, answer = (self.status, {}) if self.status else self._handle(environ, body)
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]

    def _handle(self, environ: dict[str, Any], body: bytes) -> tuple[str, dict[str, Any]]:
        if environ["PATH_INFO"] not in ("/tokens", "/v1/tokens") or environ["REQUEST_METHOD"] != "POST":
            return "404 Not Found", {"faultstring": "no route"}
        kind, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if kind.lower() != "basic":
            return "401 Unauthorized", {"faultstring": "Invalid or missing credentials"}
        username, _, password = base64.b64decode(value).decode().partition(":")
        ttl = json.loads(body or b"{}").get("ttl") or TOKEN_TTL_S
        try:
            if self.backend.authenticate(username=username, password=password) is not True:
                return "401 Unauthorized", {"faultstring": "Invalid or missing credentials"}
        except Exception:  # noqa: BLE001 - as its middleware does
            return "500 Internal Server Error", {"faultstring": "Internal Server Error"}
        if not 1 <= ttl <= TOKEN_TTL_S:
            return "400 Bad Request", {"faultstring": "TTL"}
        expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=ttl)
        token = {"user": self.renames or username, "token": uuid.uuid4().hex, "expiry": expiry.isoformat()}
        self.tokens.append(token)
        return "201 Created", token
