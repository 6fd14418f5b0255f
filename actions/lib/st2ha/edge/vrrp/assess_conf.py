"""What is risky in the balancers' keepalived.conf, each rule over the instances of one VIP. Pure.

Sources: RFC 3768 and 5798, keepalived.conf(5), and measurements of keepalived 2.2.7 (docs/decisions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Callable, Optional

from st2ha.edge.vrrp.conf import Instance
from st2ha.edge.vrrp.facts import Node, Running, Snapshot
from st2ha.edge.vrrp.predict import Takeover, predict
from st2ha.edge.vrrp.scene import at_vip, finding
from st2ha.edge.vrrp.settings import VrrpLimits
from st2ha.report import Finding, Severity

Instances = dict[str, Instance]
Rule = Callable[[str, Instances], Iterator[Finding]]


def assess_conf(snapshot: Snapshot, limits: VrrpLimits) -> list[Finding]:
    """All risks of what could be read."""
    found = [each for node in snapshot.nodes for each in (*_unclear(node), *_clashing(node), *_not_loaded(node))]
    for vip in snapshot.vips:
        instances = snapshot.instances(vip)
        found += [each for rule in RULES for each in rule(vip, instances)]
        found += [*_unmanaged(snapshot, vip, instances), *_slow(vip, takeover(snapshot, vip), instances, limits)]
    return found


def takeover(snapshot: Snapshot, vip: str) -> Optional[Takeover]:
    """The prediction for a VIP, from its present holder if there is one."""
    holders = [node.name for node in snapshot.holders(vip)]
    return predict(snapshot.instances(vip), holders[0] if len(holders) == 1 else None)


def _unclear(node: Node) -> Iterator[Finding]:
    if node.configuration.faults:
        more = len(node.configuration.faults) - 1
        yield finding(
            "ConfigUnclear", Severity.WARNING, node.name,
            node.configuration.faults[0] + (f" (and {more} more)" if more else ""),
            f"keepalived -t -f {node.config_path} on {node.name}",
        )  # fmt: skip


def _clashing(node: Node) -> Iterator[Finding]:
    """Two instances of one node with one number on one link take each other's adverts for their own."""
    used = Counter((each.interface, each.vrid) for each in node.configuration.instances if each.vrid is not None)
    for (interface, vrid), times in used.items():
        if times > 1:
            yield finding(
                "VridClash", Severity.WARNING, node.name,
                f"{times} instances have virtual_router_id {vrid} on {interface}: they disturb each other",
                "give each instance of a link a virtual_router_id of its own, the same on all balancers",
            )  # fmt: skip


def _not_loaded(node: Node) -> Iterator[Finding]:
    """The file says one thing, the running keepalived another."""
    for now in node.running or ():
        file = next((each for each in node.configuration.instances if each.name == now.name), None)
        if file is not None and (differing := _differing(file, now)):
            yield finding(
                "ConfigNotLoaded", Severity.WARNING, f"{node.name}/{now.name}",
                f"{differing}: what is checked here is not what runs", f"systemctl reload keepalived on {node.name}",
            )  # fmt: skip


def _differing(file: Instance, now: Running) -> str:
    pairs = {
        "priority": (file.priority, now.base_priority),
        "virtual_router_id": (file.vrid, now.vrid),
        "advert_int": (round(file.advert_s, 2), round(now.advert_s, 2)),
    }
    if not now.advert_s:
        del pairs["advert_int"]
    return ", ".join(f"{name} is {old} and {new} in the file" for name, (new, old) in pairs.items() if new != old)


def _unmanaged(snapshot: Snapshot, vip: str, instances: Instances) -> Iterator[Finding]:
    for node in snapshot.nodes:
        if node.name not in instances and not any("could not be read" in each for each in node.configuration.faults):
            yield finding(
                "VipNotManaged", Severity.WARNING, node.name,
                f"no instance of its keepalived has {vip}: it cannot take over",
                f"add {vip} to virtual_ipaddress in {node.config_path} of {node.name}",
            )  # fmt: skip


def _differing_peers(vip: str, instances: Instances) -> Iterator[Finding]:
    """What must be the same on all balancers, or they do not accept each other's adverts."""
    aspects: Mapping[str, Callable[[Instance], object]] = {
        "virtual_router_id": lambda each: each.vrid,
        "vrrp_version": lambda each: each.version,
        "advert_int": lambda each: f"{each.advert_s:g}",
        "authentication": lambda each: each.auth,
    }
    shown = []
    for name, aspect in aspects.items():
        values = {node: aspect(each) for node, each in instances.items()}
        if len(set(values.values())) > 1:
            secret = name == "authentication"
            shown.append(name if secret else f"{name} ({', '.join(f'{node}: {v}' for node, v in values.items())})")
    if shown:
        yield finding(
            "VrrpMismatch", Severity.WARNING, at_vip(vip),
            f"the balancers differ in {', '.join(shown)}: they may reject each other's adverts, and then both hold it",
            "make these equal in keepalived.conf of all balancers, then reload keepalived",
        )  # fmt: skip


