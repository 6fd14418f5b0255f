"""haproxy_switch on two real balancers: no reload, no error for anybody, and the way back."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from lab.boxes import HUB
from lab.cluster import ROOT
from lab.edge import BALANCERS, GROUPS, VIP, EdgeLab
from lab.edge_node import PORTS
from lab.process import Server
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.edge import operations as edge_operations
from st2ha.edge.haproxy import operations
from st2ha.errors import BadInput

PORT, SOCKET, STATE = 8080, "/run/haproxy.sock", "/run/st2ha-haproxy-former"
PUBLIC = {"st2api": "/api/", "st2auth": "/auth/", "st2stream": "/stream/"}


def configuration() -> str:
    """As a site has it: a backend for each service, its servers on blue."""
    paths = [f"    use_backend {name} if {{ path_beg {path} }}" for name, path in PUBLIC.items()]
    lines = ["global", f"    stats socket {SOCKET} mode 600 level admin", "defaults", "    mode http"]
    lines += [f"    timeout {each} 10s" for each in ("connect", "client", "server")]
    lines += ["frontend clients", f"    bind *:{PORT}", *paths, "    default_backend st2web"]
    for name, port in PORTS.items():
        lines += [f"backend {name}"]
        if name in PUBLIC:
            lines += [f"    http-request replace-path {PUBLIC[name]}(.*) /\\1"]
        lines += [f"    server s{number} {node}:{port}" for number, node in enumerate(GROUPS["blue"].values(), 1)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def balanced(edge: EdgeLab) -> Iterator[EdgeLab]:
    """The edge with a haproxy beside each nginx."""
    if not shutil.which("haproxy") or not shutil.which("socat"):
        pytest.skip("no haproxy or no socat")
    servers = []
    for name in BALANCERS:
        directory = edge.directory / f"{name}-haproxy"
        directory.mkdir()
        (directory / "haproxy.cfg").write_text(configuration())
        command = edge.command(name, ["haproxy", "-db", "-f", str(directory / "haproxy.cfg")])
        servers.append(Server(f"{name}-haproxy", command, directory, owner=edge.directory))
        servers[-1].start()
    for address in BALANCERS.values():
        wait_for(lambda address=address: served_by(address) == {"blue"}, 15, "haproxy", retry_on=(OSError,))
    yield edge
    for server in servers:
        server.kill()
        shutil.rmtree(server.directory)
    for name in BALANCERS:
        edge.file(name, STATE).unlink(missing_ok=True)


def deployment(edge: EdgeLab, change: Callable[[dict[str, Any]], object] | None = None) -> Deployment:
    config = edge.deployment()
    del config["edge"]["nginx"]
    config["edge"].update(haproxy={"socket": SOCKET, "state_file": STATE}, port=PORT, tls={"enabled": False})
    if change is not None:
        change(config["edge"])
    return select({"deployments": [config]}, "lab")


def served_by(address: str) -> set[str]:
    found = set()
    for path in ("/", "/api/v1/actions", "/auth/v1/tokens", "/stream/v1/stream"):
        connection = http.client.HTTPConnection(address, PORT, timeout=10)
        connection.request("GET", path)
        found.add(connection.getresponse().getheader("X-Lab-Node", "nobody").split()[-1])
        connection.close()
    return found


def everywhere() -> set[str]:
    return {group for address in (VIP, *BALANCERS.values()) for group in served_by(address)}


def test_switch_and_undo_without_an_error(balanced: EdgeLab) -> None:
    where = deployment(balanced)
    clients = [sys.executable, str(ROOT / "lab" / "edge_load.py"), "new", VIP, "100", str(PORT)]
    load = subprocess.Popen(balanced.command(HUB, clients), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    plan = operations.switch(where, "green", dry_run=True)
    assert [step["target"] for step in plan["plan"]["steps"]] == ["lb2", "lb2", "lb1", "lb1", "vip"]
    assert everywhere() == {"blue"}
    result = edge_operations.switch(where, "green")
    assert result["outcome"] == "done", result
    assert everywhere() == {"green"}
    assert operations.switch(where, "green")["plan"]["steps"] == []
    result = edge_operations.undo(where)
    assert result["outcome"] == "done", result
    assert everywhere() == {"blue"}
    assert operations.undo(where)["plan"]["steps"] == []
    told = json.loads(load.communicate(timeout=30)[0])
    assert told["failures"] == {}
    assert set(told["answered"]) == {"blue", "green"}


def test_a_smaller_group_puts_slots_into_maintenance(balanced: EdgeLab) -> None:
    def smaller(section: dict[str, Any]) -> None:
        section["groups"]["green"] = [GROUPS["green"]["green1"]]

    where = deployment(balanced, smaller)
    assert operations.switch(where, "green")["outcome"] == "done"
    assert everywhere() == {"green"}
    assert operations.undo(where)["outcome"] == "done"
    assert everywhere() == {"blue"}


def test_refusals(balanced: EdgeLab) -> None:
    def larger(section: dict[str, Any]) -> None:
        section["groups"]["all"] = [*GROUPS["blue"].values(), *GROUPS["green"].values()]

    result = operations.switch(deployment(balanced, larger), "all", force=True)
    assert "backend st2web has 2 servers and all 4 nodes" in result["error"]
    assert "nothing was switched there" in operations.undo(deployment(balanced))["error"]
    balanced.nodes["green1"].kill()
    result = operations.switch(deployment(balanced), "green")
    assert (result["kind"], "is not fit" in result["error"]) == ("refused", True)

    def away(section: dict[str, Any]) -> None:
        section["haproxy"]["socket"] = "/run/nowhere.sock"

    assert operations.switch(deployment(balanced, away), "blue")["kind"] == "refused"
    with pytest.raises(BadInput, match="use one of blue, green"):
        operations.switch(deployment(balanced), "purple")
    assert everywhere() == {"blue"}
