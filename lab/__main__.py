"""``python -m lab``: clusters from the shell, for the demo and for looking around."""

from __future__ import annotations

from lab import venv  # noqa: F401

# isort: split

import argparse
import inspect
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from lab.cluster import Cluster
from lab.errors import LabError
from lab.install import install_mongodb
from lab.mongodb import MongoCluster
from lab.mysql import MysqlCluster
from lab.mysql_flavors import FLAVORS, install_mysql9
from lab.ports import DEFAULT_STATE_DIR, state_dir
from lab.rabbitmq import RabbitCluster
from lab.rabbitmq4 import Rabbit4Cluster, install_rabbitmq4
from lab.redis import RedisCluster
from lab.state import read_state
from lab.versions import versions

SERVICES: dict[str, type[Cluster]] = {
    "mongodb": MongoCluster,
    "mysql": MysqlCluster,
    "rabbitmq": RabbitCluster,
    "rabbitmq4": Rabbit4Cluster,
    "redis": RedisCluster,
}
INSTALLERS = {"mongodb": install_mongodb, "mysql9": install_mysql9, "rabbitmq4": install_rabbitmq4}
# What the shell calls a fault, and the method that makes it.
FAULTS = {
    "kill": "kill",
    "stop": "stop",
    "start": "start",
    "hang": "hang",
    "resume": "resume",
    "cut": "cut_off",
    "heal": "heal",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--dir", type=Path, default=DEFAULT_STATE_DIR, help="state directory (default: %(default)s)")
    services = sorted(SERVICES)

    up = commands.add_parser("up", parents=[common], help="start a cluster that stays until down")
    up.add_argument("service", choices=services)
    up.add_argument("--members", type=int, help="how many (mongodb, rabbitmq, redis: 3; mysql: 2)")
    up.add_argument("--arbiters", type=int, help="of mongodb")
    up.add_argument("--sentinels", type=int, help="of redis (3)")
    up.add_argument("--flavor", choices=sorted(FLAVORS), help="of mysql")
    up.add_argument("--tls", action="store_true", default=None)
    up.add_argument("--base-port", type=int, help="first port (default: free ones)")

    down = commands.add_parser("down", parents=[common], help="end clusters and delete their data")
    down.add_argument("service", choices=services, nargs="?", help="default: all")
    commands.add_parser("status", parents=[common], help="what runs")
    for verb in FAULTS:
        fault = commands.add_parser(verb, parents=[common], help=f"{verb} one member")
        fault.add_argument("service", choices=services)
        fault.add_argument("member")
        if verb == "cut":
            fault.add_argument("--keep-clients", action="store_true", help="only from the other members")
    install = commands.add_parser("install", help="get what Debian does not package")
    install.add_argument("service", choices=sorted(INSTALLERS))
    commands.add_parser("versions", help="versions of everything used")
    return top


def up(args: argparse.Namespace) -> None:
    """Start a cluster and print how to connect."""
    started = time.monotonic()
    directory = state_dir(args.dir) / args.service
    service = SERVICES[args.service]
    given = {name: getattr(args, name) for name in ("members", "arbiters", "sentinels", "flavor", "tls", "base_port")}
    settings = {name: value for name, value in given.items() if value is not None}
    foreign = sorted(settings.keys() - inspect.signature(service).parameters.keys())
    if foreign:
        raise LabError(f"{args.service} has no --{foreign[0]}")
    cluster = service(directory, **settings).up(persistent=True)
    print(f"{args.service} is up after {time.monotonic() - started:.1f} s in {directory}")
    _print_table(cluster.facts())


def down(args: argparse.Namespace) -> None:
    """End one or all clusters of the state directory."""
    for service in [args.service] if args.service else sorted(SERVICES):
        directory = args.dir / service
        if (directory / "state.json").exists():
            SERVICES[service].attach(directory).down()
            print(f"{service} is down, {directory} is deleted")
        else:
            print(f"{service}: nothing to end in {directory}")


def status(args: argparse.Namespace) -> None:
    """Print every cluster in the state directory, also those of test sessions."""
    found = sorted(file.parent for file in args.dir.glob("*/state.json"))
    for directory in found:
        service = read_state(directory)["service"]
        if service not in SERVICES:
            print(f"{service} in {directory}: not of this version of the lab")
            continue
        cluster = SERVICES[service].attach(directory)
        print(f"{service} in {directory}")
        _print_table({m.name: f"{m.address}  {cluster.states()[m.name]}" for m in cluster.members})
    if not found:
        print(f"no clusters in {args.dir}")


def fault(args: argparse.Namespace) -> None:
    """Make or undo one fault."""
    cluster = SERVICES[args.service].attach(args.dir / args.service)
    options = {"keep_clients": True} if getattr(args, "keep_clients", False) else {}
    getattr(cluster, FAULTS[args.command])(args.member, **options)
    print(f"{args.member}: {cluster.states()[args.member]}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0, or 1 with a sentence on stderr."""
    args = parser().parse_args(argv)
    # As Ctrl-C: what is half started must end.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if args.command == "install":
            print(INSTALLERS[args.service]())
        elif args.command == "versions":
            _print_table(versions())
        else:
            {"up": up, "down": down, "status": status}.get(args.command, fault)(args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _print_table(rows: dict[str, str]) -> None:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        print(f"  {name:<{width}}  {value}")


if __name__ == "__main__":
    sys.exit(main())
