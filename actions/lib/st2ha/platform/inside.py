"""What a node is configured to do and what lies on it, read by one program that runs there (onnode.py)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from st2ha import st2conf
from st2ha.errors import BadInput, HostError
from st2ha.platform.facts import Broker, Database, Inside, Unread
from st2ha.platform.settings import PlatformNode
from st2ha.probe import Attempt

PROGRAM = Path(__file__).with_name("onnode.py")
LARGEST_ANSWER = 8 * 1024 * 1024
DATABASE, BROKER = "127.0.0.1", "amqp://guest:guest@127.0.0.1:5672//"
DATABASE_PORT, BROKER_PORTS = 27017, {"amqp": 5672, "amqps": 5671}
CONNECTION_TIMEOUT_MS = 3000.0
"""StackStorm's own defaults (st2common/config.py)."""


def read_inside(node: PlatformNode, attempt: Attempt, packs: bool) -> Union[Inside, Unread]:
    """One round trip: a remote shell costs more than all that is read. Whatever is in the way is a fact."""
    left_s = attempt.left_s() * 0.9
    words = ["python3", "-", f"{left_s * 0.8:.2f}", "packs" if packs else "-", *node.st2_conf]
    began, started = time.time(), time.monotonic()
    try:
        answer = node.door().run(words, left_s, PROGRAM.read_bytes(), LARGEST_ANSWER)
        took_s = time.monotonic() - started
        told = json.loads(answer)
        return inside_from(told, ", ".join(node.st2_conf), began, took_s)
    except (HostError, BadInput) as error:
        return Unread(str(error))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Unread(f"what its python3 told makes no sense ({type(error).__name__}): correct the node's `command`")


def inside_from(told: Mapping[str, Any], where: str, began: float, took_s: float) -> Inside:
    """The program's answer. It read its clock at some moment between `began` and `took_s` later. Raises BadInput."""
    if told.get("error"):
        raise BadInput(f"{where} cannot be read there: {told['error']}")
    options: st2conf.Options = {}
    for text in told["configs"]:
        for section, values in st2conf.read(text, where).items():
            options.setdefault(section, {}).update(values)
    packs = told.get("packs")
    running = told.get("running")
    return Inside(
        version=told.get("version"),
        clock_offset_s=float(told["time"]) - began - took_s / 2,
        clock_error_s=took_s / 2,
        key_digest=told["key"],
        packs=None if packs is None else {name: (str(facts[0]), str(facts[1])) for name, facts in packs.items()},
        running=None if running is None else frozenset(running),
        database=_database(options.get("database", {})),
        broker=_broker(options.get("messaging", {})),
        coordination=(options.get("coordination", {}).get("url") or "").partition(":")[0],
    )


def _database(section: Mapping[str, str]) -> Database:
    """`host` is a name, or a URI whose servers count; its login is dropped here. An SRV name is asked of DNS later."""
    host = section.get("host") or DATABASE
    scheme, _, rest = host.rpartition("://")
    servers = rest.split("/")[0].rpartition("@")[2].split(",")
    port = DATABASE_PORT if scheme else _number(section.get("port"), DATABASE_PORT)
    hosts = () if scheme == "mongodb+srv" else tuple(_with_port(server.strip(), int(port)) for server in servers)
    return Database(hosts, _number(section.get("connection_timeout"), CONNECTION_TIMEOUT_MS) / 1000)


def _broker(section: Mapping[str, str]) -> Broker:
    """`cluster_urls` if there are any, else `url`; logins are dropped here."""
    urls = [url.strip() for url in (section.get("cluster_urls") or "").split(",") if url.strip()]
    hosts = []
    for url in urls or [section.get("url") or BROKER]:
        scheme, _, rest = url.rpartition("://")
        server = rest.split("?")[0].split("/")[0].rpartition("@")[2]
        hosts.append(_with_port(server, BROKER_PORTS.get(scheme, BROKER_PORTS["amqp"])))
    return Broker(tuple(hosts))


def _with_port(server: str, port: int) -> str:
    """`name:port`, also where none is written."""
    parts = urlsplit(f"//{server}")
    try:
        name, given = parts.hostname, parts.port
    except ValueError:
        return server
    return f"[{name}]:{given or port}" if name and ":" in name else f"{name}:{given or port}"


def _number(text: Optional[str], default: float) -> float:
    try:
        return float(text) if text else default
    except ValueError:
        return default
