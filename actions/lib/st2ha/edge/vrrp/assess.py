"""What is wrong with the VIP: pure rules over a Snapshot. Risks of the configuration are in assess_conf.py.

Invariant behind all of it: exactly one balancer holds each VIP, and keepalived there is alive to give it up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Callable

from st2ha.edge.vrrp import assess_conf
from st2ha.edge.vrrp.facts import Node, Snapshot, State
from st2ha.edge.vrrp.scene import at_vip, finding, named_states
from st2ha.edge.vrrp.settings import VrrpLimits
from st2ha.naming import count
from st2ha.report import Finding, Severity, by_weight

Rule = Callable[[Snapshot], Iterator[Finding]]


def assess(snapshot: Snapshot, limits: VrrpLimits) -> tuple[Finding, ...]:
    """All findings, the worst first."""
    found = [each for rule in RULES for each in rule(snapshot)]
    found += assess_conf.assess_conf(snapshot, limits)
    return tuple(by_weight(found))


def healthy_words(snapshot: Snapshot) -> str:
    """What holds when nothing was found."""
    held = "; ".join(f"{holder.name} holds {vip}" for vip in snapshot.vips for holder in snapshot.holders(vip))
    return f"{held or 'no VIP'}, {count(len(snapshot.nodes), 'balancer')} answer"


def needs_second_look(findings: Iterable[Finding]) -> bool:
    """Nodes are not read at one instant: a VIP that moves meanwhile is seen twice, or nowhere."""
    return any(each.code in ("NoVip", "SplitBrain") for each in findings)


def unread_balancers(snapshot: Snapshot) -> Iterator[Finding]:
    for name, silent in snapshot.silent.items():
        yield finding(
            "BalancerUnread", Severity.UNKNOWN, name,
            f"not seen from inside ({silent.reason}): whether it holds the VIP is not known",
            f"try edge.command for {name} by hand; is the host up?",
        )  # fmt: skip


def holders(snapshot: Snapshot) -> Iterator[Finding]:
    """Holders != 1 is the finding; a client's HTTP request sees none of these but the first."""
    for vip in snapshot.vips:
        found = snapshot.holders(vip)
        stale = [node for node in found if not node.alive or (len(found) > 1 and (node.stopped or node.hung))]
        if stale:
            yield from (_stale(snapshot, vip, node) for node in stale)
        elif len(found) > 1:
            yield _split(snapshot, vip)
        elif not found:
            yield _nowhere(snapshot, vip)
        else:
            yield from _strangers(snapshot, vip, found[0])


def _stale(snapshot: Snapshot, vip: str, node: Node) -> Finding:
    others = [each.name for each in snapshot.holders(vip) if each is not node]
    what = "hangs" if node.alive else "is dead"
    also = f"; {' and '.join(others)} holds it, too: clients reach either" if others else "; nobody will take it off"
    then = "kill and start keepalived" if node.alive else "start keepalived"
    return finding(
        "StaleHolder", Severity.CRITICAL, at_vip(vip),
        f"{node.name} has the address, but its keepalived {what}{also}",
        f"on {node.name}: {_deletion(node, vip)}; {then}",
    )  # fmt: skip


def _deletion(node: Node, vip: str) -> str:
    return f"ip address delete {vip}{node.links[vip]}"


def _split(snapshot: Snapshot, vip: str) -> Finding:
    holding = snapshot.holders(vip)
    names = " and ".join(node.name for node in holding)
    unasked = [each for each in holding if (now := each.now(vip)) and now.state in (State.BACKUP, State.FAULT)]
    remedy = f"let VRRP (IP protocol 112) pass between {names}: nft list ruleset, tcpdump proto 112"
    if unasked:  # keepalived did not put it there
        remedy = f"on {unasked[0].name}, whose keepalived does not want it: {_deletion(unasked[0], vip)}"
    return finding(
        "SplitBrain", Severity.CRITICAL, at_vip(vip),
        f"{names} hold it at once: a client reaches either "
        f"({named_states(snapshot, vip)}{_seen_by_arp(snapshot, vip)})",
        remedy,
    )  # fmt: skip


def _seen_by_arp(snapshot: Snapshot, vip: str) -> str:
    sighting = snapshot.sightings.get(vip)
    return f"; {count(len(sighting.macs), 'MAC')} answer ARP" if sighting else ""


