"""How to talk to a RabbitMQ cluster of the lab: management API, AMQP, and the machine's own tools."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pika
import requests
from pika.exceptions import AMQPError

from lab import rabbitmq_node as node
from lab.cluster import Cluster
from lab.errors import LabError

AMQP, MANAGEMENT, DISTRIBUTION, EPMD = range(4)
STACKSTORM_VHOST = "st2"


class RabbitAccess(Cluster):
    """The clients' half of a RabbitCluster."""

    tls = False

    def __init__(self, directory: Path | str | None, size: int, settings: dict[str, Any], base_port: int = 0) -> None:
        super().__init__(directory, size, settings, base_port)
        self._connections: list[pika.BlockingConnection] = []

    @property
    def hosts(self) -> list[str]:
        """``host:port`` of every node's management API."""
        return [f"{m.host}:{m.ports[MANAGEMENT]}" for m in self.members]

    @property
    def amqp_hosts(self) -> list[str]:
        """``host:port`` of every node's AMQP listener."""
        return [m.address for m in self.members]

    @property
    def logins(self) -> dict[str, node.Login]:
        """``st2ha`` (operator, the default), ``st2ha_check`` (reads only), ``st2`` (StackStorm), ``lab_root``."""
        return node.read_logins(self.directory / "secrets")

    @property
    def ca_file(self) -> Path | None:
        """What a client must trust; None without TLS."""
        return self.directory / "certs" / "ca.pem" if self.tls else None

    def erlang_name(self, name: str) -> str:
        """The Erlang name of a member."""
        return node.node_name(self.member(name))

    def api(
        self, name: str, method: str, path: str, body: Any = None, *, login: str = node.ROOT_USER, timeout_s: float = 20
    ) -> Any:
        """One call of a node's management API; the parsed reply, None for an empty one. Raises RequestException."""
        who = self.logins[login]
        member = self.member(name)
        url = f"{'https' if self.tls else 'http'}://{member.host}:{member.ports[MANAGEMENT]}{path}"
        reply = requests.request(
            method, url, json=body, auth=(login, who.password), timeout=timeout_s,
            verify=str(self.ca_file) if self.tls else True,
        )  # fmt: skip
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def connect(self, name: str, vhost: str = STACKSTORM_VHOST, *, login: str = node.ROOT_USER) -> Any:
        """An AMQP connection to one node; ended with the cluster at the latest."""
        member, who = self.member(name), self.logins[login]
        parameters = pika.ConnectionParameters(
            member.host, member.port, vhost, pika.PlainCredentials(login, who.password),
            socket_timeout=5, stack_timeout=10, blocked_connection_timeout=10, heartbeat=10,
        )  # fmt: skip
        connection = pika.BlockingConnection(parameters)
        self._connections.append(connection)
        return connection

    def tool(self, name: str, *words: str, timeout_s: float = 60) -> str:
        """Run ``rabbitmqctl`` (or the tool that the first word names) for a node; its output. Raises LabError."""
        command = words if words[0].startswith("rabbitmq") else ("rabbitmqctl", *words)
        argv = [*self.tool_prefix(name), command[0], "-n", self.erlang_name(name), *command[1:]]
        result = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
        if result.returncode:
            raise LabError(f"{' '.join(command)}: {(result.stderr or result.stdout).strip()[-800:]}")
        return result.stdout

    def tool_prefix(self, name: str) -> list[str]:
        """What stands before a tool's name; it makes the machine's own tools talk to this cluster."""
        env = node.tool_environment(self.directory / "tool", self._epmd_port)
        path = f"{node.scripts()}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        return ["env", f"PATH={path}", *(f"{key}={value}" for key, value in env.items())]

    # -- inside

    @property
    def _epmd_port(self) -> int:
        return self.members[0].ports[EPMD]

    def _disconnect(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(AMQPError):
                if connection.is_open:
                    connection.close()
        self._connections.clear()
