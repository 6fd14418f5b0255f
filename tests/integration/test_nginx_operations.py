"""nginx_check, nginx_switch and nginx_switch_undo on two real balancers with a VIP, and what breaks there."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.edge import BALANCERS, GROUPS, UPSTREAMS, VIP, EdgeLab
from lab.edge_node import PORTS
from lab.errors import LabError
from lab.process import Server
from lab.wait import wait_for
from st2ha.check import check
from st2ha.config import Deployment, select
from st2ha.edge import operations as edge_operations
from st2ha.edge.nginx import decide, operations
from st2ha.edge.nginx.act import Acting
from st2ha.edge.nginx.gather import gather
from st2ha.edge.vrrp import operations as vrrp_operations
from st2ha.errors import BadInput
from st2ha.plan import Plan, Refused, execute
from tests.edge_real import st2ha

PATHS = "/", "/api/v1/actions", "/auth/v1/tokens", "/stream/v1/stream"
OWN = "/etc/nginx/conf.d/st2ha.conf"


def deployment(edge: EdgeLab, change: Callable[[dict[str, Any]], object] | None = None, **nginx: Any) -> Deployment:
    """The lab's, with the part `edge` changed."""
    config = edge.deployment(**nginx)
    if change is not None:
        change(config["edge"])
    return select({"deployments": [config]}, "lab")


def codes(where: Deployment) -> dict[str, str]:
    """Code and subject of each finding, to its message."""
    return {finding.key: finding.message for finding in operations.check(where).findings}


def served_by(address: str = VIP) -> set[str]:
    """The groups that answer clients there, on connections of their own."""
    found = set()
    for path in PATHS:
        connection = http.client.HTTPConnection(address, 80, timeout=10)
        connection.request("GET", path)
        found.add(connection.getresponse().getheader("X-Lab-Node", "nobody").split()[-1])
        connection.close()
    return found


def everywhere() -> set[str]:
    return {group for address in (VIP, *BALANCERS.values()) for group in served_by(address)}


def files(edge: EdgeLab, path: str = UPSTREAMS) -> list[bytes]:
    return [edge.file(name, path).read_bytes() for name in BALANCERS]


def test_healthy(whole_edge: EdgeLab) -> None:
    """Also as a layer: what nginx and VRRP tell stands side by side, and neither is lost."""
    where = deployment(whole_edge)
    report = operations.check(where)
    assert report.findings == ()
    assert report.facts["holders"] == ["lb1"]
    assert [row["valid"] for row in report.facts["balancers"]] == [True, True]
    both = edge_operations.check(where)
    assert set(both.facts) == {*report.facts, *vrrp_operations.check(where).facts}
    assert [row["valid"] for row in both.facts["balancers"]] == [True, True]
    assert [(row["balancer"], row["holds"]) for row in both.facts["vrrp"]] == [("lb1", True), ("lb2", False)]
    assert {f"edge_{name}" for name in both.facts} < set(check(where).facts)


def test_switch_and_undo(edge: EdgeLab) -> None:
    where, before = deployment(edge), files(edge)
    result = operations.switch(where, "green")
    assert result["outcome"] == "done", result
    assert [step["target"] for step in result["steps_done"]] == ["lb2"] * 2 + ["lb1"] * 2 + ["vip"]
    proofs = [step["verb"] for step in result["steps_done"] if step["verb"] != "write"]
    assert proofs == ["prove", "prove_upstreams", "prove"], "the holder's clients come by the VIP: proved there"
    assert everywhere() == {"green"}
    assert codes(where) == {}
    assert operations.switch(where, "green")["plan"]["steps"] == []
    result = operations.undo(where)
    assert result["outcome"] == "done", result
    assert files(edge) == before
    assert everywhere() == {"blue"}
    assert operations.undo(where)["plan"]["steps"] == []


def test_a_plan_shows_the_diff_and_changes_nothing(whole_edge: EdgeLab) -> None:
    before = files(whole_edge)
    result = operations.switch(deployment(whole_edge), "green", dry_run=True)
    assert f"-    server   {GROUPS['blue']['blue1']}:9101   max_fails=1;" in result["diff"]
    assert f"+    server {GROUPS['green']['green1']}:9101;" in result["diff"]
    assert files(whole_edge) == before
    assert everywhere() == {"blue"}


