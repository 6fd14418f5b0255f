"""`python -m demo`: start a cluster of each service, break each, move each by plan, and show what it cost."""

from __future__ import annotations

from lab import venv  # noqa: F401

# isort: split

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import FrameType

from rich.console import Console

from demo.mongodb import MongodbActs
from demo.mysql import MysqlActs
from demo.pack import Pack, write_config
from demo.rabbitmq import RabbitmqActs
from demo.stage import OK, Stage, StepFailed, check_result, table
from lab.cluster import Cluster
from lab.errors import LabError
from lab.install import install_mongodb
from lab.mongodb import MongoCluster
from lab.mysql import MysqlCluster
from lab.rabbitmq import RabbitCluster

ELECTION_MS, HEARTBEAT_MS = 2500, 500
"""Inside the 3 s after which StackStorm gives up; MongoDB's own defaults are 10 s and 2 s."""


def main() -> int:
    """0; 1 with one sentence if a write was lost or a step failed; 130 if interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    console = Console(width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    try:
        _demo(console)
    except (LabError, StepFailed) as error:
        console.print(f"demo failed: {error}", style="bold red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; all that it started is gone", file=sys.stderr)
        return 130
    console.print(f"{time.monotonic() - began:.0f} s; all that was started is gone", style="dim")
    return 0


def _demo(console: Console) -> None:
    install_mongodb()
    rs = MongoCluster(members=3, election_timeout_ms=ELECTION_MS, heartbeat_ms=HEARTBEAT_MS)
    pair, rabbit = MysqlCluster(), RabbitCluster(members=3)
    console.print("3 mongod, 2 mariadbd and 3 RabbitMQ nodes are being started ...", style="dim")
    with _all_up([rs, pair, rabbit], console):
        pack = Pack(rs)
        write_config(pack.config, [rs, pair, rabbit])
        stage = Stage(pack, console)
        stage.title("Healthy")
        stage.shell(f"export ST2HA_CONFIG={pack.config}")
        stage.command("check", allowed=(OK,))
        acts = [
            *MongodbActs(rs, stage).run(),
            *MysqlActs(pair, stage).run(),
            *RabbitmqActs(rabbit, stage).run(),
        ]
    console.print()
    console.print(table(acts))
    console.print(
        "role_changed of MongoDB: after the new primary's own word; all others: after the start of the act", style="dim"
    )
    check_result(acts)


@contextlib.contextmanager
def _all_up(clusters: list[Cluster], console: Console) -> Iterator[None]:
    """Start all at once; whatever way it ends, all are gone afterwards."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(clusters)) as pool:
        try:
            for done in as_completed([pool.submit(cluster.up) for cluster in clusters]):
                cluster = done.result()
                hosts = ", ".join(member.address for member in cluster.members)
                took = f"{time.monotonic() - began:.1f} s, in {cluster.directory}"
                console.print(f"{cluster.service} of {hosts} is up after {took}", highlight=False, soft_wrap=True)
            yield
        finally:
            for cluster in clusters:
                cluster.down()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, once: a second signal must not stop the cleaning up."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
