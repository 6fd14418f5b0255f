"""Two StackStorms side by side, as stand-ins (lab.stackstorm_standin), behind two balancers of their own.

with TwoSides(mongo, rabbit, directory) as sides, Traffic(sides) as traffic:
    ...
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.cluster import ROOT
from lab.mongodb import MongoCluster
from lab.ports import reserve
from lab.process import MARKER, sweep
from lab.rabbitmq import RabbitCluster
from lab.stackstorm_services import running, start, stop
from lab.stackstorm_switch import nginx, upstreams
from lab.wait import wait_for

NAME = "st2_v2_5"
INFLOW = ("st2sensorcontainer", "st2timersengine")
WORK = ("st2api", "st2stream", "st2actionrunner")
LATE = ("st2garbagecollector",)
NGINX = """\
pid nginx.pid; error_log error.log; worker_processes 1; worker_shutdown_timeout 10s;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  include upstreams.conf;
  server {{
    listen 127.0.0.1:{port} backlog=512;
    location = /__generation {{ return 200 $generation; }}
    location / {{ proxy_pass http://st2; proxy_http_version 1.1; }}
    location /stream/ {{ proxy_pass http://st2stream; proxy_http_version 1.1; proxy_buffering off; }}
  }}
}}
"""
OLD_CONF = """\
# the old side
[messaging]
url = {url}
cluster_urls = {urls}
[database]
host = {database}
db_name = st2
[auth]
api_url = http://{api}/
"""
NEW_CONF = """\
# a new node, as the package leaves it
[database]
host = 127.0.0.1
port = 27017
db_name = st2

[messaging]
# the broker
url = amqp://guest:guest@127.0.0.1:5672/

[auth]
api_url = http://{api}/
"""


class TwoSides:
    """Nodes `old1` and `new1`, balancers `lb2` (standby) and `lb1`; `name` is the new side's database and vhost.

    `addresses` are where they are asked, `vip` where users come in. Without `runs` there are only the nodes' files.
    """

    def __init__(
        self, mongo: MongoCluster, rabbit: RabbitCluster, directory: Path, name: str = NAME, work_s: float = 0.02,
        *, runs: bool = True,
    ) -> None:  # fmt: skip
        self.mongo, self.rabbit, self.directory, self.name = mongo, rabbit, directory, name
        self.work_s, self._runs = work_s, runs
        self.events = directory / "events"
        self.addresses = self._addresses()

    def _addresses(self) -> dict[str, tuple[str, int]]:
        names = ("old1", "new1", "lb1", "lb2", "old1 stream", "new1 stream")
        found = {name: ("127.0.0.1", port) for name, port in zip(names, reserve(len(names), self.directory))}
        return {**found, "vip": found["lb1"]}

    def __enter__(self) -> TwoSides:
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "lab.guardian", str(os.getpid()), str(self.directory)], cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return self._set_up()
        except BaseException:
            self._end()
            raise

    def _set_up(self) -> TwoSides:
        self.events.touch()
        for name in ("old1", "new1"):
            node = self.directory / name
            node.mkdir()
            facts = {"name": name, "owner": os.getpid(), "events": str(self.events), "listen": self._listen(name)}
            (node / "node.json").write_text(json.dumps({**facts, "work_s": self.work_s}))
            (node / "record").touch()
        urls, apis = self.broker_urls(), {name: "{}:{}".format(*self.addresses[name]) for name in ("old1", "new1")}
        (self.directory / "old1" / "st2.conf").write_text(
            OLD_CONF.format(url=urls[0], urls=",".join(urls), database=self.database_uri, api=apis["old1"])
        )
        (self.directory / "new1" / "st2.conf").write_text(NEW_CONF.format(api=apis["new1"]))
        if self._runs:
            self._start()
        return self

    def _listen(self, node: str) -> dict[str, tuple[str, int]]:
        """Where each of a node's services listens."""
        one = dict.fromkeys(("st2web", "st2auth", "st2api"), self.addresses[node])
        return {**one, "st2stream": self.addresses[f"{node} stream"]}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        sweep(self.directory)
        for name in ("lb1", "lb2"):  # nginx writes its title over its environment, by which others are found
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.directory / name / "nginx.pid").read_text()), signal.SIGTERM)
        self._guardian.kill()
        self._guardian.wait(10)

    def _start(self) -> None:
        self._start_balancers()
        with self._inside_nodes():
            for service in (*WORK, *INFLOW):
                start(self.directory / "old1", service)
        wait_for(lambda: self.serves() == "old1", 60, "the old side to answer", retry_on=(OSError, KeyError, TypeError))
        wait_for(lambda: self.get("old1 stream", "/", "HEAD")[0] == 501, 60, "its stream", retry_on=(OSError,))

    def _inside_nodes(self) -> contextlib.AbstractContextManager[None]:
        """Where nodes' services are started."""
        return contextlib.nullcontext()

    # -- settings

    @property
    def database_uri(self) -> str:
        login = self.mongo.logins["lab_root"]
        hosts = ",".join(self.mongo.hosts)
        return f"mongodb://{login.username}:{login.password}@{hosts}/?replicaSet=rs0&authSource=admin"

    def broker_urls(self) -> list[str]:
        password = self.rabbit.logins["st2"].password
        return [f"amqp://st2:{password}@{host}/st2" for host in self.rabbit.amqp_hosts]

    def deployment(self, **upgrade: Any) -> dict[str, Any]:
        """As the pack's configuration names both sides and what they stand on."""
        mongodb = self.mongo.deployment()["mongodb"]
        login = self.mongo.logins["st2ha_upgrade" if self.name == NAME else "lab_root"]  # its rights are for this name
        python = f"env PYTHONPATH={Path(__file__).resolve().parent.parent} {sys.executable} -m"
        layer = {
            "command": "env ST2HA_NODE={name}",
            "old": self.side("old1", "2.4"),
            "new": self.side("new1", "2.5"),
            "database": self.name,
            "vhost": self.name,
            "inflow": ", ".join(INFLOW),
            "work": ", ".join(WORK),
            "late": ", ".join(LATE),
            "service_command": f"{python} lab.stackstorm_services {shlex.quote(str(self.directory))}",
            "balancers": "lb2, lb1",
            "switch": f"{python} lab.stackstorm_switch {shlex.quote(str(self.directory))} {{balancer}} {{side}}",
            "vip_api_url": "http://{}:{}/api".format(*self.addresses["vip"]),
            "drain_s": 120,
            "soak_s": 0,
            "lease_s": 5,
            **upgrade,
        }
        return {
            "name": "lab",
            "mongodb": {**mongodb, "username": login.username, "password_file": str(login.password_file)},
            "rabbitmq": self.rabbit.deployment()["rabbitmq"],
            "upgrade": layer,
        }

    def side(self, node: str, version: str) -> dict[str, Any]:
        """A side of one node, as the layer `upgrade` has it."""
        conf = str(self.directory / node / "st2.conf")
        url = "http://{}:{}".format(*self.addresses[node])
        return {"version": version, "nodes": [{"name": node, "conf": conf}], "api_url": url}

    # -- looking

    def get(self, where: str, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """One request on a connection of its own to a node or a balancer. Raises OSError or HTTPException."""
        connection = http.client.HTTPConnection(*self.addresses[where], timeout=20)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            reply = connection.getresponse()
            text = reply.read()
            told = reply.getheader("Content-Type") == "application/json"
            return reply.status, json.loads(text) if told else text.decode("utf-8", "replace")
        finally:
            connection.close()

    def serves(self, balancer: str = "lb1") -> str:
        """The node that a new connection reaches."""
        return str(self.get(balancer, "/api/v1/")[1]["node"])

    def records(self, kind: str) -> list[tuple[str, Any]]:
        """(node, what) of everything of a kind that was done: done, event or tick."""
        rows = []
        for node in ("old1", "new1"):
            for line in (self.directory / node / "record").read_text().splitlines():
                row = json.loads(line)
                if kind in row:
                    rows.append((node, row[kind]))
        return rows

    def runs(self, node: str) -> set[str]:
        """The services of a node that run."""
        return {name for name in (*INFLOW, *WORK, *LATE) if running(self.directory / node, name) is not None}

    # -- faults

    def kill(self, node: str, service: str) -> None:
        """SIGKILL, if it runs."""
        pid = running(self.directory / node, service)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def broken_balancer(self, name: str) -> Iterator[None]:
        """Its configuration has a mistake that its reload will find; it goes on serving."""
        file = self.directory / name / "nginx.conf"
        before = file.read_text()
        file.write_text(before + "mistake;\n")
        try:
            yield
        finally:
            file.write_text(before)

    def stop(self, node: str, service: str) -> None:
        stop(self.directory / node, service)

    def start(self, node: str, service: str) -> None:
        """And wait until it listens, if it does."""
        with self._inside_nodes():
            start(self.directory / node, service)
        where = self._listen(node).get(service)
        wait_for(lambda: where is None or self._connects(where), 60, f"{service} of {node}", retry_on=(OSError,))

    def _connects(self, where: tuple[str, int]) -> bool:
        socket.create_connection(where, 5).close()
        return True

    def _start_balancers(self) -> None:
        sides = {side: [self.addresses[f"{side}1{more}"][1] for more in ("", " stream")] for side in ("old", "new")}
        for name in ("lb1", "lb2"):
            directory, port = self.directory / name, self.addresses[name][1]
            (directory / "logs").mkdir(parents=True)
            (directory / "balancer.json").write_text(json.dumps({"port": port, "sides": sides}))
            (directory / "upstreams.conf").write_text(upstreams(sides["old"], "old-0"))
            (directory / "nginx.conf").write_text(NGINX.format(port=port))
            marked = {**os.environ, MARKER: str(self.directory)}
            subprocess.run(nginx(directory), check=True, capture_output=True, timeout=20, env=marked)
