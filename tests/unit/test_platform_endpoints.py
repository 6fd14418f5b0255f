"""Whether api, auth and stream answer: by content, on endpoints that are sick, dead, hung, or live in another time."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any, Optional

import pytest

from st2ha.platform.operations import check
from st2ha.report import Finding
from tests.recorded_platform import deployment
from tests.replay import Replay, replaying

JSON = "application/json"
STREAM = "text/event-stream; charset=UTF-8"
REFUSED = json.dumps({"faultstring": "Invalid or missing credentials"})
NGINX = json.dumps({"faultstring": "Nginx is unable to reach it. Make sure service is running."})
VERSION = json.dumps({"version": "3.10dev", "docs_url": ""})
HEALTHY = {"api": (200, JSON, VERSION), "auth": (401, JSON, REFUSED), "stream": (200, STREAM, "\n")}
PATHS = {"/api/": "api", "/auth/v1/tokens": "auth", "/stream/v1/stream": "stream"}
Said = tuple[int, str, str]


class Front(socketserver.ThreadingTCPServer):
    """One node's nginx: `says` by service; None hangs. A stream stays open as st2stream's does."""

    daemon_threads, allow_reuse_address, request_queue_size = True, True, 64

    def __init__(self, says: dict[str, Optional[Said]], ahead_s: float = 0.0) -> None:
        self.says, self.ahead_s, self.over = says, ahead_s, threading.Event()
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(socketserver.StreamRequestHandler):
    server: Front

    def handle(self) -> None:
        words = self.rfile.readline().decode().split()
        headers = "".join(iter(lambda: self.rfile.readline().decode().strip(), ""))
        self.server.asked.append(f"{words[0]} {words[1]} {'St2-Api-Key' in headers}")
        said = self.server.says[PATHS[words[1]]]
        if said is None:
            self.server.over.wait(30)
            return
        status, kind, body = said
        date = formatdate(time.time() + self.server.ahead_s, usegmt=True)
        head = f"HTTP/1.1 {status} x\r\nDate: {date}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n"
        self.wfile.write((head + body).encode())
        self.wfile.flush()
        if body == "\n":
            self.server.over.wait(30)


@contextmanager
def front(ahead_s: float = 0.0, **says: Optional[Said]) -> Iterator[Front]:
    server = Front({**HEALTHY, **says}, ahead_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


def findings(replay: Replay, timeout_s: float = 20.0, **settings: Any) -> tuple[Finding, ...]:
    return check(deployment(replay, settings), timeout_s).findings


def test_healthy_endpoints_are_no_finding_and_nobody_is_signed_in(replay: Replay) -> None:
    with front() as one, front() as vip:
        settings = {"vip": vip.url, "nodes": [{"name": "node1", "hostname": "vm", "url": one.url + "/"}]}
        report = check(deployment(replay, settings))
    assert report.findings == ()
    assert "6 endpoints answer" in report.summary
    assert sorted(one.asked) == ["GET /api/ True", "GET /stream/v1/stream True", "POST /auth/v1/tokens False"]
    assert {(row["at"], row["service"], row["version"]) for row in report.facts["endpoints"]} == {
        (place, service, "3.10dev" if service == "api" else None)
        for place in ("vip", "node1") for service in ("api", "auth", "stream")
    }  # fmt: skip


SICK = [
    ("api", (503, JSON, NGINX), "HTTP 503: Nginx is unable to reach it"),
    ("api", (200, "text/html", "<html>"), "HTTP 200, not as st2api answers"),
    ("api", (200, JSON, "[]"), "HTTP 200, not as st2api answers"),
    ("api", (500, JSON, '{"faultstring": "Internal Server Error"}'), "HTTP 500: Internal Server Error"),
    ("auth", (503, JSON, NGINX), "HTTP 503: Nginx is unable to reach it"),
    ("auth", (401, "text/html", "<html>401</html>"), "HTTP 401, not as st2auth answers"),
    ("auth", (201, JSON, '{"token": "t"}'), "HTTP 201, not as st2auth answers"),
    ("stream", (200, "text/event-stream", "retry: 1000\n\n"), "200 and `retry: 1000`, which nginx says"),
    ("stream", (200, "text/html", "<html>"), "HTTP 200, not as st2stream answers"),
    ("stream", (502, "text/html", "<html>"), "HTTP 502, not as st2stream answers"),
]


@pytest.mark.parametrize(("service", "said", "words"), SICK)
def test_what_is_not_the_services_own_answer(replay: Replay, service: str, said: Said, words: str) -> None:
    with front(**{service: said}) as one:
        found = findings(replay, vip=one.url, nodes=[{"name": "node1", "hostname": "vm", "url": one.url}])
    assert [(f.code, f.severity.word, f.subject) for f in found] == [
        ("VipEndpointDown", "critical", f"stackstorm/vip/{service}"),
        ("EndpointDown", "warning", f"stackstorm/node1/{service}"),
    ]
    assert words in found[0].message and words in found[1].message


@pytest.mark.parametrize("service", ["api", "stream"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_in_its_own_words_shows_that_it_works(replay: Replay, service: str, status: int) -> None:
    with front(**{service: (status, JSON, REFUSED)}) as one:
        assert findings(replay, vip=one.url) == ()


def test_hung_endpoints_cost_the_deadline_once(replay: Replay) -> None:
    with front(api=None, auth=None, stream=None) as one:
        began = time.monotonic()
        found = findings(replay, timeout_s=3.0, nodes=[{"name": "node1", "hostname": "vm", "url": one.url}])
        assert time.monotonic() - began < 15
    assert [f.subject for f in found] == [f"stackstorm/node1/{service}" for service in ("api", "auth", "stream")]
    assert all("hung: accepts connections, no answer within 3 s" in f.message for f in found)


def test_a_dead_endpoint_is_refused(replay: Replay) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        found = findings(replay, nodes=[{"name": "node1", "hostname": "vm", "stream_url": url + "/v1"}])
    assert [(f.code, f.subject) for f in found] == [("EndpointDown", "stackstorm/node1/stream")]
    assert "refused" in found[0].message and "start st2stream or nginx there" in found[0].remedy


@pytest.mark.parametrize(("ahead_s", "words"), [(30.0, "s ahead of ours"), (-30.0, "s behind ours")])
def test_a_clock_that_is_wrong_beyond_doubt(replay: Replay, ahead_s: float, words: str) -> None:
    with front(ahead_s) as one, front(ahead_s) as vip:
        found = findings(replay, vip=vip.url, nodes=[{"name": "node1", "hostname": "vm", "url": one.url}])
    assert [(f.code, f.subject) for f in found] == [("ClockSkew", "stackstorm/node1")]
    assert words in found[0].message


@pytest.mark.parametrize("ahead_s", [-1.5, 0.0, 1.5])
def test_a_date_of_whole_seconds_is_no_proof_of_a_small_skew(replay: Replay, ahead_s: float) -> None:
    with front(ahead_s) as one:
        assert findings(replay, nodes=[{"name": "node1", "hostname": "vm", "url": one.url}]) == ()


def test_versions_of_the_nodes(replay: Replay) -> None:
    old = json.dumps({"version": "3.9.0", "docs_url": ""})
    with front() as one, front(api=(200, JSON, old)) as two:
        nodes = [
            {"name": "node1", "hostname": "vm", "url": one.url},
            {"name": "node2", "hostname": "b", "url": two.url, "services": ["api"]},
        ]
        found = findings(replay, nodes=nodes)
    assert [f.code for f in found] == ["NodeGone", "VersionsDiffer"]
    assert "StackStorm is 3.10dev on node1; 3.9.0 on node2" in found[1].message


def test_sign_in_is_left_to_its_own_layer(replay: Replay) -> None:
    with front(auth=(503, JSON, NGINX)) as one:
        auth = {"nodes": [{"name": "node1", "url": one.url + "/auth/v1"}]}
        report = check(deployment(replay, {"vip": one.url}, auth=auth))
    assert report.findings == () and len(one.asked) == 2


def test_an_api_that_is_dead_is_one_finding(replay: Replay) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        replay.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        found = findings(replay)
    assert [(f.code, f.severity.word) for f in found] == [("ApiDown", "critical")]
    assert "refuses connections" in found[0].message


def test_an_api_that_hangs_is_one_finding(replay: Replay) -> None:
    replay.trouble = "hung"
    began = time.monotonic()
    found = findings(replay, timeout_s=1.0)
    assert time.monotonic() - began < 10
    assert [f.code for f in found] == ["ApiDown"] and "did not answer" in found[0].message


def test_a_wrong_key_is_one_finding_and_is_not_shown(replay: Replay) -> None:
    found = findings(replay, api_key="hunter2-wrong")
    assert [(f.code, f.severity.word) for f in found] == [("ApiDenied", "unknown")]
    assert "hunter2" not in found[0].line()
