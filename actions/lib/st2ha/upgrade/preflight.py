"""What a preflight looks at: each node from inside, the clusters, the names that are to be taken. Reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Optional, Union
from urllib.parse import urlsplit

from st2ha.check import check
from st2ha.config import Deployment
from st2ha.errors import HaError
from st2ha.mongodb.copy import decide as copy_decide
from st2ha.mongodb.copy.gather import gather as gather_copy
from st2ha.mongodb.copy.work import Clients
from st2ha.rabbitmq import operations as rabbitmq
from st2ha.rabbitmq.gather import gather as gather_rabbitmq
from st2ha.report import Report
from st2ha.upgrade import drain
from st2ha.upgrade.scene import Scene
from st2ha.upgrade.settings import Node

CONTENT = ("/opt/stackstorm/packs", "/opt/stackstorm/configs", "/opt/stackstorm/virtualenvs")
KEY = "/etc/st2/keys/datastore_key.json"
PROBE = """
import glob, hashlib, json, os, re, socket, sys, time
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
print(json.dumps(found))
"""
"""Runs inside a node, with its own Python: needs nothing but the standard library, and knows no secret."""


@dataclass(frozen=True)
class Inside:
    """A node from inside.

    `clock_s`: how far its clock is outside the time of our question; `key`: a hash of the datastore's crypto key.
    """

    version: Optional[str]
    python: Optional[str]
    key: Optional[str]
    content: tuple[str, ...]
    unreached: tuple[str, ...]
    clock_s: float

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any], clock_s: float) -> Inside:
        return cls(
            reply["version"], reply["python"], reply["key"], tuple(reply["content"]), tuple(reply["unreached"]), clock_s
        )


@dataclass(frozen=True)
class Preflight:
    """All that the rules look at. A node that could not be asked is its reason, as text."""

    scene: Scene
    nodes: Mapping[str, Union[Inside, str]]
    health: Report
    against_copy: tuple[str, ...]
    vhost_exists: Optional[bool]
    open: Union[drain.Open, str]


def gather(deployment: Deployment, clients: Clients, scene: Scene) -> Preflight:
    """Everything at once, each within its own limits."""
    with ThreadPoolExecutor(16) as pool:
        health = pool.submit(check, deployment, None)
        nodes = {node.name: pool.submit(_inside, scene, node) for node in scene.upgrade.nodes}
        copy = pool.submit(
            gather_copy, deployment.require_mongodb(), clients.quick, scene.old_database, scene.names.database
        )
        content = pool.submit(gather_rabbitmq, rabbitmq.settings_of(deployment))
        still_open = pool.submit(_open, clients, scene)
        vhosts = content.result().content
        return Preflight(
            scene,
            {name: future.result() for name, future in nodes.items()},
            health.result(),
            tuple(copy_decide.reasons_against(copy.result())),
            None if vhosts is None else vhosts.vhost(scene.names.vhost) is not None,
            still_open.result(),
        )


def _inside(scene: Scene, node: Node) -> Union[Inside, str]:
    asked = {"key": key_path(scene), "content": CONTENT, "servers": servers(scene)}
    began = time.time()
    try:
        text = scene.upgrade.door(node).run(
            ["python3", "-", json.dumps(asked)], scene.upgrade.timeout_s + 10, stdin=PROBE.encode()
        )
        reply = json.loads(text)
        at = float(reply["at"])
        return Inside.from_reply(reply, at - min(max(at, began), time.time()))
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
        return drain.look(clients.quick, scene.old_database, scene.old_urls, scene.upgrade.timeout_s)
    except HaError as error:
        return str(error)
