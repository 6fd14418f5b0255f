"""The figures of the area `upgrade`: a copy beside the server's own, the window of a cutover, the way back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from benchmarks import upgrade_copy, upgrade_window
from benchmarks.figures import Figure
from benchmarks.upgrade_copy import SOURCE, TARGET
from lab.install import install_mongodb
from lab.mongodb import MongoCluster
from lab.rabbitmq import RabbitCluster
from lab.stackstorm_database import fill

SMALL = int(os.environ.get("ST2HA_BENCH_SMALL", "100000"))
DOCUMENTS = int(os.environ.get("ST2HA_BENCH_DOCUMENTS", "500000"))


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """All in some minutes, most of which the large database's indexes take: built three times, by three members."""
    install_mongodb()
    with RabbitCluster(members=3) as rabbit:
        with _filled(SMALL, say) as rs:
            say(f"an upgrade of {SMALL} documents, and back")
            small = upgrade_window.measure(rs, rabbit, f"{TARGET}_small", say)
        with _filled(DOCUMENTS, say) as rs:
            yield from upgrade_copy.measure(rs, DOCUMENTS, say)
            say("an upgrade with this copy, and back")
            large = upgrade_window.measure(rs, rabbit, TARGET, say)
    yield from upgrade_window.figures(small, large, (SMALL, DOCUMENTS))


@contextlib.contextmanager
def _filled(documents: int, say: Callable[[str], None]) -> Iterator[MongoCluster]:
    with MongoCluster(members=3) as rs:
        say(f"filling a database with {documents} documents and StackStorm's indexes")
        fill(upgrade_copy.patient(rs), SOURCE, documents)
        yield rs
