"""Endpoints behind a real nginx, which answers for services that are dead as StackStorm's own configuration has it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.wait import wait_for
from st2ha.platform.operations import check
from tests.auth_node import AuthNode
from tests.recorded_platform import deployment
from tests.replay import Replay, replaying
from tests.unit.test_platform_endpoints import front

CONF = """
pid {place}/nginx.pid; error_log {place}/error.log; daemon off;
events {{}}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  server {{
    listen 127.0.0.1:{port};
    location @dead {{ default_type application/json; return 503 '{{"faultstring": "no service behind"}}'; }}
    location @deadstream {{ default_type text/event-stream; return 200 "retry: 1000\\n\\n"; }}
    location /api/ {{ error_page 502 = @dead; proxy_pass {api}/; }}
    location /auth/ {{ error_page 502 = @dead; rewrite ^/auth/v1/(.*) /$1 break; proxy_pass {auth}; }}
    location /stream/ {{ error_page 502 = @deadstream; proxy_buffering off; proxy_pass {stream}; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def nginx(place: Path, **upstreams: str) -> Iterator[str]:
    port = free_port()
    conf = place / "nginx.conf"
    conf.write_text(CONF.format(place=place, port=port, **upstreams))
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", str(place), "-e", str(place / "error.log"), "-c", str(conf)])
    try:
        wait_for(lambda: _accepts(port), 20, "nginx to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _accepts(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


def test_all_three_live_behind_nginx(replay: Replay, tmp_path: Path) -> None:
    auth = AuthNode(None)
    try:
        with front() as streams, nginx(tmp_path, api=replay.url, auth=auth.url, stream=streams.url) as url:
            report = check(deployment(replay, {"vip": url}))
    finally:
        auth.close()
    assert report.findings == ()
    assert {row["service"] for row in report.facts["endpoints"] if row["answers"]} == {"api", "auth", "stream"}


def test_what_nginx_says_for_the_dead_is_not_taken_for_them(replay: Replay, tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    with nginx(tmp_path, api=dead, auth=dead, stream=dead) as url:
        found = check(deployment(replay, {"vip": url})).findings
    assert [(f.code, f.subject) for f in found] == [
        ("VipEndpointDown", f"stackstorm/vip/{service}") for service in ("api", "auth", "stream")
    ]
    assert "HTTP 503: no service behind" in found[0].message and "`retry: 1000`" in found[2].message
