"""The door into a node through a real sshd, each node in namespaces of its own, as if it were another machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.sshd import NODES, Sshd, SshNodes
from lab.wait import wait_for
from st2ha.config import Section
from st2ha.errors import (
    CommandFailed,
    CommandTimedOut,
    HostError,
    HostNotTrusted,
    HostUnreachable,
    LoginRefused,
    NotPermitted,
    TooMuchOutput,
)
from st2ha.hosts import Door, door, parse_prefix, read_file, run_all

ODD = ["a b", "$HOME", "`id`", "'", '"', "", "*", "ü; rm", "-n", "x\ny", "\\", "\udcff\udc80", "!!", "~", "#", "\t"]
SHOW = [sys.executable, "-c", "import os, sys; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"]


@pytest.fixture(scope="module")
def machines() -> Iterator[SshNodes]:
    if why := SshNodes.limitation():
        pytest.skip(why)
    with SshNodes() as nodes, nodes.inside("client"):
        yield nodes


@pytest.fixture
def nodes(machines: SshNodes) -> Iterator[Sshd]:
    yield machines.ssh
    machines.restore()


def way(nodes: Sshd, *more: str, command: str = "", name: str = "node1") -> Door:
    prefix = parse_prefix(Section({"command": command or nodes.command(*more)}, "content"), "command")
    assert prefix is not None
    return door(prefix, {"name": name, "host": NODES.get(name, name)})


def ssh_processes(nodes: Sshd) -> list[int]:
    """Clients that use this lab's configuration, masters among them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith((b"ssh\0", b"ssh:")) and str(nodes.directory).encode() in words:
            found.append(int(pid))
    return found


def test_words_arrive_as_they_are(nodes: Sshd) -> None:
    expected = b"|".join(map(os.fsencode, ODD))
    assert way(nodes).run([*SHOW, *ODD], 20) == expected
    assert way(nodes, "env", "A=1").run([*SHOW, *ODD], 20) == expected
    assert run_all(way(nodes), [[*SHOW, *ODD], ["false"]], 20)[0] == expected


def test_through_two_sshds(nodes: Sshd) -> None:
    """A jump by words: each ssh is one more shell."""
    twice = f"ssh -F {nodes.client_config} node2 ssh -F {nodes.client_config} {{name}}"
    assert way(nodes, command=twice).run([*SHOW, *ODD], 20) == b"|".join(map(os.fsencode, ODD))


def test_a_file_of_any_name_goes_there_and_back(nodes: Sshd, tmp_path: Path) -> None:
    path, content = os.path.join(tmp_path, "it's\n\udcff $HOME"), os.urandom(600_000)
    way(nodes).run(["sh", "-c", 'cat >"$1"', "sh", path], 20, content)
    assert read_file(way(nodes), path, 20) == content


def test_an_unknown_host_key_and_a_changed_one(nodes: Sshd, tmp_path: Path) -> None:
    told = tmp_path / "told"
    nodes.forget("node1")
    with pytest.raises(HostNotTrusted, match=r"^the node's host key is not in known_hosts: compare its fingerprint"):
        way(nodes).run(["touch", str(told)], 20)
    nodes.know("node1", key_of="node2")
    with pytest.raises(HostNotTrusted, match=r"^the node's host key is not the one in known_hosts: it was installed"):
        way(nodes).run(["touch", str(told)], 20)
    assert not told.exists()
    assert "node1" not in [line for line in nodes.known_hosts.read_text().splitlines() if "node1" in line][1:]


def test_a_key_that_is_not_let_in(nodes: Sshd) -> None:
    nodes.make_key("stranger")
    stranger = nodes.client_config.with_name("stranger_config")
    stranger.write_text(nodes.client_config.read_text().replace("/client\n", "/stranger\n"))
    with pytest.raises(LoginRefused, match=r"^ssh was not let in: Permission denied \(publickey\); give the user"):
        way(nodes, command=f"ssh -F {stranger} {{name}}").run(["true"], 20)


