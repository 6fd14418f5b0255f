"""Two StackStorms side by side, as stand-ins (lab.stackstorm_standin), behind two balancers, and a load on them.

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
import subprocess
import sys
import threading
import time
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

MOST_BEHIND = 12
INFLOW = ("st2sensorcontainer", "st2timersengine")
WORK = ("st2api", "st2actionrunner")
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
    location / {{ proxy_pass http://st2; proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 60s; }}
  }}
}}
"""
OLD_CONF = """\
# the old side
[messaging]
url = {url}
[database]
host = {database}
db_name = st2
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
"""


class TwoSides:
    """Nodes `old1` and `new1`, balancers `lb2` (standby) and `lb1`; `name` is the new side's database and vhost.

    Without `runs` there are only the nodes' files.
    """

    def __init__(
        self, mongo: MongoCluster, rabbit: RabbitCluster, directory: Path, name: str = "st2_v2_5", work_s: float = 0.02,
        *, runs: bool = True,
    ) -> None:  # fmt: skip
        self.mongo, self.rabbit, self.directory, self.name = mongo, rabbit, directory, name
        self.work_s, self._runs = work_s, runs
        self.events = directory / "events"
        self.ports = dict(zip(("old1", "new1", "lb1", "lb2"), reserve(4, directory)))

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
            facts = {"name": name, "port": self.ports[name], "owner": os.getpid(), "events": str(self.events)}
            (node / "node.json").write_text(json.dumps({**facts, "work_s": self.work_s}))
            (node / "record").touch()
        (self.directory / "old1" / "st2.conf").write_text(
            OLD_CONF.format(url=self.broker_urls()[0], database=self.database_uri)
        )
        (self.directory / "new1" / "st2.conf").write_text(NEW_CONF)
        if self._runs:
            self._start()
        return self

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
        for name in ("lb1", "lb2"):
            self._start_balancer(name)
        for service in (*WORK, *INFLOW):
            start(self.directory / "old1", service)
        wait_for(lambda: self.get("lb1", "/")[0] == 200, 60, "the old side to answer", retry_on=(OSError,))

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
        login = self.mongo.logins["lab_root"]
        python = f"env PYTHONPATH={Path(__file__).resolve().parent.parent} {sys.executable} -m"
        layer = {
            "command": "env ST2HA_NODE={name}",
            "old": self._side("old1", "2.4"),
            "new": self._side("new1", "2.5"),
            "database": self.name,
            "vhost": self.name,
            "inflow": ", ".join(INFLOW),
            "work": ", ".join(WORK),
            "late": ", ".join(LATE),
            "service_command": f"{python} lab.stackstorm_services {shlex.quote(str(self.directory))}",
            "balancers": "lb2, lb1",
            "switch": f"{python} lab.stackstorm_switch {shlex.quote(str(self.directory))} {{balancer}} {{side}}",
            "vip_api_url": f"http://127.0.0.1:{self.ports['lb1']}/api",
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

    def _side(self, node: str, version: str) -> dict[str, Any]:
        conf = str(self.directory / node / "st2.conf")
        url = f"http://127.0.0.1:{self.ports[node]}"
        return {"version": version, "nodes": [{"name": node, "conf": conf}], "api_url": url}

    # -- looking

    def get(self, where: str, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
        """One request on a connection of its own to a node or a balancer. Raises OSError or HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[where], timeout=20)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            reply = connection.getresponse()
            text = reply.read()
            return reply.status, json.loads(text or "null") if reply.status < 500 else text.decode("utf-8", "replace")
        finally:
            connection.close()

    def serves(self, balancer: str = "lb1") -> str:
        """The node that a new connection reaches."""
        return str(self.get(balancer, "/")[1]["node"])

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

    def _start_balancer(self, name: str) -> None:
        directory = self.directory / name
        (directory / "logs").mkdir(parents=True)
        sides = {"old": self.ports["old1"], "new": self.ports["new1"]}
        (directory / "balancer.json").write_text(json.dumps({"port": self.ports[name], "sides": sides}))
        (directory / "upstreams.conf").write_text(upstreams(sides["old"], "old-0"))
        (directory / "nginx.conf").write_text(NGINX.format(port=self.ports[name]))
        marked = {**os.environ, MARKER: str(self.directory)}
        subprocess.run(nginx(directory), check=True, capture_output=True, timeout=20, env=marked)


class Traffic:
    """Jobs and reads through the balancer, each on a new connection, and outside events.

    On a busy machine no more than MOST_BEHIND jobs and events are under way: a backlog is not what is tested.
    """

    def __init__(self, sides: TwoSides, jobs_s: float = 4, reads_s: float = 20, events_s: float = 4) -> None:
        self.sides = sides
        self.jobs: list[str] = []
        self.events = 0
        self.reads = 0
        self.failed: list[str] = []
        self._end = threading.Event()
        rates = ((self._job, jobs_s), (self._read, reads_s), (self._event, events_s))
        self._threads = [threading.Thread(target=self._run, args=each, daemon=True) for each in rates]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.jobs and self.reads and self.events, 30, "the load to begin")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def settle(self, deadline_s: float = 60) -> None:
        """Wait until all that was acknowledged was done. Raises WaitTimeout."""
        wait_for(lambda: not self.missing(), deadline_s, "all jobs and events to be done", interval_s=0.2)

    def missing(self) -> list[str]:
        """Acknowledged jobs and events that nobody did."""
        done = {what for _, what in self.sides.records("done")}
        seen = {what for _, what in self.sides.records("event")}
        wanted = [str(number) for number in range(self.events)]
        return [job for job in self.jobs if job not in done] + [each for each in wanted if each not in seen]

    def twice(self) -> list[str]:
        """What was done more than once, on one side or on both."""
        rows = [what for kind in ("done", "event", "tick") for _, what in self.sides.records(kind)]
        return sorted({str(what) for what in rows if rows.count(what) > 1})

    def _run(self, work: Any, rate: float) -> None:
        began, count = time.monotonic(), 0
        while not self._end.wait(max(0.0, began + count / rate - time.monotonic())):
            count = max(count + 1, int((time.monotonic() - began) * rate))
            try:
                work()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed.append(f"{work.__name__}: {type(error).__name__} {error}")

    def _behind(self) -> bool:
        """Nothing new for now; also while the sensors are stopped, so that the next one begins with little."""
        texts = [(self.sides.directory / node / "record").read_text() for node in ("old1", "new1")]
        handled = sum(text.count('"event"') for text in texts)
        done = sum(text.count('"done"') for text in texts)
        return self.events - handled > MOST_BEHIND or len(self.jobs) + handled - done > MOST_BEHIND

    def _job(self) -> None:
        if self._behind():
            return
        status, body = self.sides.get("lb1", "/api/v1/executions", "POST", {"action": "core.local"})
        if status != 201:
            raise ValueError(f"HTTP {status}")
        self.jobs.append(body["id"])

    def _read(self) -> None:
        status, _ = self.sides.get("lb1", "/")
        if status != 200:
            raise ValueError(f"HTTP {status}")
        self.reads += 1

    def _event(self) -> None:
        if self._behind():
            return
        with open(self.sides.events, "a", encoding="utf-8") as file:
            file.write(f"{self.events}\n")
        self.events += 1
