"""Record tests/facts/{nginx,vrrp,haproxy} anew: each situation is made on the real programs of the lab's namespaces.

`python -m tests.record_edge [CASE ...]` writes <layer>/<case>/facts.json; the expect.yaml beside it is written by hand.
What the scripts printed on each balancer is kept as it was, and every answer of HTTP and ARP. lb1 held the VIP before
the fault; both balancers passed to blue.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable
from unittest import mock

from lab.edge import BALANCERS, GROUPS, UPSTREAMS, EdgeLab
from lab.edge_haproxy import Haproxies
from lab.edge_switch import SwitchLab
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.edge.content import Reply
from st2ha.edge.haproxy import gather as haproxy
from st2ha.edge.haproxy import operations as haproxy_operations
from st2ha.edge.nginx import gather as nginx
from st2ha.edge.nginx import operations as nginx_operations
from st2ha.edge.vrrp import gather as vrrp
from st2ha.edge.vrrp import operations as vrrp_operations
from st2ha.edge.web import Question
from st2ha.probe import Silent
from st2ha.report import Report

FACTS = Path(__file__).parent / "facts"
TIMEOUT_S = 3.0
BOUNDARY = "part-recorded"
OPERATIONS = {"nginx": nginx_operations, "vrrp": vrrp_operations, "haproxy": haproxy_operations}
Situation = Callable[[EdgeLab], object]


def as_row(answer: Any) -> dict[str, Any]:
    """An answer as JSON."""
    if isinstance(answer, Silent):
        return {"silence": answer.kind.value, "reason": answer.reason, "after_s": answer.after_s}
    assert isinstance(answer, Reply)
    row = {**vars(answer), "body": base64.b64encode(answer.body).decode()}
    return {name: value for name, value in row.items() if value not in ("", None)}


class Recorder:
    """While `recording`, all that a check's gatherer hears is in `heard`."""

    def __init__(self) -> None:
        self.heard: dict[str, Any] = {}
        self._here = threading.local()

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        self.heard = {"balancers": {}, "answers": {}, "arp": {}, "at": time.time()}
        with contextlib.ExitStack() as stack:
            for module, name, capture in (
                (nginx, "parse_disk", self._disk),
                (haproxy, "parse_seen", self._seen),
                (vrrp, "parse_node", self._node),
            ):
                original = getattr(module, name)
                stack.enter_context(mock.patch.object(module, name, _capturing(original, capture)))
            for each in (nginx, haproxy, vrrp):
                stack.enter_context(mock.patch.object(each, "ask_all", self._ask_all(each.ask_all)))
            yield

    def _disk(self, output: bytes, boundary: str, owned: Any) -> None:
        self._here.said = output.decode("utf-8", "surrogateescape").replace(boundary, BOUNDARY)

    def _seen(self, found: Mapping[str, str], wanted: Any) -> None:
        self._here.said = dict(found)

    def _node(self, name: str, token: str, said: str) -> None:
        self._here.said = said.replace(token, BOUNDARY)

    def _ask_all(self, original: Any) -> Any:
        def recorded(targets: Any, answer: Any, timeout_s: float) -> Any:
            def heard(target: Any, attempt: Any) -> Any:
                self._here.said = None
                found = answer(target, attempt)
                if self._here.said is not None:
                    name = target[1] if isinstance(target, tuple) else target.name
                    self.heard["balancers"][name] = self._here.said
                return found

            answers = original(targets, heard, timeout_s)
            for target, found in answers.items():
                self._keep(target, found)
            return answers

        return recorded

    def _keep(self, target: Any, found: Any) -> None:
        if isinstance(target, Question):
            self.heard["answers"][" ".join(target.about)] = as_row(found)
            return
        kind, name = target if isinstance(target, tuple) else ("node", target.name)
        if kind == "arp":
            self.heard["arp"][name] = as_row(found) if isinstance(found, Silent) else {**vars(found)}
        elif name not in self.heard["balancers"]:
            why = as_row(found) if isinstance(found, Silent) else {"unread": found.why}
            self.heard["balancers"][name] = why


def _capturing(original: Any, capture: Any) -> Any:
    def captured(*arguments: Any) -> Any:
        capture(*arguments)
        return original(*arguments)

    return captured


def where(lab: EdgeLab, layer: str) -> Deployment:
    deployment = lab.deployment()
    deployment["edge"].update(timeout_s=TIMEOUT_S)
    if layer == "haproxy":
        deployment = Haproxies.deployment(lab)
    return select({"deployments": [deployment]}, "lab")


def kill_nginx(lab: EdgeLab, *names: str) -> None:
    for name in names:
        lab.nginx[name].kill()
    if len(names) == len(BALANCERS):
        wait_for(lambda: not lab.holders(), 20, "the VIP to be nowhere")
    else:
        lab.wait_holder(next(name for name in BALANCERS if name not in names))