@pytest.mark.parametrize("steps", [1, 3])
def test_killed_at_any_step_it_can_be_repeated(edge: EdgeLab, steps: int) -> None:
    """As if the process had ended right after so many steps."""
    where, before = deployment(edge), files(edge)
    settings, nginx = operations.settings_of(where)
    plan, targets = decide.switch(gather(settings, nginx, "green"), settings, nginx, "green")
    assert isinstance(plan, Plan)
    done = execute(Plan(plan.goal, plan.steps[:steps]), Acting(settings, nginx, targets, True).verbs(), 60)
    assert done.status == "done"
    repeated = operations.switch(where, "green")
    assert "error" not in repeated and repeated.get("outcome", "done") == "done", repeated  # none: nothing was left
    # Workers that were told to go a moment ago, and not yet proved gone, still take connections.
    wait_for(lambda: everywhere() == {"green"}, 20, "the old workers to take nothing any more")
    assert operations.undo(where)["outcome"] == "done"
    assert files(edge) == before


def test_killed_between_the_write_and_its_test(edge: EdgeLab) -> None:
    """The file is in place, what it replaced beside it: the repeated switch tests it and keeps the right one."""
    where, before = deployment(edge), files(edge)
    settings, nginx = operations.settings_of(where)
    _, targets = decide.switch(gather(settings, nginx, "green"), settings, nginx, "green")
    live = edge.file("lb2", UPSTREAMS)
    live.rename(live.with_name(f".{live.name}.st2ha-old"))
    live.write_bytes(targets["lb2"].files[UPSTREAMS])
    assert operations.switch(where, "green")["outcome"] == "done"
    assert operations.undo(where)["outcome"] == "done"
    assert files(edge) == before


def test_a_file_that_changes_between_diff_and_write(edge: EdgeLab) -> None:
    settings, nginx = operations.settings_of(deployment(edge))
    plan, targets = decide.switch(gather(settings, nginx, "green"), settings, nginx, "green")
    assert isinstance(plan, Plan)
    with edge.file("lb2", UPSTREAMS).open("a") as file:
        file.write("# a colleague was here\n")
    changed = files(edge)
    outcome = execute(plan, Acting(settings, nginx, targets, True).verbs(), 60)
    assert outcome.status == "failed"
    assert "has changed since it was read" in outcome.reason
    assert files(edge) == changed


def test_an_nginx_that_ends_between_diff_and_write(edge: EdgeLab) -> None:
    """Written and tested, and nobody is there to load it: that is told, and not taken for done."""
    settings, nginx = operations.settings_of(deployment(edge))
    plan, targets = decide.switch(gather(settings, nginx, "green"), settings, nginx, "green")
    assert isinstance(plan, Plan)
    edge.nginx["lb2"].kill()
    outcome = execute(plan, Acting(settings, nginx, targets, True).verbs(), 60)
    assert (outcome.status, outcome.done) == ("failed", ())
    assert "nginx was not told to load it" in outcome.reason


@pytest.fixture
def take(edge: EdgeLab) -> Iterator[Callable[[int], None]]:
    """Another program listens on a port of lb2, until the test is over."""
    started: list[Server] = []

    def on(port: int) -> None:
        directory = edge.directory / f"taker-{port}"
        directory.mkdir()
        listener = f"import socket, time; s = socket.create_server(('', {port})); time.sleep(600)"
        server = Server("taker", edge.command("lb2", [sys.executable, "-c", listener]), directory, owner=edge.directory)
        started.append(server)
        server.start()
        probe = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]
        wait_for(lambda: edge.run("lb2", probe) == "", 15, "the port to be taken", retry_on=(LabError,))

    yield on
    for server in started:
        server.kill()
        shutil.rmtree(server.directory)


def test_the_markers_port_is_taken(edge: EdgeLab, take: Callable[[int], None]) -> None:
    take(8099)
    result = operations.switch(deployment(edge, lambda section: section.update(timeout_s=2)), "green", force=True)
    assert result["kind"] == "refused"
    assert "port 8099 of lb2 is another program's" in result["error"]


