"""Two balancers with nginx and keepalived, a VIP, and StackStorm nodes behind them, each a box of its own network.

    with EdgeLab() as edge, edge.inside("client"): ...      # 2 s; root, nginx, keepalived, nft

Files of the balancers are where a site has them (/etc/nginx, /etc/keepalived), each balancer its own. The nodes are
stand-ins (lab.edge_node) in two groups. `inside("client")` puts the caller where clients are.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab import edge_files
from lab.boxes import HUB, Boxes, limitation
from lab.certs import Authority
from lab.cluster import ROOT
from lab.edge_node import PORTS
from lab.errors import LabError, NotYet
from lab.process import Server
from lab.wait import wait_for

CLIENT, VIP, NAME = "10.78.0.1", "10.78.0.10", "st2.lab.test"
BALANCERS = {"lb1": "10.78.0.11", "lb2": "10.78.0.12"}
GROUPS = {
    "blue": {"blue1": "10.78.0.21", "blue2": "10.78.0.22"},
    "green": {"green1": "10.78.0.31", "green2": "10.78.0.32"},
}
PLACES = "/run", "/etc/nginx", "/etc/keepalived", "/var/log/nginx", "/var/lib/nginx"
UPSTREAMS, PID_FILE = "/etc/nginx/conf.d/st2.conf", "/run/nginx.pid"
KEEPALIVED = (
    "keepalived", "-n", "-l", "-D", "-P", "-f", "/etc/keepalived/keepalived.conf",
    "-p", "/run/keepalived.pid", "-r", "/run/keepalived_vrrp.pid",
)  # fmt: skip
PROGRAMS = {"nginx": "nginx-light", "keepalived": "keepalived", "nft": "nftables", "ip": "iproute2"}
ADVERTS_OFF = """
table inet lab_adverts {
    chain input { type filter hook input priority 0; meta l4proto 112 drop; }
    chain output { type filter hook output priority 0; meta l4proto 112 drop; }
}
"""


class EdgeLab(Boxes):
    """`lb1` has the higher priority and holds the VIP; both send what they get to the group blue.

    `nginx`, `keepalived` and `nodes` are the servers by name; `advert_s` is keepalived's advert_int.
    """

    def __init__(self, advert_s: float = 0.2, keepalived: bool = True) -> None:
        super().__init__()
        self.advert_s = advert_s
        self.nginx: dict[str, Server] = {}
        self.keepalived: dict[str, Server] = {}
        self.nodes: dict[str, Server] = {}
        self._with_keepalived = keepalived

    kind = "edge"

    @staticmethod
    def limitation() -> str | None:
        missing = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
        return f"apt-get install {' '.join(missing)}" if missing else limitation()

    def __exit__(self, *exc_info: object) -> None:
        super().__exit__(*exc_info)
        for each in self.servers.values():
            each.alive()  # reaps our children

    @property
    def servers(self) -> dict[str, Server]:
        """All of them by the name of their directory, such as `lb1-nginx` or `blue1`."""
        running = [*self.nginx.values(), *self.keepalived.values(), *self.nodes.values()]
        return {each.name: each for each in running}

    def holders(self) -> list[str]:
        """The balancers that have the VIP on an interface."""
        return [name for name in BALANCERS if VIP in self.addresses(name)]

    def addresses(self, name: str) -> list[str]:
        """IPv4 addresses of a box."""
        links: list[dict[str, Any]] = json.loads(self.run(name, ["ip", "-j", "-4", "address"]))
        return [each["local"] for link in links for each in link["addr_info"]]

    def wait_holder(self, name: str, deadline_s: float = 30) -> None:
        """Until that balancer alone holds the VIP."""

        def held() -> bool:
            if (found := self.holders()) != [name]:
                raise NotYet(f"held by {found}")
            return True

        wait_for(held, deadline_s, f"{name} to hold the VIP", interval_s=0.05)

    # faults

    def block_adverts(self, name: str) -> None:
        """VRRP packets to and from a balancer vanish, all others pass: the way to a split brain."""
        self.run(name, ["nft", "-f", "-"], stdin=ADVERTS_OFF)

    def heal(self, name: str) -> None:
        """Undo `cut_link` and `block_adverts`; harmless otherwise."""
        self.mend_link(name)
        with contextlib.suppress(LabError):
            self.run(name, ["nft", "delete", "table", "inet", "lab_adverts"])

    def keepalived_pids(self, name: str) -> dict[str, int]:
        """`parent` and `child` (which does VRRP) of a balancer's keepalived, as this machine counts them."""
        parent = self.keepalived[name].pid
        if parent is None:
            return {}
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return {"parent": parent, **({"child": int(children[0])} if children else {})}

    def kill_keepalived(self, name: str, *which: str) -> None:
        """SIGKILL the `parent`, the `child`, or both at once: then nobody takes the VIP off the node."""
        pids = self.keepalived_pids(name)
        for number in (signal.SIGSTOP, signal.SIGKILL):  # else the child gives the VIP up when it misses its parent
            for each in which:
                os.kill(pids[each], number)
        if set(which) == {"parent", "child"}:
            wait_for(lambda: not self.keepalived[name].alive(), 10, f"keepalived of {name} to end")

    def restore(self) -> None:
        """As at the start: servers, links, files; lb1 holds the VIP alone."""
        for name in BALANCERS:
            self.heal(name)
            self._write_files(name)
        for each in self.nodes.values():
            each.resume()
            each.start()
        for name, nginx in self.nginx.items():
            nginx.resume()
            self._fresh_nginx(name)
        for name, keepalived in self.keepalived.items():
            keepalived.resume()
            if not keepalived.alive() and VIP in self.addresses(name):
                self.run(name, ["ip", "address", "delete", f"{VIP}/24", "dev", "eth0"])
            self.start_keepalived(name)
        self._await()

    # parts

    def configure_keepalived(self, name: str, text: str) -> None:
        """Write a balancer's keepalived.conf; a running keepalived reads it again at `reload_keepalived`."""
        self.file(name, "/etc/keepalived/keepalived.conf").write_text(text)

    def keepalived_conf(self, name: str, **other: Any) -> str:
        """The file that the lab starts with; `other` as in edge_files.keepalived_conf."""
        peers = [address for each, address in BALANCERS.items() if each != name]
        settings = {"priority": 150 if name == "lb1" else 100, "advert_s": self.advert_s, **other}
        return edge_files.keepalived_conf(name, BALANCERS[name], peers, VIP, **settings)

    def reload_keepalived(self, name: str) -> None:
        """SIGHUP."""
        os.kill(self.keepalived_pids(name)["parent"], signal.SIGHUP)

    def start_keepalived(self, name: str) -> None:
        """Does nothing if it runs. A new one ends at once while a child of a dead parent is there: it outlives it."""
        if not self.keepalived[name].alive():
            wait_for(lambda: not self._orphan(name), 15, f"the old keepalived of {name} to end", interval_s=0.02)
        self.keepalived[name].start()

    def start_nginx(self, name: str) -> None:
        """Start it and wait until it listens and tells its number; does nothing if it runs."""
        server = self.nginx[name]
        if not server.alive():
            self.file(name, PID_FILE).unlink(missing_ok=True)
        server.start()
        wait_for(functools.partial(self._listens, name, server), 15, f"nginx of {name} to listen", interval_s=0.02)

    def deployment(self, **nginx: Any) -> dict[str, Any]:
        """A deployment of the pack's configuration that means this edge; only from inside("client")."""
        return {
            "name": "lab",
            "edge": {
                "balancers": [
                    {"name": name, "address": address, "command": " ".join(self.prefix(name))}
                    for name, address in BALANCERS.items()
                ],
                "vip": VIP,
                "host_name": NAME,
                "tls": {"ca_file": str(self.authority.ca_file)},
                "groups": {name: list(nodes.values()) for name, nodes in GROUPS.items()},
                "nginx": {"upstreams_file": UPSTREAMS, **nginx},
                "vrrp": {"enabled": self._with_keepalived},
                "timeout_s": 5,
            },
        }

    def _up(self) -> None:
        self.authority = Authority(self.directory / "certs")
        self._box(HUB, CLIENT, PLACES[:1])
        self._box("nodes", "10.78.0.20", PLACES[:1])
        for group, nodes in GROUPS.items():
            for name, address in nodes.items():
                self.run("nodes", ["ip", "address", "add", f"{address}/24", "dev", "eth0"])
                program = [sys.executable, str(ROOT / "lab" / "edge_node.py"), address, group, name]
                self.nodes[name] = self._server(name, self.command("nodes", program), PYTHONPATH=str(ROOT))
                self.nodes[name].start()
        for name, address in BALANCERS.items():
            self._box(name, address, PLACES)
            self._write_files(name)
            nginx = self.command(name, ["nginx", "-g", "daemon off;"])
            self.nginx[name] = self._server(f"{name}-nginx", nginx)
            if self._with_keepalived:
                self.run(name, ["mkdir", "-p", "/run/keepalived"])
                command = self.command(name, KEEPALIVED)
                self.keepalived[name] = self._server(f"{name}-keepalived", command, TMPDIR="/run/keepalived")
        for name in BALANCERS:
            self.start_nginx(name)
        for name in self.keepalived:
            self.start_keepalived(name)
        if not self._with_keepalived:
            self.run("lb1", ["ip", "address", "add", f"{VIP}/24", "dev", "eth0"])
        self._await()

    def _await(self) -> None:
        for name in self.nodes:
            address = {**GROUPS["blue"], **GROUPS["green"]}[name]
            wait_for(functools.partial(self._open, "nodes", address, PORTS["st2stream"]), 15, f"{name} to listen")
        self.wait_holder("lb1")

    def _server(self, name: str, command: Sequence[str], **env: str) -> Server:
        directory = self.directory / name
        directory.mkdir()
        return Server(name, command, directory, owner=self.directory, env=env)

    def _write_files(self, name: str) -> None:
        """All that the lab starts with, and nothing else."""
        etc = self.file(name, "/etc/nginx")
        for each in ("conf.d", "sites-enabled", "ssl"):
            shutil.rmtree(etc / each, ignore_errors=True)
            (etc / each).mkdir()
        pem = self.directory / "certs" / "st2.pem"
        if not pem.exists():
            self.authority.server("st2", [NAME, VIP, *BALANCERS.values()])
        shutil.copy(pem, etc / "ssl" / "st2.pem")
        (etc / "nginx.conf").write_text(edge_files.NGINX_CONF)
        (etc / "sites-enabled" / "st2.conf").write_text(edge_files.SITE)
        self.file(name, UPSTREAMS).write_text(edge_files.upstreams(list(GROUPS["blue"].values())))
        script = self.file(name, "/etc/keepalived/check_nginx")
        script.write_text(edge_files.CHECK_SCRIPT)
        script.chmod(0o755)
        if self._with_keepalived:
            self.configure_keepalived(name, self.keepalived_conf(name))

    def _fresh_nginx(self, name: str) -> None:
        """Started anew, in a moment: a reload would leave old workers behind."""
        self.nginx[name].kill()
        self.start_nginx(name)

    def _orphan(self, name: str) -> bool:
        try:
            pid = self.file(name, "/run/keepalived_vrrp.pid").read_text().strip()
            return Path(f"/proc/{pid}/comm").read_text().strip() == "keepalived"
        except OSError:
            return False

    def _listens(self, name: str, server: Server) -> bool:
        """It listens before it writes its number."""
        server.check_alive()
        file = self.file(name, PID_FILE)
        return file.exists() and bool(file.read_text().strip()) and self._open(name, "127.0.0.1", 80)

    def _open(self, where: str, address: str, port: int) -> bool:
        try:
            self.run(where, ["bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}"])
        except LabError:
            return False
        return True