def switched(lab: EdgeLab, group: str = "blue") -> None:
    """As after an nginx_switch: the pack's file and its marker are there."""
    assert nginx_operations.switch(where(lab, "nginx"), group)["outcome"] == "done"


def node_down(lab: EdgeLab, *names: str) -> None:
    switched(lab)
    for name in names:
        lab.nodes[name].kill()


def broken(lab: EdgeLab) -> None:
    with lab.file("lb1", "/etc/nginx/nginx.conf").open("a") as file:
        file.write("blunder;\n")


def not_loaded(lab: EdgeLab) -> None:
    """A switch to green by hand, of one balancer, whose reload was forgotten."""
    switched(lab, "green")
    text = lab.file("lb2", UPSTREAMS).read_text()
    switched(lab, "blue")
    lab.file("lb2", UPSTREAMS).write_text(text)


def blocked(lab: EdgeLab) -> None:
    lab.block_adverts("lb2")
    wait_for(lambda: len(lab.holders()) == 2, 20, "two holders")


def stale(lab: EdgeLab) -> None:
    lab.kill_keepalived("lb1", "parent", "child")
    wait_for(lambda: len(lab.holders()) == 2, 20, "two holders")


def parent_killed(lab: EdgeLab) -> None:
    lab.kill_keepalived("lb1", "parent")
    lab.wait_holder("lb2")


def cut(lab: EdgeLab) -> None:
    lab.cut_link("lb1")
    lab.wait_holder("lb2")


def risky(lab: EdgeLab) -> None:
    """A file that keepalived takes, and that fails over badly or not at all."""
    assert isinstance(lab, SwitchLab)
    for name, more in (("lb1", ("nopreempt",)), ("lb2", ())):
        script = {"interval": 3, "timeout": 3, "fall": 3, "rise": 2, "weight": -10}
        text = lab.keepalived_conf(name, more=more, priority=100, script=script, advert_s=1.0)
        lab.configure_keepalived(name, text)
        lab.reload_keepalived(name)
    lab.wait_holder("lb1")


def drained(lab: EdgeLab) -> None:
    Haproxies.tell(lab, "lb1", "set server st2api/s1 state drain")
    Haproxies.tell(lab, "lb2", f"set server st2web/s1 addr {GROUPS['green']['green1']} port 80")


def haproxy_switched(lab: EdgeLab) -> None:
    assert haproxy_operations.switch(where(lab, "haproxy"), "green")["outcome"] == "done"


def haproxy_nodes(lab: EdgeLab) -> None:
    lab.nodes["blue1"].kill()


SITUATIONS: dict[str, dict[str, Situation]] = {
    "nginx": {
        "healthy": lambda lab: None,
        "switched": lambda lab: switched(lab, "green"),
        "one_nginx_dead": lambda lab: kill_nginx(lab, "lb2"),
        "both_nginx_dead": lambda lab: kill_nginx(lab, *BALANCERS),
        "broken_configuration": broken,
        "not_loaded": not_loaded,
        "node_down": lambda lab: node_down(lab, "blue1"),
        "upstream_down": lambda lab: node_down(lab, "blue1", "blue2"),
    },
    "vrrp": {
        "healthy": lambda lab: None,
        "split_brain": blocked,
        "stale_holder": stale,
        "parent_killed": parent_killed,
        "no_vip": lambda lab: kill_nginx(lab, *BALANCERS),
        "link_cut": cut,
        "risky": risky,
    },
    "haproxy": {
        "healthy": lambda lab: None,
        "switched": haproxy_switched,
        "drained": drained,
        "node_down": haproxy_nodes,
    },
}  # fmt: skip


def record(lab: EdgeLab, layer: str, case: str, deadline_s: float = 20) -> Report:
    """Make the situation, wait until two looks find the same, write the second down, make all whole again."""
    SITUATIONS[layer][case](lab)
    recorder, found = Recorder(), list[Report]()

    def settled() -> bool:
        with recorder.recording():
            found.append(OPERATIONS[layer].check(where(lab, layer)))
        return len(found) > 2 and {each.key for each in found[-1].findings} == {each.key for each in found[-2].findings}

    wait_for(settled, deadline_s, f"{layer} {case} to be found twice", interval_s=0.5)
    directory = FACTS / layer / case
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "facts.json").write_text(json.dumps(recorder.heard, indent=1, sort_keys=True) + "\n")
    return found[-1]


def main(cases: list[str]) -> None:
    began = time.monotonic()
    with SwitchLab() as lab, lab.inside("client"):
        for layer, situations in SITUATIONS.items():
            for case in situations:
                if cases and case not in cases and layer not in cases:
                    continue
                with Haproxies(lab) if layer == "haproxy" else contextlib.nullcontext():
                    report = record(lab, layer, case)
                lab.restore()
                codes = ", ".join(f"{each.severity.word} {each.key}" for each in report.findings)
                print(f"{time.monotonic() - began:.0f} s {layer} {case}: {codes or 'nothing'}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