def test_a_reload_that_fails_in_silence(edge: EdgeLab, take: Callable[[int], None]) -> None:
    """A colleague's `listen` whose port is taken: test and reload say yes, no marker comes, all is put back."""
    take(8100)
    before = files(edge)
    edge.file("lb2", "/etc/nginx/conf.d/colleague.conf").write_text("server { listen 8100; }\n")
    result = operations.switch(deployment(edge, reload_s=3), "green", force=True)
    assert result["kind"] == "failed"
    assert "bind() to 0.0.0.0:8100 failed" in result["error"]
    assert result["undo"]["outcome"] == "done"
    assert [step["target"] for step in result["steps_done"]] == ["lb2"]
    assert files(edge) == before
    assert everywhere() == {"blue"}


def test_what_nginx_refuses_is_put_back(edge: EdgeLab) -> None:
    def nowhere(section: dict[str, Any]) -> None:
        section["groups"]["nowhere"] = ["nowhere.invalid"]

    where, before = deployment(edge, nowhere), files(edge)
    result = operations.switch(where, "nowhere")
    assert result["kind"] == "refused"
    assert "force=true" in result["error"]
    result = operations.switch(where, "nowhere", force=True)
    assert result["kind"] == "failed"
    assert "nginx refuses it" in result["error"]
    assert "host not found in upstream" in result["error"]
    assert files(edge) == before
    assert everywhere() == {"blue"}


def test_broken_configuration(edge: EdgeLab) -> None:
    where = deployment(edge)
    with edge.file("lb1", "/etc/nginx/nginx.conf").open("a") as file:
        file.write("blunder;\n")
    found = codes(where)
    assert 'unknown directive "blunder"' in found["ConfigInvalid edge/lb1"]
    result = operations.switch(where, "green", force=True)
    assert result["kind"] == "refused"
    assert "mend them first" in result["error"]
    assert everywhere() == {"blue"}


def test_changes_that_were_never_loaded(edge: EdgeLab) -> None:
    where = deployment(edge)
    path = edge.file("lb1", "/etc/nginx/sites-enabled/st2.conf")
    path.write_text(path.read_text() + "# not loaded\n")
    os.utime(path, (time.time() + 60, time.time() + 60))
    found = codes(where)
    assert "sites-enabled/st2.conf" in found["ConfigNotRunning edge/lb1"]
    assert "sites-enabled/st2.conf" in found["BalancersDiffer edge"]
    assert "do not run" in operations.switch(where, "green")["error"]


def test_balancers_that_pass_to_different_groups(edge: EdgeLab) -> None:
    """What a switch of one balancer leaves behind."""
    where = deployment(edge)
    assert operations.switch(where, "blue")["outcome"] == "done"
    only_lb2 = deployment(edge, lambda section: section.update(balancers=section["balancers"][1:], vip=""))
    assert operations.switch(only_lb2, "green")["outcome"] == "done"
    assert "lb1 to blue, lb2 to green" in codes(where)["GroupsDiffer edge"]
    assert operations.switch(where, "green")["outcome"] == "done"
    assert "GroupsDiffer edge" not in codes(where)


def test_a_reload_that_never_was(edge: EdgeLab) -> None:
    where = deployment(edge)
    assert operations.switch(where, "blue")["outcome"] == "done"
    path = edge.file("lb2", UPSTREAMS)
    settings, nginx = operations.settings_of(where)
    _, targets = decide.switch(gather(settings, nginx, "green"), settings, nginx, "green")
    path.write_bytes(targets["lb2"].files[UPSTREAMS])
    assert "(blue) runs, not the one on disk" in codes(where)["ConfigNotRunning edge/lb2"]
    result = operations.switch(where, "green")
    assert result["outcome"] == "done", result
    verbs = [step["verb"] for step in result["steps_done"]]
    assert verbs == ["reload", "prove", "write", "prove_upstreams", "prove"]
    assert everywhere() == {"green"}


