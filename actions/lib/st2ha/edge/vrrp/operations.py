"""The actions about the VIP: gather, assess, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

import time
from typing import Any, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.edge.settings import Edge
from st2ha.edge.vrrp import decide
from st2ha.edge.vrrp.assess import assess, healthy_words, needs_second_look
from st2ha.edge.vrrp.assess_conf import takeover
from st2ha.edge.vrrp.facts import Snapshot
from st2ha.edge.vrrp.gather import Probe, Site, gather
from st2ha.errors import BadInput
from st2ha.probe import Attempt, Silence, Unanswered
from st2ha.report import Report

SECOND_LOOK_S = 0.3
"""Long enough for the advert that ends a takeover's overlap at ordinary intervals, short beside a real split."""
SERVER_ERROR = 500
CHANGE_TIMEOUT_S = 10.0
"""A change is worth waiting for a busy balancer."""


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """Look at every balancer; twice where the VIP seems to be nowhere or at two places, for it may be on its way."""
    began = time.monotonic()
    site = site_of(deployment, timeout_s)
    snapshot = gather(site)
    findings = assess(snapshot, site.vrrp.limits)
    if needs_second_look(findings) and not snapshot.silent:  # a hung balancer costs its deadline once
        time.sleep(SECOND_LOOK_S)
        snapshot = gather(site)
        findings = assess(snapshot, site.vrrp.limits)
    return Report("VRRP", healthy_words(snapshot), findings, facts_of(snapshot), time.monotonic() - began)


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """What a check has read: a row a balancer and VIP, who answered ARP, how long a takeover will take."""
    predicted = {vip: takeover(snapshot, vip) for vip in snapshot.vips}
    return {
        "vips": list(snapshot.vips),
        "vrrp": snapshot.rows(),
        "arp": {vip: {"from": seen.where, "macs": list(seen.macs)} for vip, seen in snapshot.sightings.items()},
        "takeover": {vip: found.as_dict() for vip, found in predicted.items() if found is not None},
    }


def switchover(
    deployment: Deployment, balancer: str, dry_run: bool = False, deadline_s: float = 120.0
) -> dict[str, Any]:
    """Move the VIP to `balancer`; see decide.switchover for the gates and docs/decisions for the way."""
    from st2ha.edge.vrrp.act import Acting

    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    site = site_of(deployment, patience_s=CHANGE_TIMEOUT_S)
    target, switch = _balancer(site, balancer), site.vrrp.switch
    if not site.vips:
        raise BadInput("edge.vip is not set: it names the address that is to be moved")
    vip = site.vips[0]
    return change(
        lambda: gather(site, services=True),
        lambda snapshot: decide.switchover(snapshot, vip, target, switch),
        lambda snapshot: Acting(site).verbs(),
        lambda snapshot: assess(snapshot, site.vrrp.limits),
        dry_run,
        deadline_s,
        lambda before, after: decide.undo(before, after, vip, switch),
    )


def _balancer(site: Site, wanted: object) -> str:
    """An empty target is refused: st2web drops a value it does not understand and runs the action without it."""
    name = wanted.strip() if isinstance(wanted, str) else ""
    if name not in site.doors:
        shown = repr(wanted)[:60]
        raise BadInput(f"parameter `balancer` is {shown}: use one of {', '.join(site.doors)}")
    return name


def site_of(deployment: Deployment, timeout_s: Optional[float] = None, patience_s: float = 0.0) -> Site:
    """The deployment's edge as this part sees it. BadInput where there is no way to look."""
    edge: Edge = deployment.require("edge", timeout_s)
    if all(each.prefix is None for each in edge.balancers):
        raise BadInput("edge.balancers have no `command`: who holds the VIP can only be seen from inside")
    vips = (edge.vip,) if edge.vip else ()
    places = {**{each.name: each.address for each in edge.balancers}, **{vip: vip for vip in vips}}
    return Site(
        doors={each.name: None if each.prefix is None else each.door() for each in edge.balancers},
        vips=vips,
        timeout_s=max(edge.timeout_s, patience_s),
        vrrp=edge.vrrp,
        probes={name: _probe(edge, address) for name, address in places.items()},
    )


def _probe(edge: Edge, address: str) -> Probe:
    """Whether the web server at an address answers as clients ask; nginx_check judges what it says."""

    def probe(attempt: Attempt) -> None:
        import ssl

        from st2ha.edge.web import Question, ask

        context = ssl.create_default_context(cafile=edge.ca_file) if edge.tls else None
        question = Question((address,), address, edge.port, "/", host_name=edge.host_name, tls=edge.tls)
        status = ask(question, attempt, context).status
        if status >= SERVER_ERROR:
            raise Unanswered(Silence.BROKEN, f"HTTP {status} at {address}:{edge.port}")

    return probe
