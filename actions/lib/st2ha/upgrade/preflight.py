"""What a preflight looks at: each node from inside, the clusters, the names that are to be taken. Reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from pymongo.errors import PyMongoError

from st2ha.check import check
from st2ha.config import Deployment, Host, Mongodb
from st2ha.errors import HaError
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy import decide as copy_decide
from st2ha.mongodb.copy.gather import gather as gather_copy
from st2ha.mongodb.copy.work import Clients
from st2ha.rabbitmq.gather import gather as gather_rabbitmq
from st2ha.rabbitmq.operations import settings_of
from st2ha.report import Report
from st2ha.st2conf import Options, read, refuse_doubles
from st2ha.upgrade import conf, drain, rehearsal, render
from st2ha.upgrade.queues import Queues
from st2ha.upgrade.scene import Scene
from st2ha.upgrade.settings import Node, Upgrade

CONTENT = ("/opt/stackstorm/packs", "/opt/stackstorm/configs", "/opt/stackstorm/virtualenvs")
KEY = "/etc/st2/keys/datastore_key.json"
PROBE = """
import glob, hashlib, json, os, re, socket, subprocess, sys, time
asked = json.loads(sys.argv[1])
found = {"at": time.time(), "python": None, "version": None, "key": None, "content": [], "unreached": []}
for path in glob.glob("/opt/stackstorm/st2/lib/python3*/site-packages/st2common/__init__.py"):
    match = re.search(r"__version__ = .([^'\\"]+)", open(path).read())
    found["version"] = match and match.group(1)
    found["python"] = path.split("/")[5].replace("python", "")
try:
    found["key"] = hashlib.sha256(open(asked["key"], "rb").read()).hexdigest()
except OSError:
    pass
for path in asked["content"]:
    if os.path.isdir(path) and os.listdir(path):
        found["content"].append(path)
for host, port in asked["servers"]:
    try:
        socket.create_connection((host, port), 3).close()
    except OSError as error:
        found["unreached"].append("%s:%d" % (host, port))
