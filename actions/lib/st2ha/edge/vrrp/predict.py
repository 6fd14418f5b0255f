"""How long a takeover will take, from the configuration alone.

A backup waits `3 x advert + skew` after the last advert that it accepts; skew = (256 - priority) / 256 x advert (RFC
5798), or x 1 s in VRRP 2 (RFC 3768). A holder that gives up by itself says so with priority 0: then it is the skew.
`longest_s` is the budget; `typical_s` is for a fault at any moment: half an interval earlier.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.edge.vrrp.conf import HIGHEST, LOWEST, OWNER, Instance, Script


@dataclass(frozen=True)
class Span:
    """Seconds from a fault to the new holder; infinite where nobody takes over."""

    typical_s: float
    longest_s: float

    @property
    def never(self) -> bool:
        return math.isinf(self.longest_s)

    def as_dict(self) -> dict[str, Optional[float]]:
        """None for never: JSON has no infinity."""
        if self.never:
            return {"typical_s": None, "longest_s": None}
        return {"typical_s": round(self.typical_s, 3), "longest_s": round(self.longest_s, 3)}


NEVER = Span(math.inf, math.inf)


@dataclass(frozen=True)
class Takeover:
    """From `holder` to `successor`: if the holder vanishes, and if a script of its own fails (by script)."""

    holder: str
    successor: str
    crash: Span
    scripts: Mapping[str, Span]

    def as_dict(self) -> dict[str, Any]:
        scripts = {name: span.as_dict() for name, span in self.scripts.items()}
        return {
            "holder": self.holder,
            "successor": self.successor,
            "crash": self.crash.as_dict(),
            "script_failure": scripts,
        }


def skew_s(priority: int, advert_s: float, version: int) -> float:
    """How much longer than others a backup waits, so that the highest priority comes first."""
    return (256 - priority) / 256 * (advert_s if version == 3 else 1.0)


def master_down_s(priority: int, advert_s: float, version: int) -> float:
    """How long a backup waits after the last advert."""
    return 3 * advert_s + skew_s(priority, advert_s, version)


def effective(instance: Instance, failed: Optional[Script] = None) -> int:
    """The priority with all scripts well but `failed`; tracked files are taken for 0."""
    total = instance.priority
    if total != OWNER:
        for script in instance.scripts:
            total += max(script.weight, 0) if script != failed else min(script.weight, 0)
    return max(LOWEST, min(total, OWNER if instance.priority == OWNER else HIGHEST))


def predict(instances: Mapping[str, Instance], holder: Optional[str] = None) -> Optional[Takeover]:
    """For one VIP: `instances` by node, each that could hold it. Without a holder the highest priority is taken for it.

    None where there are fewer than two. With several backups the highest priority succeeds.
    """
    by_priority = sorted(instances, key=lambda node: -effective(instances[node]))
    if len(by_priority) < 2:
        return None
    first = holder if holder is not None and holder in instances else by_priority[0]
    second = next(node for node in by_priority if node != first)
    here, there = instances[first], instances[second]
    # A VRRP 3 backup waits by the advert interval that the holder announces, not by its own.
    down_s = master_down_s(effective(there), here.advert_s, there.version)
    crash = Span(down_s - here.advert_s / 2, down_s)
    return Takeover(first, second, crash, {each.name: _on_failure(here, there, each, crash) for each in here.scripts})


def _on_failure(here: Instance, there: Instance, script: Script, crash: Span) -> Span:
    if script.weight == 0:
        wait = Span(*(skew_s(effective(there), here.advert_s, there.version),) * 2)
    elif there.nopreempt or effective(here, script) >= effective(there):
        return NEVER
    else:
        wait = crash
    typical_s = (script.fall - 0.5) * script.interval_s + wait.typical_s
    return Span(typical_s, script.fall * script.interval_s + script.timeout_s + wait.longest_s)