def test_nodes_that_are_down(edge: EdgeLab) -> None:
    """A dead st2stream is a 200 in StackStorm's file; only its content tells."""
    where = deployment(edge)
    assert operations.switch(where, "blue")["outcome"] == "done"
    edge.nodes["blue1"].kill()
    found = codes(where)
    assert GROUPS["blue"]["blue1"] in found["UpstreamMemberDown edge/st2api"]
    assert not any(key.startswith("PathBroken") for key in found)
    edge.nodes["blue2"].kill()
    found = codes(where)
    assert "UpstreamDown edge/st2stream" in found
    assert "nothing but `retry`" in found["PathBroken edge/vip/st2stream"]
    assert operations.switch(where, "green")["outcome"] == "done"
    assert everywhere() == {"green"}
    result = operations.switch(where, "blue")
    assert result["kind"] == "refused"
    assert "is not fit" in result["error"]


def test_nginx_is_dead(edge: EdgeLab) -> None:
    where = deployment(edge, lambda section: section.update(timeout_s=2))
    edge.nginx["lb2"].kill()
    assert set(codes(where)) == {"BalancerDown edge/lb2"}
    edge.nginx["lb1"].kill()
    wait_for(lambda: not edge.holders(), 20, "the VIP to be nowhere")
    found = codes(where)
    assert {"VipNotServing edge/vip", "BalancerDown edge/lb1", "BalancerDown edge/lb2"} <= set(found)
    assert "does not run" in operations.switch(where, "green", force=True)["error"]


def test_certificates(edge: EdgeLab) -> None:
    where = deployment(edge, lambda section: section.update(limits={"tls_days": 40}))
    found = codes(where)
    assert {"TlsExpiring edge/lb1", "TlsExpiring edge/lb2", "TlsExpiring edge/vip"} == set(found)
    expired = edge.authority.expired("expired", ["st2.lab.test"])
    edge.file("lb2", "/etc/nginx/ssl/st2.pem").write_bytes(expired.read_bytes())
    edge.run("lb2", ["nginx", "-s", "reload"])
    untrusted = "CertificateUntrusted edge/lb2"
    wait_for(lambda: "certificate has expired" in codes(where).get(untrusted, ""), 20, "the expiry")


def test_old_workers_that_linger(edge: EdgeLab) -> None:
    where = deployment(edge, lambda section: section.update(limits={"linger_s": 0.5}))
    stream = http.client.HTTPConnection(BALANCERS["lb1"], 80, timeout=20)
    stream.request("GET", "/stream/v1/stream?token=lab")
    response = stream.getresponse()
    assert operations.switch(where, "green")["outcome"] == "done"
    wait_for(lambda: "OldWorkersLinger edge/lb1" in codes(where), 20, "the old worker to be told")
    assert b"blue" in response.read(64)
    stream.close()
    wait_for(lambda: "OldWorkersLinger edge/lb1" not in codes(where), 20, "the old worker to end")


@pytest.mark.parametrize("command", ["false", "setpriv --reuid=65534 --regid=65534 --clear-groups --"])
def test_a_balancer_that_we_may_not_read_or_write(whole_edge: EdgeLab, command: str) -> None:
    """No way in, and a way in without the right of root."""

    def without(section: dict[str, Any]) -> None:
        own = section["balancers"][1]
        own["command"] = command if command == "false" else f"{own['command']} {command}"

    where, before = deployment(whole_edge, without), files(whole_edge)
    found = codes(where)
    assert "BalancerUnread edge/lb2" in found or "ConfigInvalid edge/lb2" in found
    result = operations.switch(where, "green")
    assert result["kind"] == "refused"
    assert "lb2" in result["error"]
    assert files(whole_edge) == before


def test_one_balancer_is_away_and_force_moves_the_other(edge: EdgeLab) -> None:
    def away(section: dict[str, Any]) -> None:
        section["balancers"][1]["command"] = "false"

    result = operations.switch(deployment(edge, away), "green", force=True)
    assert result["outcome"] == "done"
    assert served_by() == {"green"}
    assert served_by(BALANCERS["lb2"]) == {"blue"}