def _equal_priorities(vip: str, instances: Instances) -> Iterator[Finding]:
    times = Counter(each.priority for each in instances.values())
    for priority, number in times.items():
        if number > 1:
            names = " and ".join(node for node, each in instances.items() if each.priority == priority)
            yield finding(
                "PrioritiesEqual", Severity.WARNING, at_vip(vip),
                f"{names} have priority {priority}: which one wins depends on their addresses and on who was first",
                "give each balancer a priority of its own",
            )  # fmt: skip


def _weights(vip: str, instances: Instances) -> Iterator[Finding]:
    """A script with a weight moves the VIP by priority: after three adverts more, and never past `nopreempt`."""
    for node, instance in instances.items():
        weighted = [each for each in instance.scripts if each.weight]
        unwilling = [name for name, each in instances.items() if each.nopreempt]
        if weighted and unwilling:
            yield finding(
                "WeightWithNopreempt", Severity.WARNING, f"{node}/{instance.name}",
                f"{weighted[0].name} lowers the priority, but {' and '.join(unwilling)} never preempts: "
                "the VIP stays where nothing serves",
                f"give {weighted[0].name} weight 0, or take nopreempt away on all balancers",
            )  # fmt: skip
        elif slow := [each for each in weighted if each.weight < 0]:
            yield finding(
                "WeightNegative", Severity.WARNING, f"{node}/{instance.name}",
                f"{slow[0].name} has weight {slow[0].weight}: a failure moves the VIP 3 adverts later than weight 0",
                f"give {slow[0].name} weight 0, unless a balancer without it is better than none",
            )  # fmt: skip


def _untracked(vip: str, instances: Instances) -> Iterator[Finding]:
    for node, instance in instances.items():
        if not instance.scripts and not instance.processes:
            yield finding(
                "TrackScriptMissing", Severity.WARNING, f"{node}/{instance.name}",
                "tracks no script: it keeps the VIP though its nginx is dead",
                "add a vrrp_script that asks nginx, and track_script to the instance",
            )  # fmt: skip


def _one_sided(vip: str, instances: Instances) -> Iterator[Finding]:
    """Unicast adverts go to those that are listed, and to nobody else."""
    for one, other in combinations(instances, 2):
        for here, there in ((one, other), (other, one)):
            sender, receiver = instances[here], instances[there]
            if bool(sender.unicast_peers) != bool(receiver.unicast_peers):
                why = f"{here} sends by unicast, {there} by multicast" if sender.unicast_peers else ""
            elif sender.unicast_peers and receiver.unicast_source not in ("", *sender.unicast_peers):
                why = f"{here} does not list {receiver.unicast_source} of {there} among its unicast_peer"
            else:
                why = ""
            if why:
                yield finding(
                    "UnicastOneSided", Severity.WARNING, at_vip(vip),
                    f"{why}: {there} hears nothing and takes the VIP, too",
                    f"list every other balancer's unicast_src_ip as unicast_peer on {here} and {there}",
                )  # fmt: skip


def _slow(
    vip: str, predicted: Optional[Takeover], instances: Instances, limits: VrrpLimits
) -> Iterator[Finding]:  # fmt: skip
    """Numbers of the prediction beyond the limits."""
    if predicted is None:
        return
    longest_s = predicted.crash.longest_s
    if longest_s > limits.takeover_s:
        yield finding(
            "TakeoverSlow", Severity.WARNING, at_vip(vip),
            f"when {predicted.holder} dies, {predicted.successor} takes over after up to {longest_s:.1f} s "
            f"(limit {limits.takeover_s:g} s)",
            "lower advert_int on all balancers: a takeover takes three of them and the skew",
        )  # fmt: skip
    for script in instances[predicted.holder].scripts:
        notice_s = script.fall * script.interval_s + script.timeout_s
        if predicted.scripts[script.name].never and not any(each.nopreempt for each in instances.values()):
            yield finding(
                "WeightTooSmall", Severity.WARNING, f"{predicted.holder}/{instances[predicted.holder].name}",
                f"when {script.name} fails, its priority still is not below that of {predicted.successor}: "
                "the VIP stays where nothing serves",
                f"give {script.name} weight 0, or a weight beyond the distance of the priorities",
            )  # fmt: skip
        elif notice_s > limits.script_s:
            yield finding(
                "ScriptSlow", Severity.WARNING, f"{predicted.holder}/{instances[predicted.holder].name}",
                f"{script.name} needs up to {notice_s:.1f} s to notice a failure: interval {script.interval_s:g} s x "
                f"fall {script.fall} + timeout {script.timeout_s:g} s (limit {limits.script_s:g} s)",
                f"lower interval, fall or timeout of {script.name}",
            )  # fmt: skip


RULES: tuple[Rule, ...] = (_differing_peers, _equal_priorities, _weights, _untracked, _one_sided)
