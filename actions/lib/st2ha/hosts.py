"""Facts from inside a node, through one door: a command run here, or there behind a configured prefix.

The prefix stands before the command: `ssh -o BatchMode=yes st2ha@{host} sudo`, `docker exec {name}`. No shell is used
here. **Each `ssh` in the prefix means one shell on the far side**, which takes the words apart again: so every word of
ours is quoted once for each `ssh` (none for `docker exec` or `kubectl exec`, which hand the words on as they are).
Secrets go through standard input or come from standard output, never into the words: everybody on the node sees those.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from st2ha.config import Section
from st2ha.errors import (
    BadInput,
    CommandFailed,
    CommandTimedOut,
    HostUnreachable,
    NotStarted,
    TooMuchOutput,
)

LOCAL = "local"
"""The prefix of the node that we run on ourselves."""
OUTPUT_LIMIT = 1024 * 1024
TOLD = 200
SSH_ITSELF_FAILED = 255
PLACES = ("name", "host")


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
                start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a word holds a NUL"
            program = self.prefix[0] if self.prefix else words[0]
            raise NotStarted(f"{program!r} cannot be run here: {reason}; correct the node's `command`") from None
        try:
            talk = _Talk(process, stdin, output_limit, time.monotonic() + deadline_s)
            ended = talk.until_the_end()
        finally:
            _end(process)
        if talk.too_much:
            raise TooMuchOutput(f"`{words[0]}` wrote more than {output_limit} bytes and was stopped")
        if not ended:
            raise CommandTimedOut(f"`{words[0]}` did not end within {deadline_s:g} s and was stopped")
        if process.returncode:
            raise self._failure(words[0], process.returncode, talk.last_words())
        return bytes(talk.output)

    def _failure(self, program: str, code: int, words: str) -> Exception:
        if self.shells and code == SSH_ITSELF_FAILED:
            return HostUnreachable(f"ssh did not get in: {words or 'it says nothing'}")
        return CommandFailed(f"`{program}` ended with {code}: {words or 'it says nothing'}", code)


def read_file(door: Door, path: str, deadline_s: float, output_limit: int = OUTPUT_LIMIT) -> bytes:
    """A whole file of the node. Raises a HostError."""
    return door.run(["cat", "--", path], deadline_s, output_limit=output_limit)


def write_file(door: Door, path: str, data: bytes, deadline_s: float) -> None:
    """Replace a whole file of the node in one move; its owner and mode stay. Raises a HostError."""
    new = f"{path}.st2ha-new"
    door.run(["cp", "-p", "--", path, new], deadline_s)
    door.run(["dd", f"of={new}", "status=none"], deadline_s, stdin=data)
    door.run(["mv", "-f", "--", new, path], deadline_s)


def parse_prefix(section: Section, name: str) -> Optional[tuple[str, ...]]:
    """The words of a configured prefix with their places {name} and {host} still open; `()` for `local`."""
    text = section.optional_text(name)
    if text is None:
        return None
    if text.strip() == LOCAL:
        return ()
    try:
        words = tuple(shlex.split(text))
        for word in words:
            word.format(**dict.fromkeys(PLACES, ""))
    except (ValueError, KeyError, IndexError, AttributeError):
        raise BadInput(
            f"{section.at(name)} cannot be read: write it as in a shell, with {{name}} or {{host}} for the node, "
            f"or `{LOCAL}` for the node that runs this pack"
        ) from None
    return words


def door(prefix: tuple[str, ...], places: Mapping[str, str]) -> Door:
    """The door of a node whose name and host are in `places`."""
    shells = sum(os.path.basename(word) == "ssh" for word in prefix)
    return Door(tuple(word.format(**places) for word in prefix), shells)


class _Talk:
    """Feed a process and read what it says, within limits of time and size."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, limit: int, end: float) -> None:
        self.output, self.errors = bytearray(), bytearray()
        self.too_much = False
        self._left = memoryview(stdin)
        self._limit = limit
        self._end = end
        self._process = process

    def until_the_end(self) -> bool:
        """Whether both outputs were closed and the process ended in time."""
        process = self._process
        assert process.stdin and process.stdout and process.stderr
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)
            selector.register(process.stdout, selectors.EVENT_READ, self.output)
            selector.register(process.stderr, selectors.EVENT_READ, self.errors)
            while any(key.data is not None for key in selector.get_map().values()) and not self.too_much:
                ready = selector.select(max(0.0, self._end - time.monotonic()))
                for key, _ in ready:
                    if not (self._write(key) if key.data is None else self._read(key)):
                        selector.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
                if time.monotonic() >= self._end:
                    return False
        while not self.too_much and not _has_ended(process):
            if time.monotonic() >= self._end:
                return False
            time.sleep(0.002)
        return True

    def last_words(self) -> str:
        """The end of what it wrote to standard error, on one line."""
        return " ".join(self.errors.decode("utf-8", "replace").split())[-TOLD:]

    def _write(self, key: selectors.SelectorKey) -> bool:
        """Whether there is more to write. A process need not read what it is given."""
        if not self._left:
            return False
        try:
            self._left = self._left[os.write(key.fd, self._left) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._left)

    def _read(self, key: selectors.SelectorKey) -> bool:
        """Whether there may be more to read. Of the errors only the last ones are kept."""
        data = os.read(key.fd, 65536)
        key.data.extend(data)
        if key.data is self.errors:
            del self.errors[: -4 * TOLD]
        elif len(self.output) > self._limit:
            self.too_much = True
        return bool(data)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Without reaping it: until then the number of its group is nobody else's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill all that is left of its process group, and reap it, unless it is one that we may not kill (sudo)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):
                stream.close()
