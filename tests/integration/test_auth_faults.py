"""Controllers that die, hang or vanish under a running backend; DNS that names them; every Python."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset
import pytest

from lab.directory import SambaDomain
from lab.people import PASSWORD
from lab.proxy import Proxy
from st2auth_ldap3 import Ldap3AuthenticationBackend
from tests.fix_auth import on_samba, samba_options

DOMAIN = "ad.lab.test"


def timed(backend: Ldap3AuthenticationBackend, name: str = "alice") -> tuple[bool, float]:
    started = time.monotonic()
    return backend.authenticate(name, PASSWORD), time.monotonic() - started


@pytest.fixture
def proxied(samba: SambaDomain) -> Iterator[list[Proxy]]:
    """A proxy before each controller; their certificates name 127.0.0.1, too."""
    proxies = [Proxy((host, 636)) for host in samba.hosts]
    yield proxies
    for each in proxies:
        each.close()


def through(proxies: list[Proxy], samba: SambaDomain, **other: object) -> Ldap3AuthenticationBackend:
    return on_samba(samba, host=[proxy.address for proxy in proxies], connect_timeout=1, **other)


@pytest.mark.parametrize("fault", ["blackhole", "hang", "refuse"])
def test_a_lost_controller_costs_its_time_once(proxied: list[Proxy], samba: SambaDomain, fault: str) -> None:
    backend = through(proxied, samba)
    proxied[0].mode = fault
    first, first_s = timed(backend)
    assert first is True and first_s < 10
    later = [timed(backend) for _ in range(8)]
    assert all(signed_in for signed_in, _ in later)
    assert sum(seconds for _, seconds in later) < len(later) * 1.0, "each later login waited for it, too"


@pytest.mark.parametrize("fault", ["hang", "refuse", "drip"])
def test_a_warm_connection_that_dies_is_replaced_within_the_deadline(
    proxied: list[Proxy], samba: SambaDomain, fault: str
) -> None:
    backend = through(proxied, samba, network_timeout=1, login_timeout=4)
    assert timed(backend)[0] is True
    proxied[0].mode = fault
    signed_in, seconds = timed(backend)
    assert signed_in is True and seconds < 3.9


def test_all_controllers_lost_is_a_no_in_time_and_the_first_login_afterwards_works(
    proxied: list[Proxy], samba: SambaDomain
) -> None:
    backend = through(proxied, samba, login_timeout=3)
    assert timed(backend)[0] is True
    for proxy in proxied:
        proxy.mode = "hang"
    for _ in range(3):
        signed_in, seconds = timed(backend)
        assert signed_in is False and seconds < 3.5
    for proxy in proxied:
        proxy.mode = "pass"
    assert timed(backend)[0] is True


def test_a_killed_controller_is_left_alone_and_used_again(samba: SambaDomain) -> None:
    backend = on_samba(samba)
    assert timed(backend)[0] is True
    samba.server(0).kill()
    assert [timed(backend)[0] for _ in range(5)] == [True] * 5
    samba.restore()
    assert backend._engine is not None
    servers = list(backend._engine.directory._servers._servers.values())
    end = time.monotonic() + 10
    while servers[0].failures and time.monotonic() < end:
        assert timed(backend)[0] is True
        time.sleep(0.1)
    assert servers[0].failures == 0


# -- DNS


class Names:
    """A name server with SRV records, on 127.0.0.1."""

    def __init__(self, records: dict[str, list[str]]) -> None:
        self.records = records
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                data, client = self._socket.recvfrom(4096)
            except OSError:
                return
            question = dns.message.from_wire(data)
            name = str(question.question[0].name).rstrip(".")
            self.asked.append(name)
            answer = dns.message.make_response(question)
            if name in self.records:
                answer.answer.append(dns.rrset.from_text(name + ".", 60, "IN", "SRV", *self.records[name]))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), client)

    def close(self) -> None:
        self._socket.close()


def by_names(
    samba: SambaDomain, records: dict[str, list[str]], **other: object
) -> tuple[Ldap3AuthenticationBackend, Names]:
    """A backend that finds its controllers by DNS; addresses of the names are given to its resolver."""
    names = Names(records)
    options = {"host": None, "srv_domain": DOMAIN, "dns_server": names.address, "connect_timeout": 1, **other}
    backend = on_samba(samba, **options)
    engine = backend._ready()
    for number, host in enumerate(samba.hosts, start=1):
        for port in (636, 389):
            known = (time.monotonic(), [(int(socket.AF_INET), (host, port))])
            engine.directory._resolver._known[f"dc{number}.{DOMAIN}", port] = known
    return backend, names


def test_controllers_by_dns_in_the_order_of_their_priority(
    samba: SambaDomain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    records = [f"20 0 389 dc1.{DOMAIN}.", f"10 0 389 dc2.{DOMAIN}."]
    backend, names = by_names(samba, {f"_ldap._tcp.dc._msdcs.{DOMAIN}": records})
    assert timed(backend)[0] is True
    assert f"server=dc2.{DOMAIN}:636" in caplog.text
    names.close()
    samba.server(1).kill()
    assert timed(backend)[0] is True
    assert f"server=dc1.{DOMAIN}:636" in caplog.text


def test_the_site_comes_first_and_the_others_stay_in_reserve(
    samba: SambaDomain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    everywhere = [f"0 0 389 dc1.{DOMAIN}.", f"0 0 389 dc2.{DOMAIN}."]
    site = {f"_ldap._tcp.Berlin._sites.dc._msdcs.{DOMAIN}": [f"0 0 389 dc2.{DOMAIN}."]}
    backend, names = by_names(samba, {**site, f"_ldap._tcp.dc._msdcs.{DOMAIN}": everywhere}, srv_site="Berlin")
    assert timed(backend)[0] is True and f"server=dc2.{DOMAIN}:636" in caplog.text
    samba.server(1).kill()
    assert timed(backend)[0] is True and f"server=dc1.{DOMAIN}:636" in caplog.text
    names.close()


def test_a_name_outside_of_the_domain_is_left_out(samba: SambaDomain, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever forges DNS has a certificate for a name of his own."""
    records = ["0 0 389 evil.example.", f"0 0 389 evil{DOMAIN}.", f"10 0 389 dc1.{DOMAIN}."]
    backend, names = by_names(samba, {f"_ldap._tcp.dc._msdcs.{DOMAIN}": records})
    assert timed(backend)[0] is True
    assert "evil.example" in caplog.text and "left out" in caplog.text
    names.close()


