"""The backend as st2auth runs it: installed, loaded by its entry point, under eventlet, asked over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.directory import SambaDomain
from lab.people import PASSWORD, PEOPLE
from lab.st2auth import STACKSTORMS, Harness
from tests.fix_auth import samba_options

pytestmark = pytest.mark.skipif(not STACKSTORMS.exists(), reason="no .venv-st2: run make setup")


@pytest.fixture
def harness(samba: SambaDomain, distribution: Path, tmp_path: Path) -> Iterator[Harness]:
    options = samba_options(samba, denied_group_dns=["CN=contractors"], login_timeout=60)
    with Harness(distribution, options, tmp_path / "harness.log") as running:
        yield running
    log = running.log.read_text()
    assert "sign-in user=" in log and "horse" not in log and "Traceback" not in log


def test_logins_over_http(harness: Harness, samba: SambaDomain) -> None:
    status, token = harness.login("carol", PASSWORD)
    assert status == 201 and samba.group_dn.format("squad") in token["groups"]
    for name in ("frank", "erin", "disabled", "Carol", "nobody", ""):
        assert harness.login(name, PASSWORD)[0] == 401
    assert harness.login("carol", "")[0] == 401
    assert harness.login("carol", "wr0ng-horse") == (401, '{"faultstring": "Invalid or missing credentials"}')


def test_50_logins_at_once_with_one_silent_controller(harness: Harness, samba: SambaDomain) -> None:
    """The first listed controller accepts and says nothing. Nobody waits for longer than the connect timeout and a bit,
    and all get in."""
    samba.server(0).hang()
    names = [each.name for each in PEOPLE if each.name in ("alice", "bob", "carol", "ivan", "heidi")] * 10
    started = time.monotonic()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda name: harness.login(name, PASSWORD)[0], names))
    elapsed_s = time.monotonic() - started
    assert answers == [201] * 50
    assert 3 < elapsed_s < 50 * 3, "each of them waited for the silent one"
    assert harness.login("alice", PASSWORD)[0] == 201


def test_20_logins_at_once(harness: Harness) -> None:
    harness.login("alice", PASSWORD)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: harness.login("alice", PASSWORD)[0], range(20)))
    assert answers == [201] * 20


def test_no_directory_is_a_no(harness: Harness, samba: SambaDomain) -> None:
    samba.server(0).kill()
    samba.server(1).kill()
    started = time.monotonic()
    assert harness.login("alice", PASSWORD)[0] == 401
    assert time.monotonic() - started < 30
    samba.restore()
    assert harness.login("alice", PASSWORD)[0] == 201
