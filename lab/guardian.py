"""Ends a cluster when the process that started it dies, whatever way it dies.

A process of its own for each cluster, because nothing runs inside a process that is SIGKILLed, and the kernel's
PR_SET_PDEATHSIG follows the thread that forked (a test's helper thread), not the process. It also cleans up nft.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from lab.state import dispose


def main(parent: int, directory: Path) -> None:
    """Wait for the end of ``parent``, our parent process, without a deadline, then dispose of the cluster."""
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        watched = -1
    # Our parent may have died, and its pid been reused, before we looked: then we have another parent by now.
    if watched >= 0 and os.getppid() == parent:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        poll.poll()
    dispose(directory)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
