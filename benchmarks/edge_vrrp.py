"""The figures of VRRP in the area `edge`: real keepalived and nginx in namespaces, one lab for each advert interval."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Callable

from benchmarks.figures import Figure, worst
from lab.boxes import HUB
from lab.edge import VIP, EdgeLab
from lab.edge_files import CHECK_SCRIPT
from lab.edge_switch import SwitchLab
from lab.errors import LabError
from lab.wait import wait_for
from st2ha.config import Deployment, select
from st2ha.edge.vrrp import operations
from st2ha.edge.vrrp.assess_conf import takeover
from st2ha.edge.vrrp.facts import Snapshot
from st2ha.edge.vrrp.gather import gather
from st2ha.edge.vrrp.predict import Span

ADVERTS_S, ROUNDS, SPLITS = (1.0, 0.1), 5, 3
POLL_S, TRY_S, GIVE_UP_S = 0.01, 0.05, 30.0
SCRIPT, RAN = "/etc/keepalived/check_nginx", "/run/script-ran"
TOLERANCE = 0.2
MOVES, REQUEST_S = 10, 0.005
Phase = Callable[[EdgeLab, Snapshot, float], None]
"""Waits until the fault is to come, so that faults are spread over an interval."""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """Everything, in about two minutes."""
    for advert_s in ADVERTS_S:
        with SwitchLab(advert_s=advert_s) as edge, edge.inside(HUB):
            where = select({"deployments": [edge.deployment()]}, "lab")
            if advert_s == ADVERTS_S[0]:
                say(f"a split brain at advert_int {advert_s:g} s")
                yield _split_brain(edge, where)
            say(f"takeovers after a pulled cable at advert_int {advert_s:g} s")
            yield _takeover(edge, where, f"advert_int_{advert_s:g}", "cable pulled", _after_transition)
            if advert_s == ADVERTS_S[-1]:
                say("takeovers after nginx was killed")
                yield _takeover(edge, where, "script", "nginx killed", _after_script)
                say("vrrp_switchover there and back, under requests")
                yield _switchover(edge, where)


def _split_brain(edge: EdgeLab, where: Deployment) -> Figure:
    """From the moment at which both have the address to the end of the first check that says so; checks run on end."""
    took = []
    for _ in range(SPLITS):
        began: list[float] = []

        def watch(began: list[float] = began) -> None:
            wait_for(lambda: len(edge.holders()) == 2, GIVE_UP_S, "two holders", interval_s=POLL_S)
            began.append(time.monotonic())

        watching = threading.Thread(target=watch)
        edge.block_adverts("lb2")
        watching.start()
        end = time.monotonic() + GIVE_UP_S
        while not any(each.code == "SplitBrain" for each in operations.check(where).findings):
            if time.monotonic() > end:
                raise LabError("no check found the split brain")
        found = time.monotonic()
        watching.join()
        took.append(max(0.0, found - began[0]))
        edge.restore()
    limit = 2 * edge.advert_s + 1
    beside = f"median {statistics.median(took):.2f} s; checks run one after the other"
    how = f"from both holding it; worst of {SPLITS}, advert_int {edge.advert_s:g} s"
    return Figure("vrrp_split_brain_found", worst(took), limit, "s", beside, how)


def _takeover(edge: EdgeLab, where: Deployment, name: str, fault: str, at_phase: Phase) -> Figure:
    """The mean of measured takeovers against the prediction, which is made before each; phases are spread evenly."""
    measured, spans = [], []
    for number in range(ROUNDS):
        _record_script(edge)
        snapshot = gather(operations.site_of(where))
        predicted = takeover(snapshot, VIP)
        if predicted is None:
            raise LabError("no takeover was predicted")
        spans.append(predicted.scripts["check_nginx"] if name == "script" else predicted.crash)
        at_phase(edge, snapshot, (number + 0.5) / ROUNDS)
        if name == "script":
            edge.nginx["lb1"].kill()
        else:
            edge.cut_link("lb1")
        measured.append(_until_served(time.monotonic()))
        edge.restore()
    span, mean_s = spans[0], statistics.mean(measured)
    beside = (
        f"measured {min(measured):.2f} to {max(measured):.2f} s, mean {mean_s:.2f} s; "
        f"predicted {span.typical_s:.2f} s, longest {span.longest_s:.2f} s"
    )
    how = f"{fault}; distance of the mean of {ROUNDS}, by a client that asks every {POLL_S * 1000:.0f} ms"
    return Figure(f"vrrp_takeover_predicted_{name}", _distance(span, mean_s), TOLERANCE, "of it", beside, how)


def _switchover(edge: EdgeLab, where: Deployment) -> Figure:
    """Share of requests, each on a new connection, that fail while the VIP goes back and forth."""
    over, asked, failed = threading.Event(), [0], [0]

    def client() -> None:
        with edge.inside(HUB):
            while not over.is_set():
                asked[0] += 1
                failed[0] += not _answered()
                time.sleep(REQUEST_S)

    asking = threading.Thread(target=client)
    asking.start()
    took = []
    try:
        for number in range(MOVES):
            began = time.monotonic()
            done = operations.switchover(where, ("lb2", "lb1")[number % 2])
            if done.get("outcome") != "done":
                raise LabError(f"a switchover was not done: {done.get('error')}")
            took.append(time.monotonic() - began)
    finally:
        over.set()
        asking.join()
    beside = f"{failed[0]} of {asked[0]} requests; a switchover took {statistics.median(took):.1f} s (median)"
    how = f"{MOVES} moves at advert_int {edge.advert_s:g} s, a request every {REQUEST_S * 1000:.0f} ms"
    return Figure("vrrp_switchover_failed", 100 * failed[0] / asked[0], 0.5, "%", beside, how)


def _answered() -> bool:
    try:
        with socket.create_connection((VIP, 80), timeout=1) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return link.recv(12)[9:12] == b"200"
    except OSError:
        return False


def _distance(span: Span, mean_s: float) -> float:
    return abs(mean_s / span.typical_s - 1)


def _record_script(edge: EdgeLab) -> None:
    """The check script leaves the time of its successes behind, so that faults come at every phase of its interval."""
    edge.file("lb1", SCRIPT).write_text(f"{CHECK_SCRIPT.rstrip()} || exit 1\ntouch {RAN}\n")


def _after_transition(edge: EdgeLab, snapshot: Snapshot, phase: float) -> None:
    """At a phase of the advert interval: adverts follow the holder's last transition."""
    holder = snapshot.holders(VIP)[0].now(VIP)
    if holder is None:
        raise LabError("keepalived told no state")
    passed = (time.time() - holder.since) / edge.advert_s
    time.sleep((1 - passed % 1 + phase) * edge.advert_s)


def _after_script(edge: EdgeLab, snapshot: Snapshot, phase: float) -> None:
    """At a phase of the script's interval, which is 1 s."""
    file = edge.file("lb1", RAN)
    began = time.time()
    wait_for(lambda: file.exists() and file.stat().st_mtime > began, GIVE_UP_S, "a run of the script", interval_s=0.01)
    time.sleep(phase)


def _until_served(since: float) -> float:
    """Seconds from the fault until a new connection to the VIP succeeds."""
    while time.monotonic() < since + GIVE_UP_S:
        tried = time.monotonic()
        with contextlib.suppress(OSError), socket.create_connection((VIP, 80), timeout=TRY_S):
            return time.monotonic() - since
        time.sleep(max(0.0, POLL_S - (time.monotonic() - tried)))
    raise LabError(f"nobody took the VIP over within {GIVE_UP_S:g} s")
