"""`python -m demo [SERVICE ...]`: start a cluster of each, break it, move it by plan, and show what that cost."""

from __future__ import annotations

from lab import venv  # noqa: F401

# isort: split

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from types import FrameType
from typing import Any, Callable

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


def _mongodb() -> MongoCluster:
    install_mongodb()
    return MongoCluster(members=3, election_timeout_ms=ELECTION_MS, heartbeat_ms=HEARTBEAT_MS)


SERVICES: dict[str, tuple[Callable[[], Cluster], Any]] = {
    "mongodb": (_mongodb, MongodbActs),
    "mysql": (MysqlCluster, MysqlActs),
    "rabbitmq": (lambda: RabbitCluster(members=3), RabbitmqActs),
}
"""Service -> what makes its cluster, and its acts."""


def main() -> int:
    """0; 1 with one sentence if a write was lost or a step failed; 130 if interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("services", metavar="SERVICE", nargs="*", help=f"of {', '.join(SERVICES)} (default: all)")
    services = parser.parse_args().services or list(SERVICES)
    unknown = [name for name in services if name not in SERVICES]
    if unknown:
        parser.error(f"there is no service {unknown[0]!r}: use some of {', '.join(SERVICES)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    try:
        _demo(console, services)
    except (LabError, StepFailed) as error:
        console.print(f"demo failed: {error}", style="bold red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; all that it started is gone", file=sys.stderr)
        return 130
    console.print(f"{time.monotonic() - began:.0f} s; all that was started is gone", style="dim")
    return 0


def _demo(console: Console, services: list[str]) -> None:
    clusters = [SERVICES[name][0]() for name in services]
    count = {cluster.service: len(cluster.members) for cluster in clusters}
    words = ", ".join(f"{number} of {service}" for service, number in count.items())
    console.print(f"servers are being started: {words} ...", style="dim")
    with _all_up(clusters, console):
        pack = Pack(clusters[0])
        write_config(pack.config, clusters)
        stage = Stage(pack, console)
        stage.title("Healthy")
        stage.shell(f"export ST2HA_CONFIG={pack.config}")
        stage.command("check", allowed=(OK,))
        acts = [act for name, cluster in zip(services, clusters) for act in SERVICES[name][1](cluster, stage).run()]
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
