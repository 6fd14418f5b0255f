"""A RabbitMQ cluster on one machine: management API, mirrored and quorum queues, and the faults of it.

with RabbitCluster(members=3) as rabbit:
    rabbit.api("rabbit1", "GET", "/api/overview")
    rabbit.kill("rabbit2")
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pika
import requests
import yaml

from lab import rabbitmq_node as node
from lab.certs import Authority
from lab.cluster import Member
from lab.errors import LabError, NotYet
from lab.rabbitmq_access import MANAGEMENT, STACKSTORM_VHOST, RabbitAccess
from lab.wait import wait_for


class RabbitCluster(RabbitAccess):
    """Nodes ``rabbit1@localhost``, ``rabbit2@localhost``, ...; all share the epmd of the first one's fourth port.

    ``directory`` None: a new one under /tmp/st2ha-lab; ``base_port`` 0: free ports. The default login is the
    operator's; see ``logins`` for the others.
    """

    service = "rabbitmq"
    prefix = "rabbit"
    ports_per_member = 4

    def __init__(
        self,
        directory: Path | str | None = None,
        members: int = 3,
        *,
        base_port: int = 0,
        tls: bool = False,
        partition_handling: str = "pause_minority",
        net_ticktime_s: int = 5,
        memory_limit_mb: int = 600,
        **_: Any,
    ) -> None:
        settings = {
            "members": members,
            "tls": tls,
            "partition_handling": partition_handling,
            "net_ticktime_s": net_ticktime_s,
            "memory_limit_mb": memory_limit_mb,
        }
        super().__init__(directory, members, settings, base_port)
        self.tls = tls

    # -- telling

    def deployment(self) -> dict[str, Any]:
        """This cluster as the pack's configuration names it."""
        rabbitmq: dict[str, Any] = {
            "hosts": self.hosts,
            "amqp_hosts": self.amqp_hosts,
            "username": "st2ha",
            "password_file": str(self.logins["st2ha"].password_file),
            "vhost": STACKSTORM_VHOST,
            "stackstorm_user": "st2",
            "command": shlex.join(self.tool_prefix(self.members[0].name)),
        }
        if self.ca_file is not None:
            rabbitmq["tls"] = {"enabled": True, "ca_file": str(self.ca_file)}
        return {"name": "lab", "rabbitmq": rabbitmq}

    def write_config(self, path: Path | str) -> Path:
        """Write a pack configuration with this cluster as its one deployment; holds no secret."""
        text = yaml.safe_dump({"deployments": [self.deployment()], "default_deployment": "lab"}, sort_keys=False)
        Path(path).write_text(text)
        return Path(path)

    def facts(self) -> dict[str, str]:
        """What a person needs to connect."""
        users = ", ".join(f"{name} (password in {who.password_file})" for name, who in self.logins.items())
        nodes = {m.name: f"amqp {m.address}  api {m.host}:{m.ports[MANAGEMENT]}" for m in self.members}
        return {**nodes, "users": users, "config": str(self.directory / "ha.yaml")}

    # -- content

    def declare(self, name: str, kind: str, *, vhost: str = STACKSTORM_VHOST, at: str | None = None) -> None:
        """A durable queue ``name`` of ``kind`` classic or quorum, led by the node ``at``."""
        first = at or self.members[0].name
        body = {"durable": True, "arguments": {"x-queue-type": kind}, "node": self.erlang_name(first)}
        self.api(first, "PUT", f"/api/queues/{quote(vhost, safe='')}/{quote(name, safe='')}", body)

    def publish(self, queue: str, number: int, *, vhost: str = STACKSTORM_VHOST, at: str | None = None) -> None:
        """``number`` persistent messages, each confirmed. Raises UnroutableError without the queue."""
        connection = self.connect(at or self.members[0].name, vhost)
        channel = connection.channel()
        channel.confirm_delivery()
        persistent = pika.BasicProperties(delivery_mode=2)
        for count in range(number):
            channel.basic_publish("", queue, str(count).encode(), persistent, mandatory=True)
        connection.close()

    def mirror_all(self, *, vhost: str = STACKSTORM_VHOST, **definition: Any) -> None:
        """The talk's policy: every classic queue has a mirror on each node."""
        body = {
            "pattern": "^(?!amq\\.).*",
            "apply-to": "queues",
            "definition": {"ha-mode": "all", "ha-sync-mode": "automatic", **definition},
        }
        self.api(self.members[0].name, "PUT", f"/api/policies/{quote(vhost, safe='')}/ha-all", body)

    # -- looking

    def running(self, name: str) -> set[str]:
        """The nodes that one node sees running."""
        rows = self.api(name, "GET", "/api/nodes?columns=name,running", timeout_s=20)
        return {row["name"] for row in rows if row.get("running")}

    def wait_healthy(self, deadline_s: float = 60) -> None:
        """Return when every node sees all nodes running and no alarm. Raises WaitTimeout."""
        wait_for(self._healthy, deadline_s, "a healthy cluster", interval_s=0.2, retry_on=(requests.RequestException,))

    # -- faults of RabbitMQ

    def disk_alarm(self, name: str) -> None:
        """Make a node believe that its disk is full: publishers of the whole cluster are blocked."""
        self.tool(name, "set_disk_free_limit", "500000GB")

    def memory_alarm(self, name: str) -> None:
        """Make a node believe that its memory is full."""
        self.tool(name, "set_vm_memory_high_watermark", "absolute", "1MB")

    def clear_alarms(self, name: str) -> None:
        """Undo ``disk_alarm`` and ``memory_alarm``."""
        self.tool(name, "set_disk_free_limit", "50MB")
        self.tool(name, "set_vm_memory_high_watermark", "absolute", f"{self._settings['memory_limit_mb']}MB")

    def handle_partitions(self, mode: str) -> None:
        """Another ``cluster_partition_handling`` on all nodes, until they are started anew."""
        arguments = f"[rabbit, cluster_partition_handling, {mode}]"
        self.tool(self.members[0].name, "eval", f"rpc:multicall(application, set_env, {arguments}).")

    def restart_app(self, name: str) -> None:
        """stop_app and start_app: what mends a node on the losing side of a partition."""
        self.tool(name, "stop_app")
        self.tool(name, "start_app")

    def restore(self) -> None:
        """Undo every fault and wait healthy; nodes that do not find together again are all started anew."""
        try:
            self.undo_faults()
            self.wait_healthy(40)
        except LabError:
            self.start_anew()

    def start_anew(self) -> None:
        """The first one alone, by force, then the others: nodes that start together may wait for each other for ever.

        So does a paused node with the one that it was waiting for. What was in the queues may be lost.
        """
        for member in self.members:
            self.kill(member.name)
        first = self.members[0]
        forced = self.directory / first.name / "data" / node.node_name(first) / "force_load"
        forced.touch()
        self._give(forced, first)
        for member in self.members:
            self.start(member.name, 90)
        self.wait_healthy(90)

    # -- inside

    def _healthy(self) -> bool:
        wanted = {node.node_name(m) for m in self.members}
        for member in self.members:
            self.servers[member.name].check_alive()
            seen = self.running(member.name)
            if seen != wanted:
                raise NotYet(f"{member.name} sees only {', '.join(sorted(seen)) or 'nobody'} running")
        for row in self.api(
            self.members[0].name, "GET", "/api/nodes?columns=name,partitions,mem_alarm,disk_free_alarm"
        ):
            if row.get("partitions") or row.get("mem_alarm") or row.get("disk_free_alarm"):
                raise NotYet(f"{row['name']} has a partition or an alarm")
        return True

    def _command(self, member: Member) -> list[str]:
        return [str(node.scripts() / "rabbitmq-server")]

    def _environment(self, member: Member) -> dict[str, str]:
        return node.environment(self.directory / member.name, member, self._epmd_port, self._settings)

    def _prepare(self) -> None:
        # Mnesia asks access(2) whether it may write; that one ignores the capability by which servers pass our 0700.
        for path in (self.directory, self.directory.parent):
            if path.stat().st_uid == os.geteuid():
                path.chmod(path.stat().st_mode | 0o011)
        node.write_secrets(self.directory / "secrets")
        cookie = (self.directory / "secrets" / "cookie").read_text()
        authority = Authority(self.directory / "certs") if self.tls else None
        password, seed = self.logins[node.ROOT_USER].password, node.node_name(self.members[0])
        for member in self.members:
            directory = self.directory / member.name
            text = node.configuration(member, seed, self._settings, password, directory)
            for path in node.write_member_files(directory, text, cookie, authority):
                self._give(path, member)
        (self.directory / "tool").mkdir(mode=0o700)
        (self.directory / "tool" / ".erlang.cookie").write_text(cookie)
        (self.directory / "tool" / ".erlang.cookie").chmod(0o400)
        self._start_epmd()

    def _start_epmd(self) -> None:
        """epmd outlives the nodes, as on a real host; sweep() finds it by its environment."""
        from lab.process import MARKER

        command = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1", "-daemon"]
        subprocess.run(command, env={**os.environ, MARKER: str(self.directory)}, timeout=10, check=True)

    def _start_all(self) -> None:
        """The seed alone first: nodes that start together wait for each other (26 to 31 s, or for ever)."""
        first, *others = self.members
        self.servers[first.name].start()
        self._await_start(first.name, 60)
        for member in others:
            self.servers[member.name].start()

    def _launch(self) -> None:
        for member in self.members:
            self._await_start(member.name, 90)
        first = self.members[0].name
        self.wait_healthy(60)
        self.api(first, "PUT", f"/api/vhosts/{STACKSTORM_VHOST}", {})
        for username, login in self.logins.items():
            if username != node.ROOT_USER:
                body = {"password": login.password, "tags": node.TAGS[username]}
                self.api(first, "PUT", f"/api/users/{username}", body)
            rights = {"configure": ".*", "write": ".*", "read": ".*"}
            for vhost in ("%2F", STACKSTORM_VHOST):
                self.api(first, "PUT", f"/api/permissions/{vhost}/{username}", rights)
        self.write_config(self.directory / "ha.yaml")

    def _await_start(self, name: str, deadline_s: float) -> None:
        """Both listeners open before the boot has ended: a vhost made in that gap never starts on this node."""
        super()._await_start(name, deadline_s)
        wait_for(lambda: self._booted(name), deadline_s, f"{name} to end its boot", interval_s=0.1)
        wait_for(
            lambda: self.api(name, "GET", "/api/whoami", timeout_s=2), deadline_s, f"{name} to answer",
            interval_s=0.1, retry_on=(requests.RequestException,),
        )  # fmt: skip

    def _booted(self, name: str) -> bool:
        self.servers[name].check_alive()
        return "completed with" in self.servers[name].log.read_text(errors="replace").rpartition("Starting broker")[2]
