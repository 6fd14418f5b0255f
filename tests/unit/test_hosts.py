"""The door into a node, with real processes."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from st2ha.config import Section
from st2ha.errors import (
    BadInput,
    CommandFailed,
    CommandTimedOut,
    HostError,
    HostUnreachable,
    NotPermitted,
    NotStarted,
    TooMuchOutput,
)
from st2ha.hosts import Door, door, parse_prefix, read_file, run_all

HERE = Door()
ODD = ["a b", "$HOME", "`id`", "'", '"', "", "*", "ü; rm", "-n", "x\ny", "\\"]
SHOW = [sys.executable, "-c", "import sys; sys.stdout.write('|'.join(sys.argv[1:]))"]
NODE = {"name": "st2-1", "host": "127.0.0.1"}


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """A stand-in for ssh: like it, it joins its words and has a shell take them apart."""
    program = tmp_path / "ssh"
    program.write_text(
        '#!/bin/sh\n[ "$1" = -fail ] && { echo "connect: refused" >&2; exit 255; }\nshift\nexec sh -c "$*"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def is_dead(pid: int) -> bool:
    """Within 5 s of its killing, which the kernel does when it gets to it. A zombie is dead."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_words_arrive_as_they_are_here_and_behind_one_and_two_shells(far: Path) -> None:
    for prefix in ((), (str(far), "{name}"), (str(far), "{name}", str(far), "{host}"), ("env", "A=1")):
        assert door(prefix, NODE).run([*SHOW, *ODD], 10).decode() == "|".join(ODD)


def test_a_file_is_read_whatever_its_name(far: Path, tmp_path: Path) -> None:
    path = tmp_path / "-e it's $HOME.conf"
    path.write_text("[auth]\n")
    assert read_file(door((str(far), "{name}"), NODE), str(path), 10) == b"[auth]\n"


def test_a_program_does_not_get_the_packages_of_an_action(monkeypatch: pytest.MonkeyPatch) -> None:
    """StackStorm gives an action the pack's virtualenv in PYTHONPATH: StackStorm's own programs die of it."""
    monkeypatch.setenv("PYTHONPATH", "/opt/stackstorm/virtualenvs/ha/lib/python3.11/site-packages")
    monkeypatch.setenv("KEPT", "kept")
    assert HERE.run(["sh", "-c", "echo ${PYTHONPATH-none} $KEPT"], 10) == b"none kept\n"


def test_input_longer_than_any_pipe_comes_back() -> None:
    data = os.urandom(700_000)
    assert HERE.run(["cat"], 10, stdin=data) == data


def test_a_program_that_reads_no_input_does_no_harm() -> None:
    assert HERE.run(["echo", "done"], 10, stdin=bytes(700_000)) == b"done\n"


def test_at_the_deadline_the_whole_group_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    began = time.monotonic()
    with pytest.raises(CommandTimedOut, match=r"^`sh` did not end within 0.5 s and was stopped$"):
        HERE.run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], 0.5)
    assert time.monotonic() - began < 15
    assert is_dead(int(pid_file.read_text()))


