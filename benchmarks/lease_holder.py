"""One contender for a lease, as a process: while it holds, it "dispatches" a line into a log that all contenders share.

`python -m benchmarks.lease_holder CONFIG LOG [--eventlet]`. A line is: the clock right before and right after the lease
was asked, the token, the contender's name. The clock is the machine's, so the lines of all contenders compare.
"""

from __future__ import annotations

import sys

if "--eventlet" in sys.argv:  # as in StackStorm's sensor process, and before anything else is imported
    import eventlet

    eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)
    import select

    vars(select)["poll"] = eventlet.patcher.original("select").poll

import json
import logging
import os
import time

from st2ha.partition.lease.lease import Lease, clock
from st2ha.partition.lease.settings import configured

PERIOD_S = 0.01


def main(config_path: str, log_path: str) -> None:
    """Never returns."""
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    logging.basicConfig(format="%(asctime)s %(message)s")
    settings = configured(config)
    assert settings is not None
    lease = Lease(settings, config, "torture", logging.getLogger("holder"))
    lease.start()
    log, name = os.open(log_path, os.O_WRONLY | os.O_APPEND), os.path.basename(os.getcwd())
    while True:
        before = clock()
        token = lease.token
        if token is not None:
            os.write(log, f"{before:.6f} {clock():.6f} {token} {name}\n".encode())
        time.sleep(PERIOD_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