def test_a_name_that_nobody_has_and_a_port_that_is_closed(nodes: Sshd) -> None:
    with pytest.raises(HostUnreachable, match=r"^ssh did not get in: ssh: Could not resolve hostname \S+: "):
        way(nodes, name="nobody.invalid").run(["true"], 20)
    nodes.servers["node1"].kill()
    with pytest.raises(HostUnreachable, match=r"^ssh did not get in: .*onnection refused"):
        way(nodes).run(["true"], 20)


def test_a_cable_that_is_pulled_before_and_meanwhile(nodes: Sshd) -> None:
    """Nobody says no: it costs ssh's time to connect, and meanwhile the deadline."""
    with pytest.raises(CommandTimedOut, match=r"^`sh` did not end within 2 s and was stopped$"):
        way(nodes).run(["sh", "-c", "ip link set eth0 down; echo late"], 2)
    patient = f"ssh -o ConnectTimeout=1 -F {nodes.client_config} {{name}}"
    with pytest.raises(HostUnreachable, match=r"^ssh did not get in: .*(timed out|No route to host)"):
        way(nodes, command=patient).run(["true"], 30)
    assert way(nodes, name="node2").run(["uname", "-n"], 20) == b"node2\n"
    assert ssh_processes(nodes) == []


def test_a_hung_sshd_costs_its_connect_timeout_or_the_deadline(nodes: Sshd) -> None:
    nodes.servers["node1"].hang()
    began = time.monotonic()
    with pytest.raises(CommandTimedOut, match=r"^`true` did not end within 0.5 s and was stopped$"):
        way(nodes).run(["true"], 0.5)
    assert time.monotonic() - began < 5
    patient = f"ssh -o ConnectTimeout=1 -F {nodes.client_config} {{name}}"
    with pytest.raises(HostUnreachable, match=r"^ssh did not get in: .*timed out"):
        way(nodes, command=patient).run(["true"], 30)


def test_the_far_end_at_the_deadline_and_at_the_limit(nodes: Sshd) -> None:
    with pytest.raises(CommandTimedOut, match=r"^`sleep` did not end within 1 s"):
        way(nodes).run(["sleep", "60"], 1)
    with pytest.raises(TooMuchOutput, match=r"^`yes` wrote more than 100000 bytes"):
        way(nodes).run(["yes"], 30, output_limit=100_000)
    assert ssh_processes(nodes) == []


def test_the_far_command_fails_by_itself(nodes: Sshd) -> None:
    with pytest.raises(CommandFailed, match=r"^`cat` ended with 1: cat: /nowhere: No such file") as caught:
        read_file(way(nodes), "/nowhere", 20)
    assert caught.value.code == 1


def test_no_sudo_right(nodes: Sshd) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sudo")
    with pytest.raises(NotPermitted, match=r"^sudo does not let us run `cat` there: allow it in sudoers"):
        way(nodes, *nobody).run(["cat", "/etc/shadow"], 20)


def test_no_master_is_left_behind(nodes: Sshd) -> None:
    """Though the user's ssh_config asks for one that stays."""
    shared = nodes.client_config.with_name("shared_config")
    master = f"ControlMaster auto\nControlPath {nodes.directory}/%h.mux\nControlPersist 60\n"
    shared.write_text(master + nodes.client_config.read_text())
    began = time.monotonic()
    assert way(nodes, command=f"ssh -F {shared} {{name}}").run(["echo", "x"], 20) == b"x\n"
    assert time.monotonic() - began < 15
    wait_for(lambda: ssh_processes(nodes) == [], 10, "the clients to end")


def test_every_failure_is_a_host_error_of_one_line(nodes: Sshd) -> None:
    nodes.forget("node1")
    with pytest.raises(HostError) as caught:
        way(nodes).run(["true"], 20)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