memory = re.search(r"MemAvailable: *([0-9]+)", open("/proc/meminfo").read())
found["free_bytes"] = int(memory.group(1)) * 1024 if memory else None
told = subprocess.run(asked["ask"] + asked["services"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE, timeout=10)
states = told.stdout.decode("utf-8", "replace").split()
found["states"] = states if len(states) == len(asked["services"]) else None
print(json.dumps(found))
"""
"""Runs inside a node, with its own Python: needs nothing but the standard library, and knows no secret."""


@dataclass(frozen=True)
class Inside:
    """A node from inside.

    `clock_s`: how far its clock is outside the time of our question; `key`: a hash of the datastore's crypto key;
    `states`: what `<service_command> is-active` says of each service, None if it does not tell.
    """

    version: Optional[str]
    python: Optional[str]
    key: Optional[str]
    content: tuple[str, ...]
    unreached: tuple[str, ...]
    clock_s: float
    free_bytes: Optional[int] = None
    states: Optional[Mapping[str, str]] = None

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any], clock_s: float, services: Sequence[str]) -> Inside:
        states = dict(zip(services, reply["states"])) if reply["states"] is not None else None
        return cls(
            reply["version"], reply["python"], reply["key"], tuple(reply["content"]), tuple(reply["unreached"]),
            clock_s, reply["free_bytes"], states,
        )  # fmt: skip


@dataclass(frozen=True)
class Cache:
    """A database server's memory for data and indexes, in bytes."""

    host: str
    cache_bytes: int


@dataclass(frozen=True)
class Preflight:
    """All that the rules look at. A node that could not be asked is its reason, as text.

    `confs`: each node's settings. `rehearsed`: what of the way back failed on copies, by the node or `balancers`.
    `caches` are the database servers'; `index_bytes`: the old database's indexes, which the copy doubles.
    """

    scene: Scene
    nodes: Mapping[str, Union[Inside, str]]
    health: Report
    against_copy: tuple[str, ...]
    vhost_exists: Optional[bool]
    open: Union[drain.Open, str]
    broker_tags: Optional[tuple[str, ...]] = None
    confs: Mapping[str, Options] = field(default_factory=dict, repr=False)
    rehearsed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    caches: tuple[Cache, ...] = ()
    index_bytes: int = 0


def gather(deployment: Deployment, clients: Clients, scene: Scene) -> Preflight:
    """The layers first, whose checks are processes of their own: a fork among threads may inherit a lock that one of
    them holds. Then everything else at once, each within its own limits."""
    upgrade, mongodb = scene.upgrade, deployment.require_mongodb()
    health = check(deployment, None)
    with ThreadPoolExecutor(32) as pool:
        nodes = {node.name: pool.submit(_inside, scene, node) for node in upgrade.nodes}
        copy = pool.submit(gather_copy, mongodb, clients.quick, scene.old_database, scene.names.database)
        broker = pool.submit(gather_rabbitmq, settings_of(deployment))
        still_open = pool.submit(_open, clients, scene)
        confs = {node.name: pool.submit(_options, upgrade, node) for node in upgrade.nodes}
        back = {each.node.name: pool.submit(rehearsal.of_conf, upgrade, each) for each in scene.files}
        balancers = pool.submit(rehearsal.of_balancers, deployment, upgrade)
        caches = [pool.submit(_cache, mongodb, host) for host in mongodb.hosts]
        rehearsed: dict[str, tuple[str, ...]] = {
            name: (future.result(),) for name, future in back.items() if future.result()
        }
        if balancers.result():
            rehearsed["balancers"] = balancers.result()
        content = broker.result().content
        return Preflight(
            scene,
            {name: future.result() for name, future in nodes.items()},
            health,
            tuple(copy_decide.reasons_against(copy.result())),
            None if content is None else content.vhost(scene.names.vhost) is not None,
            still_open.result(),
            next((node.tags for node in broker.result().nodes), None),
            {name: future.result() for name, future in confs.items()},
            rehearsed,
            tuple(each for each in (future.result() for future in caches) if each is not None),
            int(clients.quick[scene.old_database].command("dbStats")["indexSize"]),
        )


def _options(upgrade: Upgrade, node: Node) -> Options:
    """BadInput where it says something twice."""
    text, where = render.text_of(upgrade, node), f"{node.name}:{node.conf}"
    refuse_doubles(text, conf.SECTIONS, where)
    return read(text, where)


def _cache(settings: Mongodb, host: Host) -> Optional[Cache]:
    """None for a member that does not tell: that is the layer's own finding."""
    try:
        with driver.connected(settings, host, settings.timeout_s) as client:
            told = client.admin.command("serverStatus")["wiredTiger"]["cache"]
            return Cache(str(host), int(told["maximum bytes configured"]))
    except (PyMongoError, HaError, KeyError):
        return None


def _inside(scene: Scene, node: Node) -> Union[Inside, str]:
    upgrade = scene.upgrade
    services = node.of((*upgrade.inflow, *upgrade.work, *upgrade.late))
    asked = {"key": key_path(scene), "content": CONTENT, "servers": servers(scene), "services": services}
    asked["ask"] = [*upgrade.service_command, "is-active"]
    began = time.time()
    try:
        text = upgrade.door(node).run(["python3", "-", json.dumps(asked)], upgrade.timeout_s + 20, stdin=PROBE.encode())
        reply = json.loads(text)
        at = float(reply["at"])
        return Inside.from_reply(reply, at - min(max(at, began), time.time()), services)
    except HaError as error:
        return str(error)
    except (ValueError, KeyError, TypeError):
        return "its answer is no sense: is python3 there?"


def key_path(scene: Scene) -> str:
    """Where both sides' crypto key is, as the old side's st2.conf says."""
    return scene.old_options.get("keyvalue", {}).get("encryption_key_path", KEY)


def servers(scene: Scene) -> list[tuple[str, int]]:
    """The brokers and database servers that a node must reach."""
    found = [(urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 5672) for url in scene.old_urls]
    database = scene.old_options.get("database", {})
    host = database.get("host", "127.0.0.1")
    hosts = host.partition("://")[2].partition("/")[0].rpartition("@")[2] if "://" in host else host
    for each in hosts.split(","):
        name, _, port = each.partition(":")
        found.append((name, int(port or database.get("port") or 27017)))
    return found


def _open(clients: Clients, scene: Scene) -> Union[drain.Open, str]:
    try:
        with Queues(scene.old_urls, scene.upgrade.timeout_s) as queues:
            return drain.look(clients.quick, scene.old_database, queues)
    except HaError as error:
        return str(error)
