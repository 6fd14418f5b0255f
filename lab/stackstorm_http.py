"""The stand-ins that speak HTTP: st2api (with web and auth) and st2stream, where node.json says that they listen."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bson import ObjectId
from pika.exceptions import AMQPError

from lab.stackstorm_node import EVENTS, Node, Publisher, again, request_execution

PAGE = b"<!DOCTYPE html><html><head><title>StackStorm</title></head><body></body></html>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
AT_ONCE = {
    b"GET / HTTP/1.0": ANSWER % (b"text/html", len(PAGE), PAGE),
    b"GET /v1/actions HTTP/1.0": ANSWER % (b"application/json", 2, b"[]"),
}
AT_ONCE_S, BEAT_S = 0.01, 0.2


class Server(ThreadingHTTPServer):
    """AT_ONCE is answered without a thread: a load of it is not to take the machine from what is measured."""

    daemon_threads, request_queue_size = True, 256

    def process_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(AT_ONCE_S)
        try:
            head = request.recv(4096, socket.MSG_PEEK)
        except OSError:
            head = b""
        request.settimeout(None)
        answer = AT_ONCE.get(head.partition(b"\r\n")[0]) if head.endswith(b"\r\n\r\n") else None
        if answer is None:
            return super().process_request(request, client_address)
        with contextlib.suppress(OSError):
            request.recv(4096)
            request.sendall(answer)
        self.shutdown_request(request)


def serve(node: Node, handler: type[BaseHTTPRequestHandler], *services: str) -> None:
    """Until the node's end."""
    servers = [Server(address, handler) for address in {tuple(node.listen[service]) for service in services}]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    node.ending.wait()
    for server in servers:
        server.shutdown()


def st2api(node: Node) -> None:
    """HTTP for web, api and auth."""
    publisher = Publisher(node)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/":
                return self._answer(200, PAGE, "text/html")
            if "/v1/executions/" in self.path:
                wanted = {"_id": ObjectId(self.path.rsplit("/", 1)[1])}
                row = again(lambda: node.database.action_execution_d_b.find_one(wanted))
                if row is None:
                    return self._tell(404, {"faultstring": "not found"})
                return self._tell(200, {"id": str(row["_id"]), "status": row["status"]})
            self._tell(200, {"node": node.name})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
            if self.path.endswith("/tokens"):
                if "Authorization" not in self.headers:
                    return self._tell(401, {"faultstring": "Invalid or missing credentials"})
                token = str(ObjectId())
                again(lambda: node.database.token_d_b.insert_one({"token": token}))
                return self._tell(201, {"token": token})
            number = request_execution(node, publisher, str(body.get("action", "core.noop")), "api")
            self._tell(201, {"id": number, "node": node.name})

        def do_DELETE(self) -> None:
            """Cancel an execution that waits, with what waits below it."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            cancel(node, self.path.rsplit("/", 1)[1])
            self._tell(200, {"status": "canceled"})

        def _tell(self, code: int, body: dict[str, Any]) -> None:
            self._answer(code, json.dumps(body).encode(), "application/json")

        def _answer(self, code: int, data: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    serve(node, Handler, "st2web", "st2auth", "st2api")


def cancel(node: Node, number: str) -> None:
    """What waits of an execution, in all four collections, and of its children."""
    data, waiting = node.database, {"$in": ["pending", "paused"]}
    row = again(lambda: data.action_execution_d_b.find_one({"_id": ObjectId(number)})) or {}
    for child in again(lambda: list(data.action_execution_d_b.find({"parent": number, "status": waiting}))):
        cancel(node, str(child["_id"]))
    places: list[tuple[str, dict[str, Any]]] = [
        ("workflow_execution_d_b", {"action_execution": number}),
        ("action_execution_d_b", {"_id": ObjectId(number)}),
        ("live_action_d_b", {"_id": ObjectId(row.get("liveaction", {}).get("id", number))}),
    ]
    if "task_execution" in row:
        places.append(("task_execution_d_b", {"_id": ObjectId(row["task_execution"])}))
    for name, wanted in places:
        change = {"$set": {"status": "canceled"}}
        again(lambda name=name, wanted=wanted, new=change: data[name].update_one({**wanted, "status": waiting}, new))


def st2stream(node: Node) -> None:
    """Server-sent events of what is executed in this vhost, for as long as a client listens."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self._write(b": beat\n\n")  # something at once, as st2stream does
            node.ending.wait(BEAT_S)  # who only looks is gone by then
            while self._write(b": beat\n\n") and not node.ending.is_set():
                try:
                    return self._follow()
                except (AMQPError, OSError):
                    continue

        def _follow(self) -> None:
            channel = node.connect().channel()
            try:
                queue = channel.queue_declare("", exclusive=True).method.queue
                channel.queue_bind(queue, EVENTS, "#")
                for _, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=BEAT_S):
                    told = b"event: st2.execution__update\ndata: %b\n\n" % body if body else b": beat\n\n"
                    if node.ending.is_set() or not self._write(told):
                        return
            finally:
                if channel.connection.is_open:
                    channel.connection.close()

        def _write(self, data: bytes) -> bool:
            try:
                self.wfile.write(data)
            except OSError:
                return False
            return True

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    serve(node, Handler, "st2stream")
