"""Sign-in against two domain controllers of which the second has joined the first: DNS, replication, the loss of one.

The backend runs where the controllers are to be reached and asks their DNS for their names, as on a site.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple

import pytest

from lab.boxes import limitation
from lab.cluster import ROOT
from lab.joined import ADDRESSES, ZONE, JoinedDomain
from lab.people import PASSWORD
from lab.wait import wait_for

NEW_PASSWORD = "N3w-battery"
LOGIN_S, REPLICATION_S = 5.0, 60.0
PROGRAM = """
import json, logging, sys, time
from st2auth_ldap3 import Ldap3AuthenticationBackend
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.basicConfig(level=logging.INFO, handlers=[handler])
backend = Ldap3AuthenticationBackend(**json.loads(sys.stdin.readline()))
for question in sys.stdin:
    lines.clear()
    started = time.monotonic()
    signed_in = backend.authenticate(*json.loads(question))
    print(json.dumps([signed_in, time.monotonic() - started, "; ".join(lines)]), flush=True)
"""


class Answer(NamedTuple):
    signed_in: bool
    seconds: float
    lines: str


Login = Callable[..., Answer]
Backends = Callable[..., Login]


@pytest.fixture(scope="module")
def joined_module() -> Iterator[JoinedDomain]:
    if why := limitation():
        pytest.skip(why)
    with JoinedDomain() as domain:
        yield domain


@pytest.fixture
def joined(joined_module: JoinedDomain) -> Iterator[JoinedDomain]:
    yield joined_module
    joined_module.restore()


@pytest.fixture
def backend(joined: JoinedDomain) -> Iterator[Backends]:
    """Makes backends, each in a process of its own beside the controllers, and gives their `authenticate`."""
    started: list[subprocess.Popen[str]] = []

    def make(**options: Any) -> Login:
        process = subprocess.Popen(
            joined.command("client", [sys.executable, "-W", "ignore", "-c", PROGRAM]),
            env=joined.environment(PYTHONPATH=str(ROOT / "auth_backend" / "src")),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)

        def tell(what: object) -> None:
            assert process.stdin is not None
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()

        def login(name: str, password: str = PASSWORD) -> Answer:
            tell([name, password])
            assert process.stdout is not None
            return Answer(*json.loads(process.stdout.readline()))

        tell({**options_for(joined), **options})
        return login

    yield make
    for process in started:
        process.communicate(timeout=30)


def options_for(joined: JoinedDomain) -> dict[str, Any]:
    return {
        "use_ssl": True,
        "cacert": str(joined.authority.ca_file),
        "bind_dn": joined.service_dn,
        "bind_password": PASSWORD,
        "base_ou": joined.base,
        "group_dns": [joined.group_dn.format("st2users")],
        "connect_timeout": 2,
        "login_timeout": LOGIN_S,
    }


@pytest.mark.parametrize("name", ["dc1", "dc2"])
def test_a_login_through_each_controller(backend: Backends, name: str) -> None:
    login = backend(host=f"{name}.{ZONE}")
    for user, password, gets_in in (
        ("alice", PASSWORD, True),
        ("carol", PASSWORD, True),  # nested three deep: links that came by replication
        ("frank", PASSWORD, False),
        ("alice", "wrong", False),
        ("disabled", PASSWORD, False),
    ):
        answer = login(user, password)
        assert answer.signed_in is gets_in
        assert f"sign-in user='{user}' server={name}.{ZONE}:636" in answer.lines


@pytest.mark.parametrize("name", ["dc1", "dc2"])
def test_discovery_by_the_dns_of_either_controller(joined: JoinedDomain, backend: Backends, name: str) -> None:
    """The second one's own records are written on the first and come back by replication."""
    both = [f"dc1.{ZONE}", f"dc2.{ZONE}"]
    assert joined.names(name) == both
    answer = backend(srv_domain=ZONE, dns_server=ADDRESSES[name])("alice")
    assert answer.signed_in is True
    assert any(f"server={host}:636" in answer.lines for host in both)


def test_a_user_disabled_on_the_first_is_refused_by_the_second(joined: JoinedDomain, backend: Backends) -> None:
    login = backend(host=f"dc2.{ZONE}")
    assert login("bob").signed_in is True
    joined.run("dc1", ["samba-tool", "user", "disable", "bob"])
    answer = wait_for(lambda: refusal(login("bob")), REPLICATION_S, "the second to refuse bob", interval_s=0.2)
    assert "refused: account disabled (533)" in answer.lines and f"server=dc2.{ZONE}" in answer.lines


def test_a_password_changed_on_the_first_holds_on_the_second(joined: JoinedDomain, backend: Backends) -> None:
    """The old one is what is tried until it is refused: the new one tried too early would count towards lockout."""
    login = backend(host=f"dc2.{ZONE}")
    assert login("ivan").signed_in is True and login("ivan", NEW_PASSWORD).signed_in is False
    joined.run("dc1", ["samba-tool", "user", "setpassword", "ivan", f"--newpassword={NEW_PASSWORD}"])
    answer = wait_for(lambda: refusal(login("ivan")), REPLICATION_S, "the old password to be refused", interval_s=0.2)
    assert "wrong password (52e)" in answer.lines
    assert login("ivan", NEW_PASSWORD).signed_in is True


def test_logins_go_on_through_the_second_when_the_first_is_killed(joined: JoinedDomain, backend: Backends) -> None:
    warm = backend(host=f"dc1.{ZONE},dc2.{ZONE}")
    first = warm("alice")
    assert first.signed_in is True and f"server=dc1.{ZONE}:636" in first.lines
    joined.server(0).kill()
    for login in (warm, backend(srv_domain=ZONE, dns_server=ADDRESSES["dc2"])):
        for _ in range(3):
            answer = login("alice")
            assert answer.signed_in is True and f"sign-in user='alice' server=dc2.{ZONE}:636" in answer.lines
            assert answer.seconds < LOGIN_S
    assert backend(host=ADDRESSES["dc1"])("alice").signed_in is False  # it really is dead


def refusal(answer: Answer) -> Answer | None:
    return None if answer.signed_in else answer
