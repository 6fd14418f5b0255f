"""haproxy_check and haproxy_switch on two real balancers: no reload, no error for anybody, and the way back."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from lab.boxes import HUB
from lab.cluster import ROOT
from lab.edge import BALANCERS, GROUPS, VIP, EdgeLab
from lab.edge_haproxy import CONFIG, PORT, STORED, Haproxies, configuration
from lab.edge_node import PORTS
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.edge import operations as edge_operations
from st2ha.edge.haproxy import operations
from st2ha.errors import BadInput


@pytest.fixture
def haproxies(edge: EdgeLab) -> Iterator[Haproxies]:
    """The edge with a haproxy beside each nginx."""
    if why := Haproxies.limitation():
        pytest.skip(why)
    with Haproxies(edge) as servers:
        yield servers


@pytest.fixture
def balanced(edge: EdgeLab, haproxies: Haproxies) -> EdgeLab:
    return edge


def codes(where: Deployment) -> dict[str, str]:
    """Code and subject of each finding, to its message."""
    return {finding.key: finding.message for finding in operations.check(where).findings}


def wait_codes(where: Deployment, *wanted: str) -> dict[str, str]:
    """Checks until exactly these are found: haproxy's health checks take a moment."""
    found: list[dict[str, str]] = []

    def as_wanted() -> bool:
        found.append(codes(where))
        return set(found[-1]) == set(wanted)

    try:
        wait_for(as_wanted, 20, f"a check that finds {wanted or 'nothing'}")
    except TimeoutError:
        pytest.fail(f"found {found[-1]}")
    return found[-1]


def deployment(edge: EdgeLab, change: Callable[[dict[str, Any]], object] | None = None) -> Deployment:
    config = Haproxies.deployment(edge)
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


def test_a_healthy_edge_and_what_is_only_in_the_running_process(balanced: EdgeLab) -> None:
    where = deployment(balanced)
    report = operations.check(where)
    assert report.findings == ()
    assert report.healthy == "2 balancers pass to blue, all paths answer, the VIP is on lb1"
    assert report.facts["haproxy"][0]["servers"][0] == f"st2web/s1 {GROUPS['blue']['blue1']}:80"
    whole = edge_operations.check(where)
    assert {"haproxy", "vrrp", "holders"} <= set(whole.facts) and whole.findings == ()

    Haproxies.tell(balanced, "lb1", f"set server st2api/s1 addr {GROUPS['green']['green1']} port 9101")
    Haproxies.tell(balanced, "lb2", "set server st2web/s2 state drain")
    found = codes(where)
    assert set(found) == {
        "ConfigNotRunning edge/lb1", "ConfigNotRunning edge/lb2", "ServerDrained edge/lb2/st2web", "GroupsDiffer edge",
    }  # fmt: skip
    assert "st2api/s1 passes to 10.78.0.31:9101, 10.78.0.21:9101 in the file" in found["ConfigNotRunning edge/lb1"]
    assert "st2web/s2 is drained, not in the file" in found["ConfigNotRunning edge/lb2"]
    Haproxies.tell(balanced, "lb2", "set server st2web/s1 state maint")
    found = codes(where)
    assert (
        "s1 (10.78.0.21:80) in maintenance, s2 (10.78.0.22:80) drained"
        in (found["BackendWithoutServers edge/lb2/st2web"])
    )
    assert "PathBroken edge/lb2/st2web" in found


def test_nodes_that_are_down(balanced: EdgeLab) -> None:
    where = deployment(balanced)
    balanced.nodes["blue2"].kill()
    found = wait_codes(where, *(f"UpstreamMemberDown edge/{upstream}" for upstream in PORTS))
    assert "10.78.0.22" in found["UpstreamMemberDown edge/st2api"]
    wait_for(lambda: "health check" in codes(where)["UpstreamMemberDown edge/st2api"], 20, "haproxy's own word for it")
    balanced.nodes["blue1"].kill()
    broken = [f"PathBroken edge/{at}/{upstream}" for at in ("lb1", "lb2", "vip") for upstream in PORTS]
    wait_codes(where, *(f"UpstreamDown edge/{upstream}" for upstream in PORTS), *broken)


def test_what_haproxy_lacks(balanced: EdgeLab, haproxies: Haproxies) -> None:
    where = deployment(balanced)
    without = [name for name in PORTS if name != "st2auth"]
    haproxies.restart("lb2", configuration(check="", backends=without))
    expected = ("HealthCheckMissing edge/lb2", "BackendMissing edge/lb2/st2auth", "PathBroken edge/lb2/st2auth")
    found = wait_codes(where, *expected)
    assert "st2api, st2stream, st2web are not checked" in found["HealthCheckMissing edge/lb2"]
    balanced.file("lb1", CONFIG).write_text("defaults\n    mode htp\n")
    balanced.file("lb2", CONFIG).unlink()
    found = codes(where)
    assert "unknown proxy mode 'htp'" in found["ConfigInvalid edge/lb1"]
    assert "cannot be read" in found["ConfigUnclear edge/lb2"]
    haproxies.servers["lb2"].kill()
    found = codes(where)
    assert "Connection refused" in found["RuntimeSocketSilent edge/lb2"]
    assert "BalancerDown edge/lb2" in found
    lost = deployment(balanced, lambda section: section["balancers"][1].update(command="false"))
    assert "BalancerUnread edge/lb2" in codes(lost)


def test_what_a_reload_forgets(balanced: EdgeLab, haproxies: Haproxies) -> None:
    """Though haproxy keeps a file of states: it gives back no address. Then as the finding's remedy has it."""
    haproxies.restart("lb1", configuration(head="    load-server-state-from-file global"))
    where = deployment(balanced)
    assert operations.switch(where, "green")["outcome"] == "done"
    assert "st2web/s1 passes to 10.78.0.31:80, 10.78.0.21:80 in the file" in codes(where)["ConfigNotRunning edge/lb1"]
    balanced.file("lb1", STORED).write_text(Haproxies.tell(balanced, "lb1", "show servers state"))
    haproxies.restart("lb1")
    assert set(codes(where)) == {"GroupsDiffer edge", "ConfigNotRunning edge/lb2"}
    green = configuration()
    for blue, other in zip(GROUPS["blue"].values(), GROUPS["green"].values()):
        green = green.replace(f"{blue}:", f"{other}:")
    for name in BALANCERS:
        balanced.file(name, CONFIG).write_text(green)
    assert operations.switch(where, "green")["outcome"] == "done"
    assert codes(where) == {}


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
    assert [each["code"] for each in result["details"]] == ["ConfigNotRunning"] * 2  # a reload would go back to blue
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
