"""A haproxy beside each nginx of the lab's edge, as a site has it: a backend for each service, its servers on blue."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable
from typing import Any

from lab.edge import BALANCERS, GROUPS, EdgeLab
from lab.edge_node import PORTS
from lab.errors import LabError
from lab.process import Server
from lab.wait import wait_for

PORT, SOCKET, CONFIG = 8080, "/run/haproxy.sock", "/run/haproxy.cfg"
STORED, FORMER = "/run/haproxy.states", "/run/st2ha-haproxy-former"
PUBLIC = {"st2api": "/api/", "st2auth": "/auth/", "st2stream": "/stream/"}
CHECKED = "check inter 100ms fall 2 rise 1"


def configuration(check: str = CHECKED, backends: Iterable[str] = tuple(PORTS), head: str = "") -> str:
    """The file; `check` ends its server lines, `head` is a line of its defaults."""
    paths = [f"    use_backend {name} if {{ path_beg {path} }}" for name, path in PUBLIC.items() if name in backends]
    lines = ["global", f"    stats socket {SOCKET} mode 600 level admin", f"    server-state-file {STORED}"]
    lines += ["defaults", "    mode http", "    retries 0", *([head] if head else [])]
    lines += [f"    timeout {each} 10s" for each in ("connect", "client", "server")]
    lines += ["frontend clients", f"    bind *:{PORT}", *paths, "    default_backend st2web"]
    for name in backends:
        lines += [f"backend {name}"]
        if name in PUBLIC:
            lines += [f"    http-request replace-path {PUBLIC[name]}(.*) /\\1"]
        nodes = enumerate(GROUPS["blue"].values(), 1)
        lines += [f"    server s{number} {node}:{PORTS[name]} {check}" for number, node in nodes]
    return "\n".join(lines) + "\n"


class Haproxies:
    """A context manager; `servers` by balancer."""

    def __init__(self, edge: EdgeLab) -> None:
        self.edge = edge
        self.servers: dict[str, Server] = {}

    @staticmethod
    def limitation() -> str | None:
        missing = [program for program in ("haproxy", "socat") if not shutil.which(program)]
        return f"apt-get install {' '.join(missing)}" if missing else None

    def __enter__(self) -> Haproxies:
        for name in BALANCERS:
            directory = self.edge.directory / f"{name}-haproxy"
            directory.mkdir()
            command = self.edge.command(name, ["haproxy", "-db", "-f", CONFIG])
            self.servers[name] = Server(f"{name}-haproxy", command, directory, owner=self.edge.directory)
            self.edge.file(name, CONFIG).write_text(configuration())
            self.servers[name].start()
        for name in BALANCERS:
            self.wait(name)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for name, server in self.servers.items():
            server.kill()
            shutil.rmtree(server.directory)
            for path in (FORMER, STORED, SOCKET):
                self.edge.file(name, path).unlink(missing_ok=True)

    def restart(self, name: str, text: str | None = None) -> None:
        """That balancer's haproxy anew, with another file if one is given."""
        if text is not None:
            self.edge.file(name, CONFIG).write_text(text)
        self.servers[name].kill()
        self.servers[name].start()
        self.wait(name)

    def wait(self, name: str) -> None:
        """Until it listens, for clients and on its socket."""
        wait_for(
            functools.partial(self._listens, name), 15, f"haproxy of {name}", interval_s=0.02, retry_on=(LabError,)
        )

    @staticmethod
    def tell(edge: EdgeLab, name: str, command: str) -> str:
        """Say something to a runtime socket, as an operator does."""
        return edge.run(name, ["socat", "-t5", "-", f"UNIX-CONNECT:{SOCKET}"], stdin=command + "\n")

    @staticmethod
    def deployment(edge: EdgeLab) -> dict[str, Any]:
        """The edge's deployment with haproxy in place of nginx."""
        config = edge.deployment()
        del config["edge"]["nginx"]
        haproxy = {"socket": SOCKET, "state_file": FORMER, "config_file": CONFIG}
        config["edge"].update(haproxy=haproxy, port=PORT, tls={"enabled": False})
        return config

    def _listens(self, name: str) -> bool:
        self.servers[name].check_alive()
        self.edge.run(name, ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}"])
        return bool(self.tell(self.edge, name, "show info"))
