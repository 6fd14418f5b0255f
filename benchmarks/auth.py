"""The figures of the area `auth`: sign-in on a real Samba domain, LDAPS with full verification.

Beside it, in the same run and by turns: python-ldap doing what st2-auth-ldap does, and one bind on a warm TLS
connection, which is the floor.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

from benchmarks.auth_incumbent import Incumbent
from benchmarks.figures import Figure
from lab.directory import SambaDomain
from lab.errors import LabError
from lab.people import PASSWORD
from lab.proxy import Proxy
from lab.st2auth import Harness, install
from st2auth_ldap3 import Ldap3AuthenticationBackend
from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.directory import Directory
from st2auth_ldap3.settings import parse

USER, USER_DN = "alice", f"CN=Alice Direct,OU=Staff,{SambaDomain.base}"
ROUNDS, THREADS, EACH = 80, 10, 15
CONNECT_S, LOGIN_S = 1.0, 5.0
Login = Callable[[], object]


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about a minute."""
    with _silence(), SambaDomain() as samba:
        say("a login beside the incumbent's and beside one bind")
        yield from _one_thread(samba)
        say("ten threads")
        yield _ten_threads(samba)
        for fault, what in (("blackhole", "black-holed"), ("hang", "silent after accept")):
            say(f"one controller {what}")
            yield from _one_lost(samba, fault, what)
        say("20 logins at once under eventlet")
        yield _under_eventlet(samba)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The backend's lines are made, as at a site, and go nowhere: without a handler some would be on stderr."""
    backend, nowhere = logging.getLogger("st2auth_ldap3"), logging.NullHandler()
    before = backend.propagate, backend.level
    backend.propagate = False
    backend.setLevel(logging.INFO)
    backend.addHandler(nowhere)
    try:
        yield
    finally:
        backend.removeHandler(nowhere)
        backend.propagate = before[0]
        backend.setLevel(before[1])


def options(samba: SambaDomain, **other: Any) -> dict[str, Any]:
    """`backend_kwargs` for the domain."""
    return {
        "host": samba.hosts[0],
        "use_ssl": True,
        "cacert": str(samba.authority.ca_file),
        "bind_dn": samba.service_dn,
        "bind_password": PASSWORD,
        "base_ou": samba.base,
        "group_dns": [samba.group_dn.format("st2users")],
        "connect_timeout": CONNECT_S,
        "login_timeout": LOGIN_S,
        **other,
    }


def login_of(samba: SambaDomain, **other: Any) -> Login:
    """A login with a backend of its own; fails loudly unless it succeeds."""
    backend = Ldap3AuthenticationBackend(**options(samba, **other))

    def login() -> None:
        if backend.authenticate(USER, PASSWORD) is not True:
            raise LabError(f"{USER} was not let in")

    return login


def _one_thread(samba: SambaDomain) -> Iterator[Figure]:
    incumbent = Incumbent(samba.hosts[0], str(samba.authority.ca_file), samba.service_dn, PASSWORD, samba.base)
    group = samba.group_dn.format("st2users")
    by_turns = {
        "ours": login_of(samba),
        "incumbent": lambda: incumbent.login(USER, PASSWORD, group),
        "floor": _warm_bind(samba),
    }
    ms = {name: 1000 * statistics.median(times) for name, times in _timed(by_turns, ROUNDS).items()}
    how = f"median of {ROUNDS}, by turns"
    yield Figure(
        "login, of the incumbent's", ms["ours"] / ms["incumbent"], 0.5, "x",
        f"{ms['ours']:.1f} ms; the incumbent's, group cache warm: {ms['incumbent']:.1f} ms", how,
    )  # fmt: skip
    yield Figure("login, of the floor", ms["ours"] / ms["floor"], 2.5, "x", f"one warm bind: {ms['floor']:.1f} ms", how)


def _warm_bind(samba: SambaDomain) -> Login:
    directory = Directory(parse(options(samba)))
    link = directory.open(directory.servers(Deadline(5, "x"))[0], Deadline(5, "x"))

    def bind() -> None:
        link.channel.deadline = Deadline(5, "a bind")
        if link.bind(USER_DN, PASSWORD.encode()).code:
            raise LabError("the bind was refused")

    return bind


def _ten_threads(samba: SambaDomain) -> Figure:
    incumbent = Incumbent(samba.hosts[0], str(samba.authority.ca_file), samba.service_dn, PASSWORD, samba.base)
    group = samba.group_dn.format("st2users")
    ours, theirs = login_of(samba), lambda: incumbent.login(USER, PASSWORD, group)
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(3):
        rates["ours"].append(_rate(ours))
        rates["theirs"].append(_rate(theirs))
    mine, other = (statistics.median(rates[name]) for name in ("ours", "theirs"))
    return Figure(
        "logins/s at 10 threads, the incumbent's of ours", other / mine, 1 / 1.5, "x",
        f"ours {mine:.0f}/s, the incumbent's {other:.0f}/s", f"median of 3 x {THREADS * EACH}, by turns",
    )  # fmt: skip


def _rate(login: Login) -> float:
    login()
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: login(), range(THREADS * EACH)))
    return THREADS * EACH / (time.perf_counter() - started)


def _one_lost(samba: SambaDomain, fault: str, what: str) -> Iterator[Figure]:
    with Proxy((samba.hosts[0], 636)) as lost, Proxy((samba.hosts[1], 636)) as good:
        healthy = login_of(samba, host=[good.address])
        login = login_of(samba, host=[lost.address, good.address])
        healthy()
        lost.mode = fault
        first_s = _timed({"first": login}, 1)["first"][0]
        times = _timed({"healthy": healthy, "later": login}, ROUNDS // 2)
    limit = CONNECT_S + 0.5 if fault == "blackhole" else LOGIN_S
    yield Figure(f"first login, one DC {what}", first_s, limit, "s", f"connect timeout {CONNECT_S:g} s", "1 login")
    median = {name: statistics.median(found) for name, found in times.items()}
    yield Figure(
        f"later logins, one DC {what}", median["later"] / median["healthy"], 1.2, "x",
        f"{1000 * median['later']:.1f} ms; healthy: {1000 * median['healthy']:.1f} ms",
        f"median of {ROUNDS // 2}, by turns",
    )  # fmt: skip


def _under_eventlet(samba: SambaDomain) -> Figure:
    with tempfile.TemporaryDirectory() as directory:
        site = Path(directory, "site")
        site.mkdir()
        with Harness(install(site), options(samba, connect_timeout=3), Path(directory, "log")) as harness:
            harness.login(USER, PASSWORD)
            stalls = []
            for _ in range(3):
                harness.stall_ms()
                with ThreadPoolExecutor(20) as pool:
                    answers = list(pool.map(lambda _: harness.login(USER, PASSWORD)[0], range(20)))
                if answers != [201] * 20:
                    raise LabError(f"not all logins succeeded: {answers}")
                stalls.append(harness.stall_ms())
    return Figure("longest stall of the hub, 20 logins", statistics.median(stalls), 100, "ms", "", "median of 3")


def _timed(by_turns: dict[str, Login], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call; the first round warms up, unless there is but one."""
    times: dict[str, list[float]] = {name: [] for name in by_turns}
    for number in range(rounds + (rounds > 1)):
        for name, call in by_turns.items():
            started = time.perf_counter()
            call()
            if number or rounds == 1:
                times[name].append(time.perf_counter() - started)
    return times
