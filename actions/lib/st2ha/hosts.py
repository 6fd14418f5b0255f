"""Facts from inside a node, through one door: a command run here, or there behind a configured prefix.

The prefix stands before the command: `ssh st2ha@{host} sudo`, `docker exec {name}`. No shell is used here. **Each `ssh`
in the prefix means one shell on the far side**, which takes the words apart again: so every word of ours is quoted once
for each `ssh` (none for `docker exec` or `kubectl exec`, which hand the words on as they are).

`ssh` is the system's own: the keys, jump hosts and known_hosts of the user that runs the pack count. It gets the
options of SSH_OPTIONS: host keys are always checked, nothing is ever asked, and no master process is left behind.
Secrets go through standard input or come from standard output, never into the words: everybody on the node sees those.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from st2ha.config import Section
from st2ha.errors import (
    BadInput,
    CommandFailed,
    CommandTimedOut,
    HostError,
    HostNotTrusted,
    HostUnreachable,
    LoginRefused,
    NotPermitted,
    NotStarted,
    TooMuchOutput,
)
from st2ha.talk import Talk, end

LOCAL = "local"
"""The prefix of the node that we run on ourselves."""
OUTPUT_LIMIT = 1024 * 1024
TOLD = 200
SSH_ITSELF_FAILED = 255
PLACES = ("name", "host")
SSH_OPTIONS = {
    "StrictHostKeyChecking": "yes",
    "BatchMode": "yes",
    "ConnectTimeout": "5",
    "LogLevel": "ERROR",  # a banner is not the reason of a failure
    "ControlPath": "none",
}
"""Put behind each `ssh` of a prefix unless it names the option itself; ControlMaster counts as ControlPath."""
REFUSALS: tuple[tuple[str, type[HostError], str], ...] = (
    (
        r"has changed and you have requested strict|marked as revoked",
        HostNotTrusted,
        "the node's host key is not the one in known_hosts: it was installed anew, or somebody stands in between; find "
        "out which, then ssh-keygen -R and add the new key",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        HostNotTrusted,
        "the node's host key is not in known_hosts: compare its fingerprint on the node, then add it as the user that "
        "runs this pack",
    ),
    (
        r"(?P<words>Permission denied \([\w,-]*\))",
        LoginRefused,
        "ssh was not let in: {words}; give the user that runs this pack a key which the node accepts",
    ),
)
"""What ssh says when it fails, the error it is, and our sentence."""
SUDO_REFUSED = re.compile(r"sudo: .*(password is required|terminal is required|no tty present)|not allowed to execute|"
                          r"not in the sudoers file|may not run sudo")  # fmt: skip


@dataclass(frozen=True)
class Door:
    """The way into one node. `prefix` is empty for the node that we run on."""

    prefix: tuple[str, ...] = ()
    shells: int = 0

    def argv(self, words: Sequence[str]) -> list[str]:
        """What is run here for `words` there."""
        quoted = list(words)
        for _ in range(self.shells):
            quoted = [shlex.quote(word) for word in quoted]
        return [*self.prefix, *quoted]

    def run(
        self, words: Sequence[str], deadline_s: float, stdin: bytes = b"", output_limit: int = OUTPUT_LIMIT
    ) -> bytes:
        """The standard output of `words`. Raises a HostError; the first word names the command in its sentence.

        The deadline is for all of it; whatever happens, no process of ours is left behind (a remote one may be: its
        input and output are closed).
        """
        if not words:
            raise BadInput("a command has no words: name the program")
        try:
            process = subprocess.Popen(
                self.argv(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, env=surroundings(),
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a word holds a NUL"
            program = self.prefix[0] if self.prefix else words[0]
            raise NotStarted(f"{program!r} cannot be run here: {reason}; correct the node's `command`") from None
        try:
            talk = Talk(process, stdin, output_limit, time.monotonic() + deadline_s)
            ended = talk.until_the_end()
        finally:
            end(process)
        if talk.too_much:
            raise TooMuchOutput(f"`{words[0]}` wrote more than {output_limit} bytes and was stopped")
        if not ended:
            raise CommandTimedOut(f"`{words[0]}` did not end within {deadline_s:g} s and was stopped")
        if process.returncode:
            raise self._failure(words[0], process.returncode, talk.last_words())
        return bytes(talk.output)

    def _failure(self, program: str, code: int, words: str) -> HostError:
        if self.shells and code == SSH_ITSELF_FAILED:
            for pattern, kind, sentence in REFUSALS:
                found = re.search(pattern, words)
                if found:
                    return kind(sentence.format(**found.groupdict()))
            return HostUnreachable(f"ssh did not get in: {words[-TOLD:] or 'it says nothing'}")
        if SUDO_REFUSED.search(words):
            return NotPermitted(
                f"sudo does not let us run `{program}` there: allow it in sudoers without a password (NOPASSWD)"
            )
        return _failed(program, code, words)


def surroundings() -> dict[str, str]:
    """Our environment without PYTHONPATH, where an action finds the pack's packages: another program has its own."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run_all(
    door: Door, commands: Sequence[Sequence[str]], deadline_s: float, output_limit: int = OUTPUT_LIMIT
) -> tuple[Union[bytes, CommandFailed], ...]:
    """The standard output of each command, or how it failed: one after the other, all in one round trip.

    A shell of the node runs them (`sh`, which is what sudo must allow), with no standard input. Raises a HostError
    where that shell itself cannot be had; the limits are for all of it.
    """
    mark = secrets.token_hex(16)
    lines = ["run " + " ".join(shlex.quote(word) for word in words) for words in commands]
    script = os.fsencode("\n".join([RUN.format(mark=mark), *lines, ""]))
    body, *ends = door.run(["sh", "-s"], deadline_s, script, output_limit).split(f"\n{mark} ".encode())
    if len(ends) != len(commands):
        raise HostError(f"the node's shell ran {len(ends)} of {len(commands)} commands")
    answers: list[Union[bytes, CommandFailed]] = []
    for words, rest in zip(commands, ends):
        status, _, following = rest.partition(b"\n")
        code, _, said = status.decode("utf-8", "replace").partition(" ")
        answers.append(body if code == "0" else _failed(words[0], int(code), " ".join(said.split())))
        body = following
    return tuple(answers)


