"""The two sides of lab.stackstorm behind the lab's edge: two balancers with nginx and keepalived, a VIP, all in boxes.

The pack's own nginx_switch is what switches here. Nodes are in the edge's box of nodes, under addresses of their own;
brokers and databases are outside, and reached from every box by the same address (lab.forwards).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import edge_files
from lab.cluster import ROOT
from lab.edge import BALANCERS, GROUPS, UPSTREAMS, VIP, EdgeLab
from lab.edge_node import PORTS
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.process import MARKER, Server
from lab.rabbitmq import RabbitCluster
from lab.stackstorm import TwoSides
from lab.wait import wait_for

NODES = {"old1": "blue1", "new1": "green1"}
"""Which of the edge's nodes each of ours takes the place of."""
TAKEN = 8100
LISTENER = f"import socket, time; taken = socket.create_server(('', {TAKEN})); time.sleep(600)"


class EdgeSides(TwoSides):
    """As TwoSides; the caller is in the clients' network meanwhile.

    The edge's `restore` undoes what is changed in it.
    """

    def __init__(self, mongo: MongoCluster, rabbit: RabbitCluster, directory: Path, edge: EdgeLab, **more: Any) -> None:
        self.edge = edge
        super().__init__(mongo, rabbit, directory, **more)

    def _addresses(self) -> dict[str, tuple[str, int]]:
        found = {name: (address, 80) for name, address in {**BALANCERS, "vip": VIP}.items()}
        for name, place in NODES.items():
            address = {**GROUPS["blue"], **GROUPS["green"]}[place]
            found |= {name: (address, PORTS["st2api"]), f"{name} stream": (address, PORTS["st2stream"])}
        return found

    def _listen(self, node: str) -> dict[str, tuple[str, int]]:
        return {service: (self.addresses[node][0], port) for service, port in PORTS.items()}

    def __enter__(self) -> EdgeSides:
        with contextlib.ExitStack() as stack:
            self._start_forwards(stack)
            stack.enter_context(self.edge.inside("client"))
            super().__enter__()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.mongo.close_clients()  # while they reach their servers from here: later it takes them seconds
        super().__exit__(*exc_info)
        self._stack.close()

    def _start_forwards(self, stack: contextlib.ExitStack) -> None:
        clusters = [*self.mongo.hosts, *self.rabbit.hosts, *self.rabbit.amqp_hosts]
        ports = ",".join({each.rpartition(":")[2] for each in clusters})
        boxes = [str(self.edge.boxes[name].pid) for name in ("client", "nodes")]
        program = [sys.executable, "-m", "lab.forwards", ports, *boxes]
        marked = {**os.environ, MARKER: str(self.directory)}
        forwards = subprocess.Popen(program, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=marked)
        stack.callback(forwards.communicate)
        stack.callback(forwards.kill)
        assert forwards.stdout is not None
        if not forwards.stdout.readline():
            raise LabError("the boxes' way to the clusters was not made")

    def _start(self) -> None:
        for place in NODES.values():
            self.edge.nodes[place].kill()
        super()._start()

    def _start_balancers(self) -> None:
        for name in BALANCERS:
            self.edge.file(name, UPSTREAMS).write_text(edge_files.upstreams([self.addresses["old1"][0]]))
            self.edge.nginx[name].kill()
            self.edge.start_nginx(name)

    def _inside_nodes(self) -> contextlib.AbstractContextManager[None]:
        return self.edge.inside("nodes")

    def deployment(self, **upgrade: Any) -> dict[str, Any]:
        command = " ".join([*self.edge.prefix("nodes"), "env", "ST2HA_NODE={name}"])
        found = super().deployment(**{"command": command, **upgrade})
        for switched in ("balancers", "switch"):
            found["upgrade"].pop(switched)
        edge = self.edge.deployment()["edge"]
        edge["groups"] = {node: [self.addresses[node][0]] for node in NODES}
        for side, node in (("old", "old1"), ("new", "new1")):
            found["upgrade"][side] = {**found["upgrade"][side], "group": node}
        return {**found, "edge": edge}

    @contextlib.contextmanager
    def broken_balancer(self, name: str) -> Iterator[None]:
        """A colleague's `listen` whose port is taken, of which only a reload tells, and in its log alone."""
        directory = self.directory / "taker"
        directory.mkdir()
        listen = self.edge.command(name, [sys.executable, "-c", LISTENER])
        taker = Server("taker", listen, directory, owner=self.directory)
        taker.start()
        probe = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{TAKEN}"]
        wait_for(lambda: self.edge.run(name, probe) == "", 15, "the port to be taken", retry_on=(LabError,))
        file = self.edge.file(name, "/etc/nginx/conf.d/colleague.conf")
        file.write_text(f"server {{ listen {TAKEN}; }}\n")
        os.utime(file, (0, 0))  # as if it had come with the package: what is known to be unloaded is refused before
        try:
            yield
        finally:
            file.unlink()
            taker.kill()
            shutil.rmtree(directory)
