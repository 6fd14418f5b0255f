"""What the rules share: how findings are made and how balancers are told."""

from __future__ import annotations

from st2ha.edge.vrrp.facts import Snapshot
from st2ha.report import Finding, Severity


def finding(code: str, severity: Severity, about: str, message: str, remedy: str) -> Finding:
    """A finding about a balancer, an instance on it, or a VIP (`at_vip`)."""
    return Finding(code, severity, f"edge/{about}", message, remedy)


def at_vip(vip: str) -> str:
    return f"vip/{vip}"


def named_states(snapshot: Snapshot, vip: str) -> str:
    """`lb1 is master, lb2's keepalived is dead`."""
    return ", ".join(_state(snapshot, name, vip) for name in snapshot.answers) or "no balancer is configured"


def _state(snapshot: Snapshot, name: str, vip: str) -> str:
    node = snapshot.node(name)
    if node is None:
        return f"{name} is not seen"
    if not node.alive:
        return f"{name}'s keepalived is dead"
    if node.hung:
        return f"{name}'s keepalived hangs"
    now = node.now(vip)
    return f"{name} is {now.state.name.lower() if now.state else '?'}" if now else f"{name} tells no state"
