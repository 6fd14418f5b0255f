"""A small HTTP server that plays StackStorm's recorded answers (tests/facts/stackstorm), and misbehaves on demand.

What was not recorded, and how lists take `limit` and `offset`, is after StackStorm's source: openapi.yaml knows no
`offset` for rules and sensors and ignores it, only administrators may say `limit=-1`, a filter is ignored where
openapi.yaml does not name it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

RECORDINGS = Path(__file__).parent / "facts" / "stackstorm"
WITHOUT_OFFSET = ("/v1/rules", "/v1/sensortypes")
FILES = {"/": "version", "/v1/triggerinstances": "triggerinstances", "/v1/rules": "rules"}
GROUPS = "/v1/service_registry/groups/"
FILES[GROUPS[:-1]] = "service_registry_groups"


def recorded(case: str, name: str) -> dict[str, Any]:
    """One recorded answer: request, status, headers, body."""
    answer: dict[str, Any] = json.loads((RECORDINGS / case / f"{name}.json").read_text())
    return answer


@dataclass
class Replay:
    """What the server plays; `trouble` is hung, trickle, html, broken or nothing.

    `answers`: path, or path?status=..., to the rows or the body that are played in place of the recorded ones; a number
    is a status code. `admin` tells whose API key it is.
    """

    case: str = "hash"
    api_key: str = "key-of-the-test"
    sensors: list[dict[str, Any]] | None = None
    trouble: str = ""
    admin: bool = True
    delay_s: float = 0.0
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, api_key: str | None) -> dict[str, Any]:
        self.asked.append(path)
        if api_key != self.api_key:
            return recorded(self.case, "unauthorized")
        parts = urlsplit(path)
        if parts.path.startswith("/v1/keys/"):
            return self._key(unquote(parts.path[len("/v1/keys/") :]))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        body = self._body(parts.path, query)
        if isinstance(body, int):
            return {"status": body, "headers": {}, "body": {"faultstring": f"the test says {body}"}}
        return self._listed(parts.path, query, body) if isinstance(body, list) else answered(body)

    def _body(self, path: str, query: dict[str, str]) -> Any:
        status = query.get("status")
        if f"{path}?status={status}" in self.answers:
            return self.answers[f"{path}?status={status}"]
        if path in self.answers:
            return self.answers[path]
        if path == "/v1/sensortypes":
            return recorded(self.case, "sensortypes")["body"] if self.sensors is None else self.sensors
        if path == "/v1/executions":
            return recorded(self.case, "executions_running")["body"]
        if path.startswith(GROUPS):
            group = path[len(GROUPS) :].split("/")[0]
            return recorded(self.case, f"service_registry_members_{group}")["body"]
        if path in ("/v1/actions", "/v1/triggertypes"):
            rules = [row for row in recorded(self.case, "rules")["body"]]
            used = {row["action"]["ref"] if path == "/v1/actions" else row["trigger"]["type"] for row in rules}
            return [{"id": ref, "ref": ref} for ref in sorted(used)]
        return recorded(self.case, FILES[path])["body"] if path in FILES else 404

    def _listed(self, path: str, query: dict[str, str], rows: list[Any]) -> dict[str, Any]:
        limit, offset = int(query.get("limit", 100)), int(query.get("offset", 0))
        if not self.admin and (limit == -1 or limit > 100):
            return {"status": 403, "headers": {}, "body": {"faultstring": "Administrator access required"}}
        first = 0 if path in WITHOUT_OFFSET else offset
        page = rows[first:] if limit == -1 else rows[first : first + limit]
        return answered(page, {"X-Total-Count": str(len(rows)), **({} if limit == -1 else {"X-Limit": str(limit)})})

    def _key(self, name: str) -> dict[str, Any]:
        """GET of one key answers with the row that the list has (st2api/controllers/v1/keyvalue.py)."""
        listed = recorded(self.case, "keys")
        found = [row for row in listed["body"] if row["name"] == name]
        return {**listed, "body": found[0]} if found else recorded(self.case, "key_missing")


def answered(body: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
    return {"status": 200, "headers": {"Content-Type": "application/json", **(headers or {})}, "body": body}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5 a burst of connections waits a second for TCP to try again


@contextmanager
def replaying(replay: Replay) -> Iterator[Replay]:
    """The server on a port of its own; `replay.url` is its address."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if replay.trouble == "hung":
                done.wait(30)
                return
            time.sleep(replay.delay_s)
            answer = replay.answer(self.path, self.headers.get("St2-Api-Key"))
            body = b"<html>" if replay.trouble == "html" else json.dumps(answer["body"]).encode()
            self.send_response(answer["status"])
            for name, value in answer["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) + (replay.trouble == "broken")))
            self.end_headers()
            for place in range(0, len(body), 1 if replay.trouble == "trickle" else len(body)):
                self.wfile.write(body[place : place + (1 if replay.trouble == "trickle" else len(body))])
                if replay.trouble == "trickle" and done.wait(0.05):
                    return

        def log_message(self, *_: Any) -> None:
            """Nothing to the terminal."""

    server = Server(("127.0.0.1", 0), Handler)
    replay.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield replay
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join(time.monotonic() + 1)
