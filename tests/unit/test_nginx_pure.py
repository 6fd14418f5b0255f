"""What StackStorm's answers mean, the pack's own file, and edits of a site's file by line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from st2ha.edge.content import Reply, amiss
from st2ha.edge.nginx.lines import edit, passed, read, servers
from st2ha.edge.nginx.parse import parse_disk
from st2ha.edge.nginx.render import render, stamp
from st2ha.edge.nginx.script import read_script, write_script
from st2ha.edge.settings import UPSTREAMS
from st2ha.errors import BadInput
from st2ha.probe import Silence, Silent

REFUSED = b'{"faultstring": "Unauthorized - One of Token or API key required."}'
SITE = b"""\
# balancing

upstream st2api {
\tserver   10.0.0.21:9101   max_fails=2;   # first
\tserver   10.0.0.22:9101   max_fails=2;   # second
}

upstream other { server 10.0.0.99:80; }
server {
    listen 80;
    location /api/ { proxy_pass http://st2api/; }
    location /x/ { proxy_pass http://127.0.0.1:9102; }
}
"""


@pytest.mark.parametrize(
    ("upstream", "status", "kind", "body", "why"),
    [
        ("st2api", 401, "application/json", REFUSED, None),
        ("st2auth", 401, "application/json", REFUSED, None),
        ("st2stream", 401, "application/json", REFUSED, None),
        ("st2web", 200, "text/html", b"<!DOCTYPE html><HTML>", None),
        ("st2api", 200, "application/json", b"[]", None),
        ("st2stream", 200, "text/event-stream", b"\n", None),
        ("st2stream", 200, "text/event-stream", b"retry: 1000\n\n", "nothing but `retry`"),
        ("st2stream", 200, "text/html", b"<html>", "no event stream"),
        ("st2api", 503, "application/json", b'{"faultstring": "does not answer"}', "HTTP 503, does not answer"),
        ("st2api", 401, "text/html", b"<html>", "no answer of st2api"),
        ("st2api", 200, "text/html", b"<html>", "no answer of st2api"),
        ("st2web", 502, "text/html", b"<html>", "no page of st2web"),
        ("st2web", 200, "text/plain", b"Welcome", "no page of st2web"),
    ],
)
def test_content_tells_what_a_status_hides(upstream: str, status: int, kind: str, body: bytes, why: str | None) -> None:
    found = amiss(upstream, Reply(status, kind, body))
    assert found is None if why is None else why in (found or "")


def test_silence_is_amiss() -> None:
    assert amiss("st2api", Silent(Silence.REFUSED, "connection refused")) == "connection refused"
    assert amiss("st2api", None) == "it was not asked"


def test_the_same_group_makes_the_same_file_and_another_one_another_generation() -> None:
    blue = render("blue", ["10.0.0.21"], UPSTREAMS, 8099, None)
    assert blue == render("blue", ["10.0.0.21"], UPSTREAMS, 8099, None)
    marks = {stamp(render(group, [node], UPSTREAMS, 8099, None)) for group in ("a", "b") for node in ("x", "y")}
    assert len(marks) == 4
    assert stamp(b"upstream st2api {}") is None
    assert stamp(None) is None
    assert servers(read(blue))["st2api"] == ("10.0.0.21:9101",)


def test_only_the_server_lines_change() -> None:
    edited = edit(SITE, {"st2api": 9101}, ["10.0.0.31", "10.0.0.32"], "st2.conf")
    assert edited == SITE.replace(b"10.0.0.21", b"10.0.0.31").replace(b"10.0.0.22", b"10.0.0.32")
    assert edit(edited, {"st2api": 9101}, ["10.0.0.21", "10.0.0.22"], "st2.conf") == SITE


@pytest.mark.parametrize("nodes", [["a"], ["a", "b", "c"], ["a", "b", "c", "d"]])
def test_groups_of_other_sizes(nodes: list[str]) -> None:
    edited = edit(SITE, {"st2api": 9101}, nodes, "st2.conf")
    assert servers(read(edited))["st2api"] == tuple(f"{node}:9101" for node in nodes)
    assert servers(read(edited))["other"] == ("10.0.0.99:80",)
    rest = [line for line in edited.splitlines() if b":9101" not in line]
    assert rest == [line for line in SITE.splitlines() if b":9101" not in line]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"server { location / { proxy_pass http://10.9.9.9:9101; } }", "has no upstream st2api"),
        (b"server { location / { proxy_pass https://127.0.0.1:9101; } }", "has no upstream st2api"),
        (b"server { location / { proxy_pass http://127.0.0.1:9101/$x; } }", "has no upstream st2api"),
        (b"server { location / { proxy_pass http://st2api; } }", "has no upstream st2api"),
        (b"server { location / { proxy_pass http://127.0.0.1:9101; } }", "write each proxy_pass on a line of its own"),
        (b"upstream st2api { server a:1; server b:1; }", "write each server on a line of its own"),
        (b"upstream st2api {\n server a:1 backup;\n}\n", "`down` or `backup`"),
        (b"upstream st2api {\n", "cannot be parsed"),
        (b"upstream st2api {\n}\n", "write each server on a line of its own"),
    ],
)
def test_what_is_not_a_matter_of_lines(text: bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        edit(text, {"st2api": 9101}, ["a"], "st2.conf")
    assert says in str(caught.value)


def test_only_the_lines_that_pass_to_a_service_itself_change() -> None:
    """As in StackStorm's own file: no upstream blocks."""
    text = (
        b"server {\n  location /api/ {\n    proxy_pass            http://127.0.0.1:9101/;  # api\n  }\n"
        b"  location /other { proxy_pass http://127.0.0.1:9999; }\n\n  location /x {\n\tproxy_pass http://[fd00::1]:9101;\n"
        b"  }\n  location /auth/ {\n    proxy_pass http://st2auth/;\n  }\n}\n"
    )
    upstreams = {"st2api": 9101, "st2auth": 9100}
    edited = edit(text, upstreams, ["n"], "st2.conf", {"[fd00::1]"}, {"st2auth"})
    changed = [(old, new) for old, new in zip(text.splitlines(), edited.splitlines()) if old != new]
    assert changed == [
        (
            b"    proxy_pass            http://127.0.0.1:9101/;  # api",
            b"    proxy_pass            http://st2api/;  # api",
        ),
        (b"\tproxy_pass http://[fd00::1]:9101;", b"\tproxy_pass http://st2api;"),
    ]
    assert edit(edited, upstreams, ["n"], "st2.conf", (), set(upstreams)) == edited


def test_what_is_passed_to() -> None:
    assert passed(read(SITE)) == {"st2api", "127.0.0.1"}


def test_the_write_script_takes_any_name_and_content() -> None:
    """Quoted for the shell; the content in base64 can end nothing."""
    path = "/etc/nginx/it's; rm -rf $HOME.conf"
    script = write_script(
        "nginx", "/etc/nginx/nginx.conf", "/run/nginx.pid", {path: ("a", "b", b"END\n'\"$(x)\0")}, True
    ).decode()
    assert "'/etc/nginx/it'\"'\"'s; rm -rf $HOME.conf'" in script
    assert "$(x)" not in script


def test_a_reading_that_is_not_whole() -> None:
    with pytest.raises((ValueError, KeyError, StopIteration)):
        parse_disk(b"\nB dump\n", "B", ["/x"])


MASTER = """
import os, signal, time
title, signals = "nginx: worker process", {signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
if os.fork() == 0: os._exit(0)  # ended, and not waited for
signal.sigwait(signals)
if os.fork() == 0: time.sleep(60)  # has its parent's title still
if os.fork() == 0: os.execv(os.environ["PYTHON"], [title, "-c", "print(flush=True); import time; time.sleep(60)"])
time.sleep(60)
"""


def test_a_reading_in_the_moment_of_a_reload(tmp_path: Path) -> None:
    """Children that have no title any more, or not their own yet: neither is a worker, and the master is its parent."""
    master = subprocess.Popen(
        ["nginx: master process", "-c", MASTER],
        executable=sys.executable,
        env={"PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert master.stdout is not None and master.stdout.readline() == b"\n"
        pid_file = tmp_path / "nginx.pid"
        pid_file.write_text(f"{master.pid}\n")
        script = read_script("B", "true", "/etc/nginx/nginx.conf", str(pid_file), "", [])
        said = subprocess.run(["sh", "-s"], input=script, capture_output=True, timeout=20, check=True).stdout
    finally:
        os.killpg(master.pid, signal.SIGKILL)
        master.communicate()
    disk = parse_disk(said, "B", [])
    assert (disk.master, len(disk.workers), len(disk.serving)) == (master.pid, 1, 1)