def _strangers(snapshot: Snapshot, vip: str, holder: Node) -> Iterator[Finding]:
    """One holder among those that we see, and yet more than one MAC answers."""
    sighting = snapshot.sightings.get(vip)
    if sighting is None or len(sighting.macs) < 2:
        return
    own = set(holder.macs.values())
    others = ", ".join(mac for mac in sighting.macs if mac not in own)
    unseen = f"{' or '.join(snapshot.silent)}, which we cannot see, or " if snapshot.silent else ""
    yield finding(
        "SplitBrain", Severity.CRITICAL, at_vip(vip),
        f"{holder.name} holds it, but {others} answers ARP for it, too: a client reaches either",
        f"find who that is: {unseen}a host that has the address by mistake; arping -c 3 {vip}",
    )  # fmt: skip


def _nowhere(snapshot: Snapshot, vip: str) -> Finding:
    sighting, silent = snapshot.sightings.get(vip), " and ".join(snapshot.silent)
    if sighting is not None and sighting.macs:
        return finding(
            "VipUnknown", Severity.UNKNOWN, at_vip(vip),
            f"{', '.join(sighting.macs)} answers ARP for it, none of the {len(snapshot.nodes)} balancers that we see",
            f"find who that is: {silent or 'a host that has the address by mistake'}; arping -c 3 {vip}",
        )  # fmt: skip
    if silent and sighting is None:
        return finding(
            "VipUnknown", Severity.UNKNOWN, at_vip(vip), f"no balancer that we see has it, and {silent} is not seen",
            f"mend the way into {silent}, or ask from its link: arping -c 3 {vip}",
        )  # fmt: skip
    return finding(
        "NoVip", Severity.CRITICAL, at_vip(vip), f"nobody holds it, no client gets in: {_why_nobody(snapshot, vip)}",
        _what_to_start(snapshot, vip),
    )  # fmt: skip


def _why_nobody(snapshot: Snapshot, vip: str) -> str:
    words = named_states(snapshot, vip)
    return f"{words}, and nobody answers ARP" if snapshot.sightings.get(vip) else words


def _what_to_start(snapshot: Snapshot, vip: str) -> str:
    dead = [node.name for node in snapshot.nodes if not node.alive]
    faulty = [node.name for node in snapshot.nodes if (now := node.now(vip)) and now.state is State.FAULT]
    if faulty:
        return f"make what their scripts check run again on {faulty[0]}, for example: systemctl start nginx"
    if dead:
        return f"systemctl start keepalived on {dead[0]}"
    return "look at keepalived's log; a takeover may be under way"


def processes(snapshot: Snapshot) -> Iterator[Finding]:
    """keepalived dead or hung; a dead one that holds a VIP is told above."""
    for node in snapshot.nodes:
        if not node.alive and not node.addresses & set(snapshot.vips):
            yield finding(
                "KeepalivedDown", Severity.WARNING, node.name, "keepalived does not run: it will not take over",
                f"systemctl start keepalived on {node.name}",
            )  # fmt: skip
        elif node.hung:
            what = "is stopped (SIGSTOP)" if node.stopped else "did not answer its signal"
            yield finding(
                "KeepalivedHung", Severity.WARNING, node.name,
                f"keepalived {what}: it neither announces nor gives up anything",
                f"look at the load of {node.name}; then: systemctl restart keepalived",
            )  # fmt: skip


def faulty_instances(snapshot: Snapshot) -> Iterator[Finding]:
    for node in snapshot.nodes:
        for now in node.running or ():
            if now.state is State.FAULT:
                yield finding(
                    "VrrpFault", Severity.WARNING, f"{node.name}/{now.name}",
                    "in state FAULT: it cannot hold the VIP (script fails, link down, or its switch file says so)",
                    f"on {node.name}: journalctl -u keepalived; make what its script checks run again",
                )  # fmt: skip
            if now.errors:
                told = ", ".join(f"{name} {number}" for name, number in sorted(now.errors.items()))
                yield finding(
                    "AdvertsRejected", Severity.WARNING, f"{node.name}/{now.name}",
                    f"threw adverts of the others away ({told}): it takes over though they are alive",
                    "make advert_int, authentication and addresses equal on all balancers, then reload keepalived",
                )  # fmt: skip


RULES: tuple[Rule, ...] = (unread_balancers, holders, processes, faulty_instances)
