"""The lab does what it says, seen from outside: by sockets, processes and the servers' own words."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from lab.certs import Authority
from lab.cluster import Member
from lab.errors import LabError, NotYet, ServerDied, WaitTimeout
from lab.mongodb import MongoCluster
from lab.network import Endpoint, Network
from lab.process import Server, sweep
from lab.proxy import Proxy
from lab.wait import wait_for

ROOT = Path(__file__).resolve().parents[2]
needs_root = pytest.mark.skipif(Network.limitation() is not None, reason=str(Network.limitation()))


def behaviour(host: str, port: int) -> str:
    """What a client sees: ``refused``, ``black hole`` (no answer to the connect), ``silent`` or ``answers``."""
    with socket.socket() as sock:
        sock.settimeout(1)
        try:
            sock.connect((host, port))
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "black hole"
        try:
            sock.sendall(HELLO)
            return "answers" if sock.recv(16) else "closed"
        except TimeoutError:
            return "silent"


# {hello: 1, $db: "admin"} as an OP_MSG: a mongod answers it, an echo server as well.
_BODY = b"\0" * 4 + b"\0" + bytes.fromhex("1e0000001068656c6c6f000100000002246462000600000061646d696e0000")
HELLO = (16 + len(_BODY)).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0" * 4 + b"\xdd\x07\0\0" + _BODY


def seen(member: Member) -> str:
    return behaviour(member.host, member.port)


def python(code: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)


# -- waits


def test_a_wait_says_what_it_waited_for_and_what_it_saw_last() -> None:
    def condition() -> bool:
        raise NotYet("mongo2 is RECOVERING")

    with pytest.raises(WaitTimeout, match=r"0\.1 s in vain for health; last: mongo2 is RECOVERING"):
        wait_for(condition, 0.1, "health")


def test_a_wait_passes_on_errors_it_was_not_told_of() -> None:
    def condition() -> bool:
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="mistake"):
        wait_for(condition, 5, "never")


# -- processes


def test_a_server_that_ends_is_reported_with_its_log(tmp_path: Path) -> None:
    server = Server("s", ["sh", "-c", "echo no such table; exit 3"], tmp_path, owner=tmp_path)
    server.start()
    wait_for(lambda: not server.alive(), 5, "its end")
    with pytest.raises(ServerDied, match=r"(?s)exit code 3.*no such table"):
        server.check_alive()


def test_a_reused_pid_is_not_taken_for_the_server(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(f'{{"pid": {os.getpid()}, "started": 1}}')
    server = Server("s", ["true"], tmp_path, owner=tmp_path)
    assert not server.alive()
    server.kill()  # must not reach this very process


def test_sweep_finds_daemons_that_nobody_recorded(tmp_path: Path) -> None:
    server = Server("s", ["sh", "-c", "setsid sleep 77 & echo $!"], tmp_path, owner=tmp_path)
    server.start()
    wait_for(lambda: not server.alive(), 5, "the shell to end")
    daemon = Path("/proc") / server.log_tail(1)
    wait_for(lambda: (daemon / "cmdline").read_bytes() == b"sleep\x0077\0", 5, "the daemon to be itself")
    sweep(tmp_path)
    wait_for(lambda: not daemon.exists() or "Z (zombie)" in (daemon / "status").read_text(), 5, "the daemon to die")


@pytest.mark.timeout(90)
@pytest.mark.parametrize("in_thread", [False, True], ids=["main thread", "helper thread"])
def test_no_orphans_when_the_parent_is_killed(in_thread: bool) -> None:
    code = """
import sys, threading, time
from lab.mongodb import MongoCluster
rs = MongoCluster(members=1)
helper = threading.Thread(target=rs.up)
helper.start() if sys.argv[1] == "True" else rs.up()
if sys.argv[1] == "True": helper.join()
print(rs.directory, rs.network.table.split()[1], *(s.pid for s in rs.servers.values()), flush=True)
time.sleep(60)
"""
    parent = python(code, str(in_thread))
    assert parent.stdout is not None
    directory, table, *pids = parent.stdout.readline().split()
    assert pids and all(Path(f"/proc/{pid}").exists() for pid in pids)
    time.sleep(0.3)
    assert all(Path(f"/proc/{pid}").exists() for pid in pids), "they outlive the thread that started them"
    parent.kill()
    parent.wait(10)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 15, "the members to die")
    wait_for(lambda: not Path(directory).exists(), 15, "the directory to go")
    assert not table_exists(table)


@pytest.mark.timeout(60)
def test_no_orphans_when_the_parent_is_killed_while_starting() -> None:
    code = """
