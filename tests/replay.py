"""A small HTTP server that plays StackStorm's recorded answers (tests/facts/stackstorm), and misbehaves on demand."""

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


def recorded(case: str, name: str) -> dict[str, Any]:
    """One recorded answer: request, status, headers, body."""
    answer: dict[str, Any] = json.loads((RECORDINGS / case / f"{name}.json").read_text())
    return answer


@dataclass
class Replay:
    """What the server plays; `trouble` is hung, trickle, html, broken or nothing."""

    case: str = "hash"
    api_key: str = "key-of-the-test"
    sensors: list[dict[str, Any]] | None = None
    trouble: str = ""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, api_key: str | None) -> dict[str, Any]:
        self.asked.append(path)
        if api_key != self.api_key:
            return recorded(self.case, "unauthorized")
        parts = urlsplit(path)
        if parts.path == "/v1/sensortypes":
            return self._sensors(parse_qs(parts.query))
        if parts.path.startswith("/v1/keys/"):
            return self._key(unquote(parts.path[len("/v1/keys/") :]))
        return {"status": 404, "headers": {}, "body": {"faultstring": "The resource could not be found."}}

    def _sensors(self, query: dict[str, list[str]]) -> dict[str, Any]:
        answer = recorded(self.case, "sensortypes")
        rows = answer["body"] if self.sensors is None else self.sensors
        offset, limit = int(query.get("offset", ["0"])[0]), int(query["limit"][0])
        answer["headers"].update({"X-Total-Count": str(len(rows)), "X-Limit": str(limit)})
        return {**answer, "body": rows[offset : offset + limit]}

    def _key(self, name: str) -> dict[str, Any]:
        """GET of one key answers with the row that the list has (st2api/controllers/v1/keyvalue.py)."""
        listed = recorded(self.case, "keys")
        found = [row for row in listed["body"] if row["name"] == name]
        return {**listed, "body": found[0]} if found else recorded(self.case, "key_missing")


@contextmanager
def replaying(replay: Replay) -> Iterator[Replay]:
    """The server on a port of its own; `replay.url` is its address."""
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if replay.trouble == "hung":
                done.wait(30)
                return
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
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