def test_what_it_leaves_in_the_background_is_killed_too(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    HERE.run(["sh", "-c", f"sleep 60 >/dev/null 2>&1 </dev/null & echo $! > {pid_file}"], 10)
    assert is_dead(int(pid_file.read_text()))


def test_closed_outputs_are_not_its_end() -> None:
    with pytest.raises(CommandTimedOut):
        HERE.run(["sh", "-c", "exec >&- 2>&-; sleep 60"], 0.3)


def test_output_is_limited_and_ends_it() -> None:
    began = time.monotonic()
    with pytest.raises(TooMuchOutput, match=r"^`yes` wrote more than 100000 bytes"):
        HERE.run(["yes"], 30, output_limit=100_000)
    assert time.monotonic() - began < 15
    assert len(HERE.run(["head", "-c", "100000", "/dev/zero"], 10, output_limit=100_000)) == 100_000


def test_a_failure_tells_the_last_words_and_only_these() -> None:
    with pytest.raises(CommandFailed) as caught:
        HERE.run(["sh", "-c", "yes x | head -c 1000000 >&2; echo 'no such thing' >&2; exit 3", "argument"], 10)
    assert caught.value.code == 3
    assert str(caught.value).endswith("no such thing") and len(str(caught.value)) < 300
    assert "argument" not in str(caught.value)


def test_a_program_that_is_not_there_and_one_that_ssh_does_not_reach(far: Path) -> None:
    with pytest.raises(NotStarted, match=r"^'/nowhere/ssh' cannot be run here: No such file or directory; correct"):
        door(("/nowhere/ssh", "{name}"), NODE).run(["cat"], 10)
    with pytest.raises(HostUnreachable, match=r"^ssh did not get in: connect: refused$"):
        door((str(far), "-fail"), NODE).run(["cat"], 10)
    with pytest.raises(CommandFailed):
        HERE.run(["sh", "-c", "exit 255"], 10)
    with pytest.raises(NotStarted, match="NUL"):
        HERE.run(["echo", "a\0b"], 10)
    with pytest.raises(BadInput, match="no words"):
        HERE.run([], 10)


def prefix(text: object) -> object:
    return parse_prefix(Section({"command": text}, "auth"), "command")


def test_the_prefix_of_the_configuration() -> None:
    assert prefix(None) is None and prefix("") is None
    assert prefix("local") == ()
    assert prefix("docker exec '{name} x'") == ("docker", "exec", "{name} x")


def test_ssh_gets_the_options_that_it_does_not_name_itself() -> None:
    ours = ["StrictHostKeyChecking=yes", "BatchMode=yes", "ConnectTimeout=5", "LogLevel=ERROR", "ControlPath=none"]
    every = [word for option in ours for word in ("-o", option)]
    assert prefix("ssh -p 22 st2@{host} sudo") == ("ssh", *every, "-p", "22", "st2@{host}", "sudo")
    assert prefix("/usr/bin/ssh jump ssh {host}") == ("/usr/bin/ssh", *every, "jump", "ssh", *every, "{host}")
    own = prefix("ssh -oconnecttimeout=9 -o 'ControlMaster auto' -o StrictHostKeyChecking=yes {host}")
    assert own == (
        "ssh",
        *every[2:4],
        *every[6:8],
        "-oconnecttimeout=9",
        "-o",
        "ControlMaster auto",
        "-o",
        ours[0],
        "{host}",
    )


@pytest.mark.parametrize(
    "option", ["-o StrictHostKeyChecking=no", "-ostricthostkeychecking=accept-new", "-o 'StrictHostKeyChecking off'"]
)
def test_host_keys_cannot_be_left_unchecked(option: str) -> None:
    with pytest.raises(BadInput, match=r"^auth.command has StrictHostKeyChecking \S+: host keys are always checked"):
        prefix(f"ssh {option} {{host}}")


def test_several_commands_in_one_round_trip(far: Path, tmp_path: Path) -> None:
    noisy = ["sh", "-c", "echo out; yes x | head -c 100000 >&2; echo 'no such' >&2; exit 3"]
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 10)
    for prefix_words in ((), (str(far), "{name}")):
        way = door(prefix_words, NODE)
        shown, failed, read, silent, missing = run_all(
            way, [[*SHOW, *ODD], noisy, ["cat", str(binary)], ["true"], ["/nowhere/x", "argument"]], 10
        )
        assert shown == "|".join(ODD).encode()
        assert isinstance(failed, CommandFailed) and failed.code == 3 and str(failed).endswith("no such")
        assert (read, silent) == (binary.read_bytes(), b"")
        assert isinstance(missing, CommandFailed) and missing.code == 127 and "argument" not in str(missing)
    with pytest.raises(CommandTimedOut):
        run_all(HERE, [["sleep", "60"]], 0.3)
    with pytest.raises(HostError, match="ran 0 of 1 commands"):
        run_all(door(("true",), NODE), [["true"]], 5)


def test_sudo_without_the_right_is_one_sentence() -> None:
    """sudo itself, as a user that may nothing."""
    if os.geteuid():
        pytest.skip("becoming somebody else needs root")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sudo")
    with pytest.raises(NotPermitted, match=r"^sudo does not let us run `cat` there: allow it in sudoers"):
        door(nobody, NODE).run(["cat", "/etc/shadow"], 10)


@pytest.mark.parametrize("text", ["ssh '", "ssh {user}", "ssh {", "ssh {0}", "ssh {name.x}"])
def test_a_prefix_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadInput, match=r"^auth.command cannot be read: write it as in a shell, with \{name\}"):
        prefix(text)
