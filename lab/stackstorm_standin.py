"""A stand-in for one StackStorm service: a small real process that reads its st2.conf and does what that service does.

    python -m lab.stackstorm_standin st2api|st2actionrunner|st2sensorcontainer|st2timersengine NODE_DIRECTORY

Jobs go through StackStorm's queue names in the vhost of [messaging] and its collection names in the database of
[database]. Each process writes what it did, one JSON object a line, to `record` in the node's directory: `done` with
the execution, `event` with the outside event, `tick` with the timer's number.
"""

from __future__ import annotations

import configparser
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
TICK_S = 1.0
POSITION = "sensor_position"


class Node:
    """One node's settings, database and broker, as its st2.conf tells."""

    def __init__(self, directory: Path) -> None:
        facts = json.loads((directory / "node.json").read_text())
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string((directory / "st2.conf").read_text())
        self.name, self.port, self.owner = facts["name"], facts["port"], facts["owner"]
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

    def send(self, queue: str, body: str) -> None:
        with self._lock:
            while True:
                try:
                    if self._channel is None:
                        self._channel = self._node.connect().channel()
                        self._channel.confirm_delivery()
                    persistent = pika.BasicProperties(delivery_mode=2)
                    self._channel.basic_publish("", queue, body.encode(), persistent, mandatory=True)
                    return
                except (AMQPError, OSError):
                    self._channel = None


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


def st2api(node: Node) -> None:
    """HTTP for web, api, auth and stream on one port."""
    publisher = Publisher(node)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.startswith("/stream"):
                return self._stream()
            if "/v1/executions/" in self.path:
                wanted = {"_id": ObjectId(self.path.rsplit("/", 1)[1])}
                row = again(lambda: node.database.action_execution_d_b.find_one(wanted))
                if row is None:
                    return self._answer(404, {"faultstring": "not found"})
                return self._answer(200, {"id": str(row["_id"]), "status": row["status"]})
            self._answer(200, {"node": node.name})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            if self.path.endswith("/tokens"):
                token = str(ObjectId())
                again(lambda: node.database.token_d_b.insert_one({"token": token}))
                return self._answer(201, {"token": token})
            number = request_execution(node, publisher, str(body.get("action", "core.noop")), "api")
            self._answer(201, {"id": number, "node": node.name})

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            while not node.ending.wait(0.2):
                self.wfile.write(f"data: {node.name}\n\n".encode())
                self.wfile.flush()

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 256

    server = Server(("127.0.0.1", node.port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    node.ending.wait()
    server.shutdown()


def st2actionrunner(node: Node) -> None:
    """Executes jobs, and stands in for the rules engine: a trigger becomes an execution."""
    publisher = Publisher(node)
    while not node.ending.is_set():
        try:
            connection = node.connect()
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            for queue, work in ((JOBS, _execute), (TRIGGERS, _handle)):
                channel.basic_consume(
                    queue, lambda c, m, _p, b, w=work: (w(node, publisher, b.decode()), c.basic_ack(m.delivery_tag))
                )
            while not node.ending.is_set():
                connection.process_data_events(0.1)
            connection.close()
        except (AMQPError, OSError):
            time.sleep(0.1)


def _execute(node: Node, _: Publisher, number: str) -> None:
    """Once, whatever the broker delivers twice: the status is taken over in one atomic write, as StackStorm does."""
    wanted = {"_id": ObjectId(number), "status": "requested"}
    if (
        again(lambda: node.database.live_action_d_b.find_one_and_update(wanted, {"$set": {"status": "running"}}))
        is None
    ):
        return
    time.sleep(node.work_s)
    node.record(done=number)
    for name in ("action_execution_d_b", "live_action_d_b"):
        again(
            lambda name=name: node.database[name].update_one(
                {"_id": ObjectId(number)}, {"$set": {"status": "succeeded"}}
            )
        )


def _handle(node: Node, publisher: Publisher, text: str) -> None:
    trigger = json.loads(text)
    wanted = {"_id": ObjectId(trigger["id"]), "status": "pending"}
    taken = {"$set": {"status": "processed"}}
    number = request_execution(node, publisher, "lab.event", text)
    if again(lambda: node.database.trigger_instance_d_b.find_one_and_update(wanted, taken)) is not None:
        node.record(**trigger["what"], execution=number)


def _dispatch(node: Node, publisher: Publisher, what: dict[str, Any]) -> None:
    number = ObjectId()
    again(lambda: node.database.trigger_instance_d_b.replace_one({"_id": number}, {"status": "pending"}, upsert=True))
    publisher.send(TRIGGERS, json.dumps({"id": str(number), "what": what}))


def st2sensorcontainer(node: Node) -> None:
    """A sensor that keeps its position in the datastore, as good ones do: the next one goes on from there."""
    publisher, keys = Publisher(node), node.database.key_value_pair_d_b
    row = again(lambda: keys.find_one({"_id": POSITION})) or {"value": 0}
    position = int(row["value"])
    while not node.ending.wait(0.02):
        lines = node.events.read_text().splitlines()
        for line in lines[position:]:
            _dispatch(node, publisher, {"event": line})
            position += 1
            again(lambda at=position: keys.replace_one({"_id": POSITION}, {"value": at}, upsert=True))
            if node.ending.is_set():
                return


def st2timersengine(node: Node) -> None:
    """Ticks on the second, by the clock that both sides share."""
    publisher = Publisher(node)
    while not node.ending.wait(TICK_S - time.time() % TICK_S):
        _dispatch(node, publisher, {"tick": round(time.time() / TICK_S)})


ROLES = {role.__name__: role for role in (st2api, st2actionrunner, st2sensorcontainer, st2timersengine)}

if __name__ == "__main__":
    if sys.argv[1] == "st2garbagecollector":
        Node(Path(sys.argv[2])).ending.wait()
    else:
        ROLES[sys.argv[1]](Node(Path(sys.argv[2])))
