"""Rules that every kind of balancer shares: what clients are told at each address, and whose nodes work. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Optional, Union

from st2ha.edge.content import Reply, amiss
from st2ha.edge.settings import Edge
from st2ha.naming import count
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity

DAY_S = 86400.0
NAMED = 4
Answers = Mapping[str, Union[Reply, Silent]]
"""What clients are told at one address, by upstream."""


def finding(code: str, severity: Severity, message: str, remedy: str, about: str = "") -> Finding:
    """A finding about the edge, a balancer, `vip`, or an upstream."""
    return Finding(code, severity, "edge" + (f"/{about}" if about else ""), message, remedy)


def not_serving(
    fronts: Mapping[str, Answers], edge: Edge, holders: Sequence[str], running: Sequence[str], program: str
) -> Iterator[Finding]:
    """No connection at all: nobody listens, or the balancer is away. `running`: where the program is known to run."""
    dead = {name: public for name, public in fronts.items() if mute(public)}
    balancers = [each.name for each in edge.balancers]
    for name, public in dead.items():
        reason = next(reply.reason for reply in public.values() if isinstance(reply, Silent))
        if name == "vip":
            held = f"held by {', '.join(holders) or 'nobody we can read'}"
            yield finding(
                "VipNotServing", Severity.CRITICAL, f"clients reach nothing: {reason}; it is {held}",
                f"run ha.vrrp_check; start keepalived and {program} on a balancer", name,
            )  # fmt: skip
            continue
        severity = Severity.CRITICAL if all(each in dead for each in balancers) else Severity.WARNING
        also = f"; its {program} runs" if name in running else ""
        yield finding("BalancerDown", severity, f"it serves nobody: {reason}{also}", f"start {program} on {name}", name)


def tls(fronts: Mapping[str, Answers], edge: Edge, now: float, program: str) -> Iterator[Finding]:
    """Certificates that clients refuse, or soon will; `now` in epoch seconds."""
    for name, public in fronts.items():
        bad = next((each for each in public.values() if kind_of(each) is Silence.TLS), None)
        if isinstance(bad, Silent):
            yield finding(
                "CertificateUntrusted", Severity.CRITICAL, f"clients refuse it: {bad.reason}",
                f"give {program} the whole chain for edge.host_name, or set edge.tls.ca_file to its authority", name,
            )  # fmt: skip
        ends = [each.tls_until for each in public.values() if isinstance(each, Reply) and each.tls_until]
        if ends and min(ends) - now < edge.limits.tls_days * DAY_S:
            days = (min(ends) - now) / DAY_S
            yield finding(
                "TlsExpiring", Severity.WARNING, f"its certificate ends in {days:.0f} days: then nobody gets in",
                f"renew it on every balancer, then reload {program}", name,
            )  # fmt: skip


def paths(fronts: Mapping[str, Answers], program: str) -> Iterator[Finding]:
    """What clients are told, by content; where nothing answers at all another rule speaks."""
    for name, public in fronts.items():
        if mute(public) or any(kind_of(reply) is Silence.TLS for reply in public.values()):
            continue
        for upstream, reply in public.items():
            why = amiss(upstream, reply)
            if why is not None:
                yield finding(
                    "PathBroken", Severity.CRITICAL, f"clients of {upstream} get no StackStorm: {why}",
                    f"look at {upstream}'s nodes, or {program}_switch to another group", f"{name}/{upstream}",
                )  # fmt: skip


def members(told: Mapping[str, Mapping[str, Optional[str]]], program: str) -> Iterator[Finding]:
    """`told`: upstream -> node -> what is wrong with its service there, None if it works."""
    for upstream, nodes in told.items():
        bad = {node: why for node, why in nodes.items() if why is not None}
        if not bad:
            continue
        node, why = next(iter(bad.items()))
        names = f"{', '.join(list(bad)[:NAMED])} of {count(len(nodes), 'node')}"
        message = f"{names} gives no right answer: {node}: {why}"
        if len(bad) == len(nodes):
            remedy = f"start {upstream} there, or {program}_switch to another group"
            yield finding("UpstreamDown", Severity.CRITICAL, message, remedy, upstream)
        else:
            yield finding("UpstreamMemberDown", Severity.WARNING, message, f"start {upstream} there", upstream)


def mute(public: Answers) -> bool:
    """Whether nothing that clients ask is answered: not even a certificate is shown."""
    kinds = {kind_of(reply) for reply in public.values()}
    return bool(kinds) and kinds <= {Silence.REFUSED, Silence.UNREACHABLE, Silence.HUNG}


def kind_of(reply: Union[Reply, Silent]) -> Optional[Silence]:
    return reply.kind if isinstance(reply, Silent) else None