def test_the_sites_own_file_is_edited_by_line(edge: EdgeLab) -> None:
    for name in BALANCERS:
        edge.file(name, OWN).touch()
        edge.run(name, ["nginx", "-s", "reload"])
    where = deployment(edge, upstreams_file=OWN, site_file=UPSTREAMS)
    before = files(edge)
    result = operations.switch(where, "green")
    assert result["outcome"] == "done", result
    expected = before[0].replace(b"10.78.0.21", b"10.78.0.31").replace(b"10.78.0.22", b"10.78.0.32")
    assert files(edge) == [expected, expected]
    assert everywhere() == {"green"}
    assert codes(where) == {}
    assert operations.undo(where)["outcome"] == "done"
    assert files(edge) == before
    assert files(edge, OWN) == [b"", b""]
    assert everywhere() == {"blue"}


def test_a_sites_file_that_passes_to_a_node_itself(edge: EdgeLab) -> None:
    """As StackStorm's own: no upstream blocks. Exactly these lines name an upstream of ours, and come back."""
    site = "/etc/nginx/sites-enabled/st2.conf"
    for name in BALANCERS:
        path = edge.file(name, site)
        text = path.read_text()
        for upstream, port in PORTS.items():
            text = text.replace(f"http://{upstream}", f"http://{GROUPS['blue']['blue1']}:{port}")
        path.write_text(text)
        edge.file(name, UPSTREAMS).write_text("")
        edge.file(name, OWN).touch()
        edge.run(name, ["nginx", "-s", "reload"])
    where, before = deployment(edge, upstreams_file=OWN, site_file=site), files(edge, site)
    assert "site_file" in next(each.remedy for each in operations.check(where).findings if "Unused" in each.code)
    shown = operations.switch(where, "green", dry_run=True)["diff"].splitlines()
    changed = [line for line in shown if line[:1] in "+-" and "proxy_pass" in line and "location" not in line]
    assert (
        "-        proxy_pass http://10.78.0.21:9101/;" in changed and "+        proxy_pass http://st2api/;" in changed
    )
    result = operations.switch(where, "green")
    assert result["outcome"] == "done", result
    after = files(edge, site)
    assert [new for new, old in zip(after[0].splitlines(), before[0].splitlines()) if new != old] == [
        b"        proxy_pass http://st2api/;", b"        proxy_pass http://st2auth/;",
        b"        proxy_pass http://st2stream/;", b"        proxy_pass http://st2web;",
    ]  # fmt: skip
    assert everywhere() == {"green"} and codes(where) == {}
    assert operations.undo(where)["outcome"] == "done"
    assert (files(edge, site), files(edge, OWN), everywhere()) == (before, [b"", b""], {"blue"})


def test_a_file_that_nginx_does_not_read(whole_edge: EdgeLab) -> None:
    where = deployment(whole_edge, upstreams_file="/etc/nginx/elsewhere.conf")
    assert "UpstreamsNotIncluded edge/lb1" in codes(where)
    assert "include it" in operations.switch(where, "green", force=True)["error"]


def test_upstreams_that_nothing_passes_to(whole_edge: EdgeLab) -> None:
    where = deployment(whole_edge, lambda section: section.update(upstreams={"st2api": 9101, "st2api_new": 9101}))
    assert "st2api_new" in codes(where)["UpstreamUnused edge/lb1"]


@pytest.mark.parametrize("group", ["", "  ", None, "purple"])
def test_a_group_that_is_empty_or_unknown(whole_edge: EdgeLab, group: Any) -> None:
    with pytest.raises(BadInput, match=r"parameter `group` is .*blue, green"):
        operations.switch(deployment(whole_edge), group)


def test_undo_without_a_switch(whole_edge: EdgeLab) -> None:
    settings, nginx = operations.settings_of(deployment(whole_edge))
    decision, _ = decide.undo(gather(settings, nginx), settings, nginx)
    assert isinstance(decision, Refused)
    assert "nothing was switched there" in decision.sentence()


def test_from_the_shell(edge: EdgeLab, tmp_path: Path) -> None:
    """The actions as bin/st2ha runs them."""
    for words in (["nginx_check"], ["nginx_switch", "green", "lab"], ["nginx_switch_undo", "lab"]):
        done = st2ha(edge, tmp_path, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["summary"].startswith("OK")
    done = st2ha(edge, tmp_path, "nginx_switch", "purple", "lab")
    assert (done.returncode, json.loads(done.stdout)["kind"]) == (64, "bad_input")
