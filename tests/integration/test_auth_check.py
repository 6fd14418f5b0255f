"""auth_check on real domain controllers, with st2auth's answers from tests/auth_node.py and its processes real."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.certs import Authority
from lab.directory import SambaDomain
from lab.people import PASSWORD
from lab.slapd import Slapd
from st2auth_ldap3 import Ldap3AuthenticationBackend
from tests.auth_node import AuthNode
from tests.fix_auth import ldap_options, samba_options
from tests.real import run

FAR = """#!/bin/sh
while [ "$1" = -o ]; do shift 2; done
shift
echo "$*" >>{log}
exec sh -c "$(echo "$*" | sed 's,/far/,{far}/,g')"
"""


ROOT = Path(__file__).resolve().parents[2]


class Site:
    """Two nodes, one looked into locally and one as if by ssh, and a VIP with TLS."""

    def __init__(self, samba: SambaDomain, tmp: Path) -> None:
        self.samba = samba
        self.tmp = tmp
        self.authority = Authority(tmp / "certs")
        backend = Ldap3AuthenticationBackend(**samba_options(samba))
        self.nodes = [AuthNode(backend), AuthNode(backend)]
        self.vip = AuthNode(backend, self.authority.server("vip"))
        self.ssh = tmp / "ssh"
        self.said = tmp / "ssh.log"
        self.ssh.write_text(FAR.format(log=self.said, far=tmp))
        self.ssh.chmod(0o755)
        (tmp / "password").write_text(f"{PASSWORD}\n")
        (tmp / "service").write_text(f"{PASSWORD}\n")
        for number in (1, 2):
            self.configure(number)

    def configure(self, number: int, backend: str = "ldap3", **other: Any) -> None:
        """st2.conf of a node; the service password is in a file, as it should be."""
        given: dict[str, Any] = {"bind_password": None, "bind_password_file": str(self.tmp / "service"), **other}
        options = given if backend == "pam" else samba_options(self.samba, **given)
        text = json.dumps(options).replace("$", "$$")
        conf = f"[auth]\nmode = standalone\nbackend = {backend}\nbackend_kwargs = {text}\n[rbac]\nenable = True\n"
        (self.tmp / f"st2-{number}.conf").write_text(conf)

    def config(self, **other: Any) -> dict[str, Any]:
        nodes = [
            {"name": f"st2-{number}", "url": node.url, "st2_conf": str(self.tmp / f"st2-{number}.conf")}
            for number, node in enumerate(self.nodes, start=1)
        ]
        nodes[0]["command"] = "local"
        auth = {
            "nodes": nodes,
            "command": f"{self.ssh} {{name}}",
            "vip": self.vip.url,
            "test_username": "alice",
            "test_password_file": str(self.tmp / "password"),
            "tls": {"ca_file": str(self.authority.ca_file)},
            "timeout_s": 4,
            **other,
        }
        auth = {name: value for name, value in auth.items() if value is not None}
        return {"deployments": [{"name": "lab", "auth": auth}]}

    def check(self, **other: Any) -> dict[str, Any]:
        """The result, which holds no secret."""
        passed, result = run(self.config(**other), "auth_check")
        assert passed, result
        assert PASSWORD not in json.dumps(result) and PASSWORD not in repr(result)
        return result

    def close(self) -> None:
        for each in (*self.nodes, self.vip):
            each.close()


@pytest.fixture
def site(samba: SambaDomain, tmp_path: Path) -> Iterator[Site]:
    with contextlib.closing(Site(samba, tmp_path)) as made:
        yield made


def told(result: dict[str, Any]) -> set[str]:
    return {f"{each['severity']} {each['code']} {each['subject']}" for each in result["details"]}


def test_a_healthy_site(site: Site) -> None:
    result = site.check()
    assert told(result) == set()
    assert result["summary"] == "OK Sign-in: 2 nodes sign a test user in, 2 directory servers work"
    assert [row["answer"] for row in result["facts"]["nodes"]] == ["201", "201", "201"]
    assert [row["backend"] for row in result["facts"]["nodes"][:2]] == ["ldap3", "ldap3"]
    servers = result["facts"]["directories"]
    assert [(row["server"], row["state"]) for row in servers] == [(f"{h}:636", "works") for h in site.samba.hosts]
    assert all(abs(row["skew_s"]) < 2 for row in servers)


def test_files_of_a_far_node_are_read_there(site: Site) -> None:
    """Its CA file and its service password are not here. No secret is on a command line, here or there."""
    site.configure(2, cacert="/far/certs-of-ad.pem", bind_password_file="/far/service")
    (site.tmp / "certs-of-ad.pem").write_bytes(site.samba.authority.ca_file.read_bytes())
    nodes = site.config()["deployments"][0]["auth"]["nodes"]
    assert told(site.check(nodes=nodes[1:])) == set()
    said = site.said.read_text()
    assert "cat -- /far/service" in said and "cat -- /far/certs-of-ad.pem" in said and PASSWORD not in said
    (site.tmp / "certs-of-ad.pem").unlink()
    result = site.check(nodes=nodes[1:])
    assert told(result) == {"critical AuthConfigWrong auth/st2-2"} and "`cat` ended with 1" in str(result)


def test_from_a_shell(site: Site) -> None:
    """bin/st2ha's exit codes are those of monitoring."""
    site.nodes[1].close()
    site.samba.server(0).kill()
    (site.tmp / "ha.yaml").write_text(json.dumps(site.config()))
    base = [str(ROOT / "bin" / "st2ha"), "--json", "--config", str(site.tmp / "ha.yaml")]
    environment = {**os.environ, "ST2HA_STATE_DIR": str(site.tmp / "state")}
    for words, code, summary in (
        ("auth_check", 1, "WARNING Sign-in: AuthDown, "),
        ("auth_explain alice", 0, "OK Sign-in: alice may sign in with the right password"),
        ("auth_explain frank", 1, "WARNING Sign-in: SignInRefused, "),
    ):
        done = subprocess.run(
            [*base, *words.split()], capture_output=True, text=True, timeout=60, check=False, env=environment
        )
        assert (done.returncode, done.stderr) == (code, ""), words
        assert json.loads(done.stdout)["summary"].startswith(summary) and PASSWORD not in done.stdout
    done = subprocess.run(
        [*base, "auth_explain", "user="], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 64 and done.stderr.startswith("st2ha: parameter `user` is '': give the name as the user")


def test_no_token_outlives_the_check(site: Site) -> None:
    site.check()
    for node in (*site.nodes, site.vip):
        (token,) = node.tokens
        assert token["user"] == "alice"
        left = datetime.datetime.fromisoformat(token["expiry"]) - datetime.datetime.now(datetime.timezone.utc)
        assert left.total_seconds() <= 1


def test_without_a_test_user_nobody_is_signed_in(site: Site) -> None:
    result = site.check(test_username=None, test_password_file=None)
    assert told(result) == set() and "no test user is configured" in result["summary"]
    assert not site.nodes[0].tokens and result["facts"]["nodes"][0]["answer"] == "401"


def test_the_whole_check_covers_it(site: Site) -> None:
    site.nodes[1].close()
    passed, result = run(site.config(), "check")
    assert passed and told(result) == {"warning AuthDown auth/st2-2"}
    assert result["facts"]["layers"][0]["layer"] == "auth" and "auth_nodes" in result["facts"]


def test_a_node_down_and_then_all(site: Site) -> None:
    site.nodes[1].close()
    result = site.check()
    assert told(result) == {"warning AuthDown auth/st2-2"}
    assert "connection refused; st2-1 works" in result["findings"][0]
    site.nodes[0].status = "502 Bad Gateway"
    site.vip.status = "503 Service Unavailable"
    assert told(site.check()) == {
        "critical NoSignIn auth", "warning AuthDown auth/st2-1", "warning AuthDown auth/st2-2",
        "critical VipAuthDown auth/vip",
    }  # fmt: skip


def test_a_hung_node_costs_the_deadline_once(site: Site) -> None:
    for node in site.nodes:
        node.delay_s = 30
    began = time.monotonic()
    assert told(site.check(timeout_s=1)) == {
        "critical NoSignIn auth", "warning AuthDown auth/st2-1", "warning AuthDown auth/st2-2",
    }  # fmt: skip
    assert time.monotonic() - began < 20


def test_the_vip_with_a_certificate_that_ends_soon_or_has_ended_or_is_not_trusted(site: Site) -> None:
    assert told(site.check(limits={"tls_days": 40})) == {
        "warning TlsExpiring auth/vip",
        *(f"warning TlsExpiring auth/{host}:636" for host in site.samba.hosts),
    }
    site.vip.close()
    site.vip = AuthNode(site.nodes[0].backend, site.authority.expired("old"))
    result = site.check()
    assert told(result) == {"critical VipAuthDown auth/vip"} and "certificate has expired" in result["summary"] + str(
        result
    )
    assert told(site.check(tls=None)) == {"critical VipAuthDown auth/vip"}


def test_a_wrong_password_of_the_test_user(site: Site) -> None:
    (site.tmp / "password").write_text("wr0ng-horse\n")
    try:
        result = site.check(nodes=site.config()["deployments"][0]["auth"]["nodes"][:1], vip=None)
        assert told(result) == {"critical TokenRefused auth/st2-1"}
        assert "wr0ng" not in json.dumps(result)
    finally:
        site.nodes[0].backend.authenticate("alice", PASSWORD)  # so that nobody is locked


def test_one_node_refuses_whom_the_other_accepts(site: Site) -> None:
    site.nodes[1].backend = Ldap3AuthenticationBackend(**samba_options(site.samba, group_dns=["CN=ring1"]))
    site.configure(2, group_dns=["CN=ring1"], bind_password_file=str(site.tmp / "service"))
    result = site.check()
    assert told(result) == {"critical TokenRefused auth/st2-2", "warning AuthConfigDrift auth/st2-2"}
    assert "accepted by st2-1, vip" in str(result["findings"]) and "backend_kwargs.group_dns" in str(result["findings"])
    assert "ring1" not in str(result["findings"])  # options by name, never by value


def test_a_token_for_somebody_else_and_a_slow_sign_in(site: Site) -> None:
    site.vip.renames = "root"
    site.nodes[0].delay_s = 0.5
    assert told(site.check(limits={"latency_s": 0.5})) >= {
        "critical TokenOfAnother auth/vip", "warning AuthSlow auth/st2-1",
    }  # fmt: skip


def test_controllers_down_hung_and_none(site: Site) -> None:
    first, second = (f"auth/{host}:636" for host in site.samba.hosts)
    site.samba.server(0).kill()
    assert told(site.check()) == {f"warning DirectoryDown {first}", f"warning OneDirectoryLeft {second}"}
    site.samba.restore()
    site.samba.server(0).hang()
    assert told(site.check()) >= {f"warning DirectoryHung {first}", f"warning OneDirectoryLeft {second}"}
    site.samba.server(1).kill()
    result = site.check(test_username=None, test_password_file=None)
    assert told(result) == {
        "critical NoDirectory auth", f"warning DirectoryHung {first}", f"warning DirectoryDown {second}",
    }  # fmt: skip


def test_a_single_controller_is_told(site: Site) -> None:
    for number in (1, 2):
        site.configure(number, host=site.samba.hosts[0])
    assert told(site.check()) == {f"warning OneDirectoryLeft auth/{site.samba.hosts[0]}:636"}


def test_starttls_and_no_service_account(site: Site) -> None:
    for number in (1, 2):
        site.configure(number, use_ssl=False, use_tls=True, port=389)
    servers = {f"auth/{host}:389" for host in site.samba.hosts}
    assert told(site.check()) == set()
    found = told(site.check(limits={"tls_days": 40}))
    assert found == {"warning TlsExpiring auth/vip", *(f"warning TlsExpiring {server}" for server in servers)}
    for number in (1, 2):
        site.configure(number, bind_dn=None, bind_password_file=None, user_bind_pattern="{username}@ad.lab.test")
    result = site.check()
    assert told(result) == set() and "2 directory servers work" in result["summary"]


def test_openldap(site: Site, slapd: Slapd) -> None:
    """It does not tell its clock."""
    for options, expected in (
        (ldap_options(slapd), set()),
        (ldap_options(slapd, group_dns=["cn=st2users", "cn=gone"]), {"critical GroupMissing"}),
        (ldap_options(slapd, base_ou="dc=elsewhere"), {"critical DirectoryUnreadable", "critical NoDirectory"}),
    ):
        for number in (1, 2):
            conf = f"[auth]\nbackend = ldap3\nbackend_kwargs = {json.dumps(options)}\n"
            (site.tmp / f"st2-{number}.conf").write_text(conf)
        result = site.check()
        found = {each.rpartition(" ")[0] for each in told(result)} - {"warning OneDirectoryLeft"}
        assert found == expected
        assert result["facts"]["directories"][0]["skew_s"] is None


def test_certificates_of_the_controllers_are_verified(site: Site) -> None:
    other = Authority(site.tmp / "other")
    for number in (1, 2):
        site.configure(number, cacert=str(other.ca_file))
    result = site.check()
    assert told(result) == {
        "critical NoDirectory auth", *(f"warning DirectoryTlsFailed auth/{host}:636" for host in site.samba.hosts),
    }  # fmt: skip
    assert "certificate verify failed" in str(result) or "unable to get local issuer" in str(result)


def test_a_refused_service_account_costs_one_try(site: Site) -> None:
    """Two controllers and two nodes, and it is tried once: each try counts towards lockout."""
    (site.tmp / "service").write_text("wr0ng-horse\n")
    result = site.check(test_username=None, test_password_file=None)
    (finding,) = result["details"]
    assert finding["code"] == "ServiceAccountRefused" and finding["severity"] == "critical"
    assert "wrong password (52e)" in finding["message"] and "wr0ng" not in json.dumps(result)
    states = sorted(row["state"] for row in result["facts"]["directories"])
    assert states == ["not asked", "service account refused"]


def test_groups_that_are_not_there(site: Site) -> None:
    for number in (1, 2):
        site.configure(
            number, group_dns=["CN=st2users", "CN=gone"], group_dns_check="or", optional_group_dns=["CN=Optional"],
            denied_group_dns=["CN=misspelled"],
        )  # fmt: skip
    result = site.check()
    missing = {each["message"].split(" is not there")[0]: each for each in result["details"]}
    assert {name: each["severity"] for name, each in missing.items()} == {
        "the required group 'CN=gone'": "warning",
        "the denied group 'CN=misspelled'": "critical",
        "the optional group 'CN=Optional'": "warning",
    }
    assert "on 2 of 2 servers" in missing["the required group 'CN=gone'"]["message"]


def test_options_that_the_backend_refuses(site: Site) -> None:
    site.configure(1, group_dnz=["CN=x"])
    site.configure(2)
    result = site.check()
    assert "critical AuthConfigWrong auth/st2-1" in told(result)
    assert "there is no option 'group_dnz': is group_dns meant?" in str(result["findings"])
    (site.tmp / "st2-1.conf").write_text("[auth]\nbackend = ldap3\nbackend_kwargs = {'host': 'secret-x'}\n")
    result = site.check()
    assert "critical AuthConfigWrong auth/st2-1" in told(result) and "secret-x" not in json.dumps(result)


def test_a_node_that_cannot_be_looked_into(site: Site) -> None:
    (site.tmp / "st2-2.conf").unlink()
    result = site.check()
    assert told(result) == {"unknown AuthConfigUnreadable auth/st2-2"}
    assert "No such file or directory" in result["summary"] + str(result["findings"])
    began = time.monotonic()
    result = site.check(command="sh -c 'sleep 60'", timeout_s=2)
    assert told(result) == {"unknown AuthConfigUnreadable auth/st2-2"} and "did not end within" in str(result)
    assert time.monotonic() - began < 30
    assert told(site.check(command="/nowhere/ssh {host}")) == {"unknown AuthConfigUnreadable auth/st2-2"}


def test_the_incumbent_that_verifies_nothing(site: Site) -> None:
    for number in (1, 2):
        site.configure(number, backend="ldap", cacert=None, bind_password=PASSWORD, bind_password_file=None)
    assert "warning TlsUnverified auth/st2-1" in told(site.check())
    for number in (1, 2):
        site.configure(number, backend="ldap", bind_password=PASSWORD, bind_password_file=None)
    assert told(site.check()) == set()
    for number in (1, 2):
        site.configure(number, backend="ldap", use_ssl=False, bind_password=PASSWORD, bind_password_file=None)
    assert "critical TlsUnverified auth/st2-1" in told(site.check())


def test_flat_files_that_differ_and_switches(site: Site) -> None:
    for number in (1, 2):
        (site.tmp / f"htpasswd-{number}").write_text(f"user{number}:x\n")
        conf = f'[auth]\nbackend_kwargs = {{"file_path": "{site.tmp}/htpasswd-{number}"}}\n'
        (site.tmp / f"st2-{number}.conf").write_text(conf + ("enable = False\n" if number == 2 else ""))
    result = site.check()
    assert told(result) >= {
        "warning FlatFileBackend auth/st2-1", "warning FlatFileBackend auth/st2-2", "critical AuthDisabled auth/st2-2",
        "warning AuthConfigDrift auth/st2-2",
    }  # fmt: skip
    assert "the users of the flat file" in str(result["findings"]) and "user1" not in json.dumps(result)
    (site.tmp / "st2-1.conf").write_text("[auth]\nmode = proxy\n")
    assert "warning AuthProxyMode auth/st2-1" in told(site.check())


@contextlib.contextmanager
def container(uid: int) -> Iterator[str]:
    """A PID namespace in which st2auth runs as `uid`; the command that leads into it."""
    inner = f"exec setpriv --reuid={uid} --clear-groups bash -c 'exec -a /opt/stackstorm/st2/bin/st2auth sleep 60'"
    process = subprocess.Popen(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inner])
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until = time.monotonic() + 10
        while True:
            pids = children.read_text().split()
            if pids and Path(f"/proc/{pids[0]}/cmdline").read_text().startswith("/opt/stackstorm/st2/bin/st2auth"):
                break
            assert time.monotonic() < until
            time.sleep(0.01)
        yield f"nsenter --target {pids[0]} --pid --mount"
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes PID namespaces")
@pytest.mark.parametrize(
    ("uid", "backend", "expected"),
    [
        (0, "pam", {"warning AuthRunsAsRoot auth/st2-1"}),
        (65534, "pam", {"critical PamNeedsRoot auth/st2-1"}),
        (0, "ldap3", {"warning AuthRunsAsRoot auth/st2-1"}),
        (65534, "ldap3", set()),
    ],
)
def test_as_whom_st2auth_runs(site: Site, uid: int, backend: str, expected: set[str]) -> None:
    site.configure(1, backend=backend)
    with container(uid) as command:
        nodes = site.config()["deployments"][0]["auth"]["nodes"][:1]
        result = site.check(nodes=[{**nodes[0], "command": command}])
    assert told(result) == expected
    assert result["facts"]["nodes"][0]["runs_as"] == ("root" if uid == 0 else f"uid {uid}")


def test_slow_controllers(site: Site) -> None:
    """Nothing is as fast as that."""
    found = told(site.check(limits={"latency_s": 0.0001}))
    assert found >= {f"warning DirectorySlow auth/{host}:636" for host in site.samba.hosts}


def test_a_wrong_clock(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours, as far as the check can tell."""
    real = time.time
    monkeypatch.setattr("st2ha.auth.controllers.time.time", lambda: real() + 90)
    result = site.check()
    assert told(result) == {f"warning ClockSkew auth/{host}:636" for host in site.samba.hosts}
    assert " 90 s" in result["summary"] or " 91 s" in result["summary"] or " 89 s" in result["summary"]
