"""What the rules of sign-in look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from st2ha.auth.facts import Config, Node, Snapshot
from st2ha.auth.settings import Auth, AuthLimits
from st2ha.report import Finding, Severity


@dataclass(frozen=True)
class Scene:
    """The arguments of every rule; `now` in epoch seconds."""

    snapshot: Snapshot
    settings: Auth
    now: float

    @property
    def limits(self) -> AuthLimits:
        return self.settings.limits

    def finding(self, code: str, severity: Severity, message: str, remedy: str, about: str = "") -> Finding:
        """A finding about sign-in as a whole, a node, the VIP, or a directory server."""
        return Finding(code, severity, "auth" + (f"/{about}" if about else ""), message, remedy)

    def configs(self) -> Iterator[tuple[Node, Config]]:
        """The nodes whose configuration was read."""
        for node in self.snapshot.nodes:
            if isinstance(node.config, Config):
                yield node, node.config
