"""Run functions at once, each in a process of its own.

A check computes as long as it waits, and Python computes in one thread at a time: three services in threads take as
long as one after the other. Apart they use all cores, import their drivers at the same time, and a driver that dies or
hangs takes nobody with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import selectors
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional

Work = Callable[[], Any]


def apart(works: Sequence[Work], deadline_s: float, common: Work = lambda: None) -> list[Optional[Any]]:
    """The result of each work, in order; None for one that did not end in time, or died. Results must be picklable.

    The first one, which should be the longest, begins at once; the others after `common`, so that what they have in
    common is done once. A single work is done in this process. To be called where no other thread holds a lock: a fork
    keeps it for ever.
    """
    if len(works) < 2:
        return [work() for work in works]
    children = [_fork(works[0])]
    try:
        common()
        children += [_fork(work) for work in works[1:]]
        replies = _read([reader for _, reader in children], time.monotonic() + deadline_s)
    finally:
        for pid, reader in children:
            os.close(reader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it has told all it had to tell, or is too late
        threading.Thread(target=_reap, args=([pid for pid, _ in children],), daemon=True).start()
    return [pickle.loads(reply) if reply else None for reply in replies]


def _reap(pids: Sequence[int]) -> None:
    """Beside the caller's work: a process that has imported a driver takes 20 ms to be gone."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # whoever ignores SIGCHLD has no children to wait for
            os.waitpid(pid, 0)


def _fork(work: Work) -> tuple[int, int]:
    reader, writer = os.pipe()
    gc.freeze()  # neither side's collector looks at, and so copies, what both have; nor does the parent's at its end
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    gc.disable()  # it ends before there is anything to collect
    try:  # the child; whatever happens, it must not return into its parent's code
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        with os.fdopen(writer, "wb") as stream:
            stream.write(pickle.dumps(work()))
    finally:
        os._exit(0)


def _read(readers: list[int], deadline: float) -> list[bytes]:
    """What comes from each until its end; nothing of one that has not ended by then."""
    pieces: dict[int, list[bytes]] = {reader: [] for reader in readers}
    ended: set[int] = set()
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ)
        while len(ended) < len(readers) and time.monotonic() < deadline:
            for key, _ in selector.select(deadline - time.monotonic()):
                piece = os.read(key.fd, 65_536)
                if piece:
                    pieces[key.fd].append(piece)
                else:
                    selector.unregister(key.fd)
                    ended.add(key.fd)
    return [b"".join(pieces[reader]) if reader in ended else b"" for reader in readers]
