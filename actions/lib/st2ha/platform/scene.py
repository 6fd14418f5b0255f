"""What the rules of StackStorm's own services look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from st2ha.platform.facts import Inside, Snapshot
from st2ha.platform.settings import PlatformLimits, PlatformNode, Stackstorm
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds.

    `elsewhere`: other layers that the deployment has; what they tell better is left to them.
    """

    snapshot: Snapshot
    settings: Stackstorm
    now: float
    elsewhere: frozenset[str] = frozenset()
    brokers: tuple[str, ...] = ()  # of the layers rabbitmq and mongodb: host names
    databases: tuple[str, ...] = ()

    @property
    def limits(self) -> PlatformLimits:
        return self.settings.limits

    def finding(self, code: str, severity: Severity, message: str, remedy: str, about: str = "") -> Finding:
        """A finding about StackStorm as a whole, a service, a node or the VIP."""
        return Finding(code, severity, "stackstorm" + (f"/{about}" if about else ""), message, remedy)

    def insides(self) -> Iterator[tuple[PlatformNode, Inside]]:
        """The nodes that were looked into."""
        for node in self.settings.nodes:
            inside = self.snapshot.insides.get(node.name)
            if isinstance(inside, Inside):
                yield node, inside


def some(names: Iterable[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def span(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 30 h, 3 days."""
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