RUN = """run() {{
  {{ said=$("$@" </dev/null 2>&1 >&3); code=$?; }} 3>&1
  printf '\\n{mark} %s %s\\n' "$code" "$(printf %s "$said" | tail -c 800 | tr '\\n' ' ')"
}}"""
"""What the command writes as it is, then a line: the mark, its exit code, the end of its standard error."""


def _failed(program: str, code: int, words: str) -> CommandFailed:
    return CommandFailed(f"`{program}` ended with {code}: {words[-TOLD:] or 'it says nothing'}", code)


def read_file(door: Door, path: str, deadline_s: float, output_limit: int = OUTPUT_LIMIT) -> bytes:
    """A whole file of the node. Raises a HostError."""
    return door.run(["cat", "--", path], deadline_s, output_limit=output_limit)


def parse_prefix(section: Section, name: str, places: Sequence[str] = PLACES) -> Optional[tuple[str, ...]]:
    """The words of a configured prefix with their places ({name}, {host}) still open; `()` for `local`."""
    text = section.optional_text(name)
    if text is None:
        return None
    if text.strip() == LOCAL:
        return ()
    try:
        words = tuple(shlex.split(text))
        for word in words:
            word.format(**dict.fromkeys(places, ""))
    except (ValueError, KeyError, IndexError, AttributeError):
        open_places = " or ".join(f"{{{place}}}" for place in places)
        raise BadInput(
            f"{section.at(name)} cannot be read: write it as in a shell, with {open_places} for the node, "
            f"or `{LOCAL}` for the node that runs this pack"
        ) from None
    return _with_ssh_options(words, section.at(name))


def _with_ssh_options(words: tuple[str, ...], where: str) -> tuple[str, ...]:
    """SSH_OPTIONS behind each `ssh` of the prefix. BadInput where it would have host keys unchecked."""
    text = " ".join(words).lower()
    checking = re.search(r"stricthostkeychecking\s*[=\s]\s*(\S+)", text)
    if checking and checking[1] != "yes":
        raise BadInput(
            f"{where} has StrictHostKeyChecking {checking[1][:20]}: host keys are always checked, leave it away"
        )
    text = text.replace("controlmaster", "controlpath")
    options = [f"{option}={value}" for option, value in SSH_OPTIONS.items() if option.lower() not in text]
    added = [word for option in options for word in ("-o", option)]
    return tuple(each for word in words for each in ([word, *added] if _is_ssh(word) else [word]))


def _is_ssh(word: str) -> bool:
    return os.path.basename(word) == "ssh"


def door(prefix: tuple[str, ...], places: Mapping[str, str]) -> Door:
    """The door of a node whose name and host are in `places`."""
    shells = sum(map(_is_ssh, prefix))
    return Door(tuple(word.format(**places) for word in prefix), shells)