import os, signal
from lab.mongodb import MongoCluster
class Doomed(MongoCluster):
    def _launch(self):
        print(self.directory, *(s.pid for s in self.servers.values()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
Doomed(members=3).up()
"""
    parent = python(code)
    assert parent.stdout is not None
    directory, *pids = parent.stdout.readline().split()
    parent.wait(10)
    assert len(pids) == 3
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 15, "the members to die")
    wait_for(lambda: not Path(directory).exists(), 15, "the directory to go")


# -- network


def table_exists(table: str) -> bool:
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10, check=False)
    return table in listed.stdout.split()


@needs_root
@pytest.mark.timeout(30)
def test_a_cut_stops_what_others_send_on_connections_the_server_opened() -> None:
    uid = 1_065_535
    code = """
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
while s.recv(1): print("got", flush=True)
"""
    network = Network(uid, [Endpoint("a", uid, (1,)), Endpoint("b", uid + 1, (2,))])
    network.up()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
            puller = subprocess.Popen(["/usr/bin/python3", "-c", code, port], user=uid, stdout=subprocess.PIPE, cwd="/")
            assert puller.stdout is not None
            os.set_blocking(puller.stdout.fileno(), False)
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"1")
                wait_for(puller.stdout.read, 5, "the first byte")
                network.cut_off("a")
                connection.sendall(b"2")
                time.sleep(0.7)
                assert puller.stdout.read() is None, "pushed data must not pass the cut"
                network.heal("a")
                wait_for(puller.stdout.read, 10, "the second byte after healing")
            puller.wait(10)
    finally:
        network.down()
    assert not table_exists(network.table.split()[1])


# -- MongoDB: each fault as a client sees it


def test_kill_is_seen_as_refused_and_start_brings_it_back(mongo: MongoCluster) -> None:
    victim = mongo.secondaries()[0]
    assert seen(victim) == "answers"
    mongo.kill(victim.name)
    assert seen(victim) == "refused"
    assert mongo.states()[victim.name] == "dead"
    mongo.start(victim.name)
    mongo.wait_healthy()


def test_a_killed_primary_is_replaced(mongo: MongoCluster) -> None:
    old = mongo.primary()
    mongo.kill(old.name)
    assert mongo.primary() != old


def test_stop_is_clean(mongo: MongoCluster) -> None:
    victim = mongo.secondaries()[0]
    mongo.stop(victim.name)
    assert seen(victim) == "refused"
    assert '"exitCode":0' in mongo.servers[victim.name].log_tail(3)


def test_hang_is_seen_as_silent_and_resume_brings_it_back(mongo: MongoCluster) -> None:
    victim = mongo.secondaries()[0]
    mongo.hang(victim.name)
    assert seen(victim) == "silent"
    assert mongo.states()[victim.name] == "hung"
    mongo.resume(victim.name)
    assert seen(victim) == "answers"
    mongo.wait_healthy()


@needs_root
def test_cut_off_is_seen_as_a_black_hole_by_clients_and_members(mongo: MongoCluster) -> None:
    victim = mongo.secondaries()[0]
    mongo.cut_off(victim.name)
    assert seen(victim) == "black hole"
    assert mongo.states()[victim.name] == "running, cut off"
    mongo.heal(victim.name)
    assert seen(victim) == "answers"
    mongo.wait_healthy()


@needs_root
def test_a_cut_that_keeps_clients_stops_replication(mongo: MongoCluster) -> None:
    victim = mongo.secondaries()[0]
    mongo.cut_off(victim.name, keep_clients=True)
    things = mongo.client(login="lab_root").lab_test.get_collection("things", write_concern=WriteConcern("majority"))
    things.insert_one({"x": 1})
    time.sleep(1)
    lonely = mongo.client(victim.name, login="lab_root").lab_test.things
    assert lonely.count_documents({}) == 0
    mongo.heal(victim.name)
    mongo.wait_healthy()
    assert lonely.count_documents({}) == 1


@needs_root
def test_rollback(mongo: MongoCluster) -> None:
    made = mongo.make_rollback(documents=20)
    assert made.rbid_after > made.rbid_before
    assert made.new_primary != made.member
    left = mongo.client(login="lab_root").lab_rollback.lost
    assert left.count_documents({"lost": {"$exists": True}}) == 0
    assert left.count_documents({"kept": True}) == 1


def test_fsync_lock_freezes_a_member_that_looks_well(mongo: MongoCluster) -> None:
    victim = mongo.secondaries()[0]
    mongo.fsync_lock(victim.name)
    with pytest.raises(WaitTimeout, match="does not reach every data member"):
        mongo.wait_healthy(1)
    assert mongo.command(victim.name, "hello")["secondary"]
    mongo.fsync_unlock(victim.name)
    mongo.wait_healthy()


def test_restore_undoes_several_faults_and_a_changed_configuration(mongo: MongoCluster) -> None:
    first, second = mongo.secondaries()
    config = mongo.command(mongo.primary().name, "replSetGetConfig")["config"]
    config["members"] = [dict(m, priority=2) for m in config["members"] if m["host"] != first.address]
    config["version"] += 1
    mongo.command(mongo.primary().name, {"replSetReconfig": config, "force": True})
    mongo.kill(second.name)
    mongo.hang(first.name)
    mongo.restore()
    after = mongo.command(mongo.primary().name, "replSetGetConfig")["config"]
    assert [(m["host"], m["priority"]) for m in after["members"]] == [(host, 1) for host in mongo.hosts]


def test_settings_are_as_asked(mongo: MongoCluster) -> None:
    config = mongo.command(mongo.primary().name, "replSetGetConfig")["config"]
    assert config["settings"]["electionTimeoutMillis"] == 2000
    assert config["settings"]["heartbeatIntervalMillis"] == 500


def test_logins_have_the_rights_they_are_for(mongo: MongoCluster) -> None:
    primary = mongo.primary().name
    check = mongo.client(primary, login="st2ha_check")
    assert check.admin.command("replSetGetStatus")["set"] == "rs0"
    assert check.local["oplog.rs"].find_one() is not None
    with pytest.raises(OperationFailure, match="not authorized"):
        check.admin.command("replSetStepDown", 1)
    operator = mongo.client(primary)
    operator.st2ha_canary.beats.insert_one({"x": 1})
    operator.admin.command("replSetGetConfig")
    with pytest.raises(OperationFailure, match="not authorized"):
        operator.st2.action.insert_one({"x": 1})
    with pytest.raises(OperationFailure, match="Authentication failed"):
        mongo.client(primary, password="wrong").admin.command("replSetGetStatus")


def test_no_secret_on_a_command_line_or_in_a_repr(mongo: MongoCluster) -> None:
    secrets = [login.password for login in mongo.logins.values()]
    shown = [repr(mongo), repr(mongo.logins), str(mongo.facts()), str(mongo.deployment())]
    shown += [Path(f"/proc/{s.pid}/cmdline").read_text() for s in mongo.servers.values()]
    assert not [text for text in shown if any(secret in text for secret in secrets)]
    assert mongo.password_file.stat().st_mode & 0o077 == 0
    assert mongo.directory.stat().st_mode & 0o077 == 0


def test_tls_set_speaks_only_tls(tls_replica_set: MongoCluster, tmp_path: Path) -> None:
    rs = tls_replica_set
    assert rs.client().admin.command("ping")["ok"] == 1
    assert seen(rs.members[0]) in ("closed", "silent")
    config = yaml.safe_load(rs.write_config(tmp_path / "ha.yaml").read_text())
    assert config["default_deployment"] == "lab"
    assert config["deployments"][0]["mongodb"]["tls"] == {"enabled": True, "ca_file": str(rs.ca_file)}


@pytest.mark.timeout(60)
def test_five_members_with_an_arbiter_beside_another_set(tmp_path: Path) -> None:
    with MongoCluster(tmp_path / "rs", members=4, arbiters=1) as rs:
        status = rs.command(rs.primary().name, "replSetGetStatus")
        assert sorted(m["stateStr"] for m in status["members"]) == ["ARBITER", "PRIMARY"] + 3 * ["SECONDARY"]
        rs.kill("mongo5")
        rs.start("mongo5")
        rs.wait_healthy()
    assert not (tmp_path / "rs").exists()


def test_a_directory_in_use_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(LabError, match="not empty"):
        MongoCluster(tmp_path).up()
    assert (tmp_path / "precious").exists()


def test_taken_ports_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match="in use"):
            MongoCluster(members=1, base_port=port).up()


# -- the shell


def lab(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab", *args, "--dir", str(directory)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.timeout(120)
def test_shell_round_trip(tmp_path: Path) -> None:
    assert "no clusters" in lab(tmp_path, "status").stdout
    try:
        up = lab(tmp_path, "up", "mongodb", "--members", "1")
        assert up.returncode == 0, up.stderr
        assert str(tmp_path / "mongodb" / "ha.yaml") in up.stdout
        assert "running" in lab(tmp_path, "status").stdout
        again = lab(tmp_path, "up", "mongodb")
        assert again.returncode == 1 and "not empty" in again.stderr
        for verb, state in [("hang", "hung"), ("resume", "running"), ("kill", "dead"), ("start", "running")]:
            assert state in lab(tmp_path, verb, "mongodb", "mongo1").stdout
        with contextlib.closing(MongoCluster.attach(tmp_path / "mongodb").client()) as client:
            assert client.admin.command("ping")["ok"] == 1
        wrong = lab(tmp_path, "kill", "mongodb", "mongo9")
        assert wrong.returncode == 1 and "there are mongo1" in wrong.stderr
    finally:
        down = lab(tmp_path, "down")
    assert "mongodb is down" in down.stdout
    assert "no clusters" in lab(tmp_path, "status").stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_shell_up_interrupted_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    up = subprocess.Popen([sys.executable, "-m", "lab", "up", "mongodb", "--dir", str(tmp_path)], cwd=ROOT)
    pid_file = tmp_path / "mongodb" / "mongo3" / "server.json"
    wait_for(pid_file.exists, 20, "the third member to start", interval_s=0.01)
    up.send_signal(number)
    assert up.wait(20) != 0
    assert not (tmp_path / "mongodb").exists()


# -- the proxy


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1024):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("pass", "answers"), ("hang", "silent"), ("refuse", "refused"), ("blackhole", "black hole")],
)
def test_proxy_modes_for_new_connections(echo: tuple[str, int], mode: str, expected: str) -> None:
    with Proxy(echo) as proxy:
        assert behaviour(proxy.host, proxy.port) == "answers"
        proxy.mode = mode
        assert behaviour(proxy.host, proxy.port) == expected
        proxy.mode = "pass"
        assert behaviour(proxy.host, proxy.port) == "answers"


@pytest.mark.parametrize("mode", ["hang", "blackhole"])
def test_proxy_silences_a_connection_and_lets_it_speak_again(echo: tuple[str, int], mode: str) -> None:
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 2) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        proxy.mode = mode
        client.settimeout(0.4)
        client.sendall(b"b")
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.mode = "pass"
        client.settimeout(3)
        assert client.recv(1) == b"b"


def test_proxy_refuse_resets_connections(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 2) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        proxy.mode = "refuse"
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_proxy_drips_a_byte_a_second(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, socket.create_connection((proxy.host, proxy.port), 5) as client:
        client.sendall(b"x")  # through first, so that the way back alone is measured
        assert client.recv(1) == b"x"
        client.sendall(b"abc")
        time.sleep(0.2)
        client.recv(3)
        proxy.mode = "drip"
        client.sendall(b"de")
        assert client.recv(10) == b"d"
        started = time.monotonic()
        assert client.recv(10) == b"e"
        assert time.monotonic() - started > 0.8


def test_fifty_proxies(echo: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(Proxy(echo)) for _ in range(50)]
        proxies[7].mode = "refuse"
        seen_by_all = [behaviour(p.host, p.port) for p in proxies]
        assert seen_by_all == 7 * ["answers"] + ["refused"] + 42 * ["answers"]


def test_proxy_of_a_dead_target_resets() -> None:
    with Proxy(("127.0.0.1", 1)) as proxy, socket.socket() as client:
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):  # it may come as early as in the connect
            client.connect((proxy.host, proxy.port))
            client.recv(1)


def test_proxy_rejects_an_unknown_mode(echo: tuple[str, int]) -> None:
    with Proxy(echo) as proxy, pytest.raises(ValueError, match="no mode 'lossy': one of pass"):
        proxy.mode = "lossy"


# -- certificates


def handshake(authority: Authority, pem: Path) -> str:
    """What a careful client of 127.0.0.1 says to a server with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    careful = ssl.create_default_context(cafile=str(authority.ca_file))
    careful.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as raw:
                raw.settimeout(5)
                context.wrap_socket(raw, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), 5) as raw:
                careful.wrap_socket(raw, server_hostname="127.0.0.1").close()
                return "trusted"
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        finally:
            thread.join(10)


def test_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    good = authority.server("good")
    assert good.stat().st_mode & 0o077 == 0
    assert handshake(authority, good) == "trusted"
    assert "expired" in handshake(authority, authority.expired("old"))
    assert "IP address mismatch" in handshake(authority, authority.wrong_name("other"))
    assert "certificate" in handshake(Authority(tmp_path / "stranger"), good)
