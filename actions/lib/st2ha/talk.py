"""Talking to a process: feed it, read it, end it, all within limits."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time

ERRORS = 1000
"""Bytes that are kept of what it writes to standard error: the last ones."""


class Talk:
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
        return " ".join(self.errors.decode("utf-8", "replace").split())

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
            del self.errors[:-ERRORS]
        elif len(self.output) > self._limit:
            self.too_much = True
        return bool(data)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Without reaping it: until then the number of its group is nobody else's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill all that is left of its process group, and reap it, unless it is one that we may not kill (sudo)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            with contextlib.suppress(OSError):
                stream.close()
