"""What every stand-in for a StackStorm service is made of: its node's st2.conf, database and broker."""

from __future__ import annotations

import configparser
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pika
from bson import ObjectId
from pika.exceptions import AMQPError
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

JOBS, TRIGGERS = "st2.actionrunner.req", "st2.trigger_instances_dispatch.rules_engine"
EVENTS = "st2.execution"
"""The exchange whose messages st2stream tells."""


class Node:
    """One node's settings, database and broker, as its st2.conf tells."""

    def __init__(self, directory: Path) -> None:
        facts = json.loads((directory / "node.json").read_text())
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string((directory / "st2.conf").read_text())
        self.name, self.owner = facts["name"], facts["owner"]
        self.listen: dict[str, list[Any]] = facts["listen"]
        self.events, self.work_s = Path(facts["events"]), float(facts["work_s"])
        section = parser["messaging"]
        self.urls = [each.strip() for each in (section.get("cluster_urls") or section["url"]).split(",")]
        host = parser["database"]["host"]
        inside = urlsplit(host.replace("mongodb://", "http://", 1)).path.strip("/") if "://" in host else ""
        name = inside or parser["database"].get("db_name", "st2")
        client: MongoClient[dict[str, Any]] = MongoClient(host, serverSelectionTimeoutMS=10_000, socketTimeoutMS=10_000)
        concern = WriteConcern("majority", wtimeout=10_000)
        self.database = client.get_database(name, write_concern=concern)
        self._record = open(directory / "record", "a", encoding="utf-8")  # noqa: SIM115 - open as long as the process
        self.ending = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.ending.set())
        threading.Thread(target=self._watch_owner, daemon=True).start()

    def record(self, **what: Any) -> None:
        self._record.write(json.dumps({"node": self.name, "at": time.time(), **what}) + "\n")
        self._record.flush()

    def connect(self) -> pika.BlockingConnection:
        """To the first broker that answers."""
        while True:
            for url in self.urls:
                parameters = pika.URLParameters(url)
                parameters.heartbeat, parameters.blocked_connection_timeout = 10, 10
                parameters.socket_timeout = parameters.stack_timeout = 5
                try:
                    connection = pika.BlockingConnection(parameters)
                    channel = connection.channel()
                    for queue in (JOBS, TRIGGERS):
                        channel.queue_declare(queue, durable=True)
                    channel.exchange_declare(EVENTS, "topic", durable=True)
                    channel.close()
                    return connection
                except (AMQPError, OSError):
                    time.sleep(0.1)

    def _watch_owner(self) -> None:
        while os.path.exists(f"/proc/{self.owner}"):
            time.sleep(1)
        os._exit(0)


class Publisher:
    """Confirmed publishing; once more after a broken connection. What comes twice is the receiver's to notice."""

    def __init__(self, node: Node) -> None:
        self._node, self._lock = node, threading.Lock()
        self._channel: Any = None

    def tell(self, row: dict[str, Any]) -> None:
        """To whom it may concern: nobody minds if it is lost."""
        with self._lock:
            try:
                self._ready().basic_publish(EVENTS, "update", json.dumps(row).encode())
            except (AMQPError, OSError):
                self._channel = None

    def send(self, queue: str, body: str) -> None:
        """Durable, once more after a broken connection."""
        persistent = pika.BasicProperties(delivery_mode=2)
        with self._lock:
            while True:
                try:
                    self._ready().basic_publish("", queue, body.encode(), persistent, mandatory=True)
                    return
                except (AMQPError, OSError):
                    self._channel = None

    def _ready(self) -> Any:
        if self._channel is None:
            self._channel = self._node.connect().channel()
            self._channel.confirm_delivery()
        return self._channel


def again(work: Any) -> Any:
    """As StackStorm's retries: an election is waited out."""
    while True:
        try:
            return work()
        except PyMongoError:
            time.sleep(0.1)


def request_execution(node: Node, publisher: Publisher, action: str, origin: str = "") -> str:
    """What st2api and the rules engine do to start an action."""
    number = ObjectId()
    row = {"_id": number, "action": {"ref": action}, "status": "requested", "context": {"origin": origin}}
    for name in ("live_action_d_b", "action_execution_d_b"):
        again(lambda name=name: node.database[name].replace_one({"_id": number}, row, upsert=True))
    publisher.send(JOBS, str(number))
    return str(number)
