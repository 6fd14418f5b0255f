"""A sensor fleet on this machine: stand-in containers (tests/standin), an API that keeps keys and a service registry.

Who runs what is told by the sensors' own log alone.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lab.wait import wait_for
from st2ha.config import Deployment, select
from tests.replay import recorded

STANDIN = Path(__file__).parent / "standin"
CONF = """\
# A node of the test.
[DEFAULT]

[messaging]
url = amqp://guest:hunter2@mq1/

[sensorcontainer]
# Which sensors run here.
sensor_node_name = {node}
partition_provider = {provider}

[test]
node = {node}
api_url = {api_url}
log = {log}
stop_s = 0.05
"""
KEYS = "/v1/keys/"
MEMBERS = "/v1/service_registry/groups/sensorcontainer/members"


class Fleet:
    """Nodes `n1`, `n2`, ... of hosts `h-n1`, ...; `refs` are the sensors. Close it."""

    def __init__(self, path: Path, nodes: int = 3, refs: int = 8, registry: bool = True) -> None:
        self.path = path
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.refs = [f"pack{number % 3}.Sensor{number}" for number in range(refs)]
        self.disabled: set[str] = set()
        self.keys: dict[str, str] = {}
        self.changes: list[dict[str, Any]] = []
        self.registry = registry
        self.refuse_puts_after: int | None = None
        self.log = path / "sensors.log"
        self.log.touch()
        for name in ("st2sensorcontainer", "service"):
            shutil.copy(STANDIN / name, path / name)
        shutil.copy(STANDIN / "sensor_wrapper.sh", path / "sensor_wrapper.py")
        self._server = _serve(self)
        self.api_url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            self.kill(node)
        self._server.shutdown()
        self._server.server_close()

    # -- nodes

    def conf(self, node: str) -> Path:
        return self.path / f"{node}.conf"

    @property
    def partition_file(self) -> Path:
        return self.path / "partition.yaml"

    def tell(self, node: str, provider: str) -> None:
        """Write a node's st2.conf: `name:hash, hash_ranges:MIN..MAX`."""
        self.conf(node).write_text(CONF.format(node=node, provider=provider, api_url=self.api_url, log=self.log))

    def service(self, verb: str, node: str) -> None:
        subprocess.run([str(self.path / "service"), verb, str(self.conf(node))], check=True, timeout=60)

    def start(self, *nodes: str) -> None:
        """Start containers and wait until what they shall run runs."""
        for node in nodes or self.nodes:
            self.service("start", node)
        for node in nodes or self.nodes:
            wait_for(lambda node=node: "started" in self._out(node), 60, f"the container of {node}")

    def kill(self, node: str) -> None:
        """SIGKILL to its container, as a crash; its sensors end by themselves."""
        pid = self.pid(node)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda: node not in self.alive(), 30, f"the end of {node}")
            wait_for(lambda: not self.run_by(node), 30, f"the end of the sensors of {node}")

    def pid(self, node: str) -> int | None:
        """The container's process, if it lives."""
        try:
            number = int((self.path / f"{node}.conf.pid").read_text())
            os.readlink(f"/proc/{number}/exe")
        except (OSError, ValueError):
            return None
        return number

    def alive(self) -> list[str]:
        return [node for node in self.nodes if self.pid(node) is not None]

    def fails(self, node: str, verb: str, on: bool = True) -> None:
        """Have `start` or `stop` of a node's service fail."""
        mark = self.path / f"{node}.conf.{verb}_fails"
        mark.touch() if on else mark.unlink(missing_ok=True)

    def _out(self, node: str) -> str:
        try:
            return (self.path / f"{node}.conf.out").read_text()
        except OSError:
            return ""

    # -- what ran

    def history(self) -> list[tuple[str, str, str, str]]:
        """(start or stop, reference, node, pid) in the order in which it happened."""
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def running(self) -> dict[str, list[str]]:
        """Who runs each sensor now, by the log."""
        found: dict[str, list[str]] = {}
        for what, ref, node, _ in self.history():
            (found.setdefault(ref, []).append if what == "start" else found[ref].remove)(node)
        return {ref: nodes for ref, nodes in found.items() if nodes}

    def run_by(self, node: str) -> set[str]:
        return {ref for ref, nodes in self.running().items() if node in nodes}

    def twice(self, since: int = 0) -> list[str]:
        """What ran twice at once in the log from line `since` on."""
        found, active = [], dict[str, list[str]]()
        for number, (what, ref, node, _) in enumerate(self.history()):
            if what == "stop":
                active[ref].remove(node)
                continue
            active.setdefault(ref, []).append(node)
            if len(active[ref]) > 1 and number >= since:
                found.append(f"{ref} on {' and '.join(active[ref])}")
        return found

    def each_once(self) -> bool:
        """Every enabled sensor runs, on one node."""
        running = self.running()
        return all(len(running.get(ref, ())) == 1 for ref in self.refs if ref not in self.disabled) and all(
            len(nodes) == 1 for nodes in running.values()
        )

    # -- the pack's configuration

    def config(self, **sensors: Any) -> dict[str, Any]:
        service = str(self.path / "service")
        nodes = [
            {
                "name": node,
                "host": f"h-{node}",
                "command": "local",
                "config_file": str(self.conf(node)),
                "stop_command": f"{service} stop {self.conf(node)}",
                "start_command": f"{service} start {self.conf(node)}",
            }
            for node in self.nodes
        ]
        layer = {
            "nodes": nodes,
            "partition_file": str(self.partition_file),
            "stop_s": 60,
            "start_s": 60,
            "timeout_s": 30,
            **sensors,
        }
        stackstorm = {"api_url": self.api_url, "api_key": "key-of-the-test", "timeout_s": 30}
        return {"deployments": [{"name": "lab", "stackstorm": stackstorm, "sensors": layer}]}

    def deployment(self, **sensors: Any) -> Deployment:
        return select(self.config(**sensors), "lab")

    # -- the API

    def rows(self) -> list[dict[str, Any]]:
        return [{"id": ref, "ref": ref, "enabled": ref not in self.disabled} for ref in self.refs]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(path)
        if parts.path.startswith(KEYS):
            return self._key(method, unquote(parts.path[len(KEYS) :]), body)
        if parts.path == "/v1/sensortypes":
            rows, query = self.rows(), parse_qs(parts.query)
            return 200, rows if query.get("offset", ["0"])[0] == "0" else []
        if parts.path == "/v1/triggerinstances":
            return 200, self.changes if "value_change" in parts.query else []
        if parts.path == "/v1/service_registry/groups":
            return 200, {"groups": ["sensorcontainer", "timer_engine"] if self.registry else []}
        if parts.path.startswith("/v1/service_registry/"):
            answer = recorded("hash", "service_registry_members_timer_engine")["body"]
            return 200, self._members() if parts.path == MEMBERS else answer
        return 404, {"faultstring": "The resource could not be found."}

    def set_key(self, name: str, value: str) -> None:
        """Write a key as StackStorm does: a trigger tells that its value changed."""
        if name in self.keys:
            at = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
            payload = {"old_object": {"name": name}, "new_object": {"name": name, "value": value}}
            trigger = "core.st2.key_value_pair.value_change"
            self.changes.append({"id": at, "trigger": trigger, "occurrence_time": at, "payload": payload})
        self.keys[name] = value

    def _members(self) -> dict[str, Any]:
        return {
            "members": [
                {"capabilities": {"hostname": f"h-{node}", "pid": self.pid(node), "name": "sensorcontainer"}}
                for node in self.alive()
            ]
        }

    def _key(self, method: str, name: str, body: Any) -> tuple[int, Any]:
        if method == "PUT":
            if self.refuse_puts_after is not None:
                self.refuse_puts_after -= 1
                if self.refuse_puts_after < 0:
                    self.refuse_puts_after = None
                    return 500, {"faultstring": "Internal Server Error"}
            self.set_key(name, body["value"])
        if name not in self.keys:
            return 404, recorded("hash", "key_missing")["body"]
        if method == "DELETE":
            del self.keys[name]
            return 204, None
        return 200, {"id": "6b034eed84d9ad0ab008d283", "name": name, "scope": "st2kv.system", "value": self.keys[name]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _serve(fleet: Fleet) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = fleet.answer(self.command, self.path, json.loads(body or b"null"))
            text = b"" if status == 204 else json.dumps(answer).encode()
            self.send_response(status)
            if isinstance(answer, list):
                self.send_header("X-Total-Count", str(len(answer)))
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_PUT = do_DELETE = _any

        def log_message(self, *_: Any) -> None:
            """Nothing to the terminal."""

    server = _Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