def test_silent_dns_is_a_no_in_time(samba: SambaDomain) -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    server = f"127.0.0.1:{silent.getsockname()[1]}"
    backend = on_samba(samba, host=None, srv_domain=DOMAIN, dns_server=server, connect_timeout=1)
    signed_in, seconds = timed(backend)
    assert signed_in is False and seconds < 2
    silent.close()


# -- every Python

PROGRAM = """
import json, sys
from st2auth_ldap3 import Ldap3AuthenticationBackend
for options, password in json.loads(sys.stdin.readline()):
    print(Ldap3AuthenticationBackend(**options).authenticate("alice", password))
"""


def pythons() -> list[str]:
    """This one, and each of 3.9 to 3.13 that is on the machine."""
    roots = Path.home() / ".pyenv" / "versions"
    found = {f"3.{minor}": next(iter(sorted(roots.glob(f"3.{minor}.*/bin/python"))), None) for minor in range(9, 14)}
    installed = {version: str(path) for version, path in found.items() if path}
    on_path = {f"3.{minor}": shutil.which(f"python3.{minor}", path="/usr/bin") for minor in range(9, 14)}
    return sorted(
        {
            sys.executable,
            *installed.values(),
            *(path for version, path in on_path.items() if path and version not in installed),
        }
    )


@pytest.mark.parametrize("python", pythons())
def test_certificates_by_name_and_address_on_every_python(
    samba: SambaDomain, distribution: Path, proxied: list[Proxy], python: str
) -> None:
    by_address = samba_options(samba, host=samba.hosts[0])
    by_name = samba_options(samba, host=f"localhost:{proxied[0].port}")
    starttls = samba_options(samba, host=samba.hosts[0], use_ssl=False, use_tls=True, port=389)
    wrong_name = samba_options(samba, host=f"127.7.7.7:{proxied[0].port}")
    unverified = samba_options(samba, host=samba.hosts[0], cacert=None)
    wanted = [(by_address, True), (by_name, True), (starttls, True), (unverified, False), (wrong_name, False)]
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PROGRAM],
        input=json.dumps([[options, PASSWORD] for options, _ in wanted]),
        env={"PYTHONPATH": str(distribution), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(answer) for _, answer in wanted], done.stderr
