"""The section `lease` of a pack's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.config import Section, select
from st2ha.errors import BadInput
from st2ha.partition.lease.rule import Terms

BACKENDS = ("redis", "mongodb")
TTL_S = 10.0
SETTLE_S = {"redis": 5.0, "mongodb": 0.0}


@dataclass(frozen=True)
class LeaseSettings:
    """How sensors of this pack agree on who works. `layer` are the settings of the backend's service."""

    backend: str
    layer: Any
    ttl_s: float = TTL_S

    @property
    def terms(self) -> Terms:
        return Terms(self.ttl_s, SETTLE_S[self.backend])

    @property
    def timeout_s(self) -> float:
        """Of one question to the backend: several must fit into a lease."""
        return float(min(self.layer.timeout_s, max(0.5, self.ttl_s / 5)))


def configured(config: Mapping[str, Any]) -> Optional[LeaseSettings]:
    """What the configuration says of leases, None if nothing. BadInput names what is wrong.

    Either `backend` and the name of the `deployment` whose layer it is, or, in packs that have no deployments, the
    layer itself: `redis: {hosts: ...}` or `mongodb: {hosts: ...}`.
    """
    section = Section({"lease": config.get("lease")}, "configuration").optional_section("lease")
    if section is None:
        return None
    section.known("backend", "deployment", "ttl_s", *BACKENDS)
    ttl_s = section.number("ttl_s", TTL_S, low=1, high=300)
    inline = [name for name in BACKENDS if section.optional_section(name) is not None]
    backend = section.optional_text("backend") or (inline[0] if len(inline) == 1 else None)
    if backend not in BACKENDS:
        shown = "missing" if backend is None else repr(backend)
        raise BadInput(f"{section.at('backend')} is {shown}: use one of {', '.join(BACKENDS)}")
    if inline:
        if inline != [backend]:
            raise BadInput(f"{section.path} has `{inline[-1]}` beside the backend {backend}: keep one")
        layer = {"name": "lease", backend: section.values[backend]}
        return LeaseSettings(backend, select({"deployments": [layer]}).require(backend), ttl_s)
    return LeaseSettings(backend, select(config, section.optional_text("deployment")).require(backend), ttl_s)
