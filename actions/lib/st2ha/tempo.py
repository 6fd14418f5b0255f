"""How long a watcher waits for its next look: soon after a change, then ever longer. Pure."""

from __future__ import annotations

from typing import Optional

PERIOD_S = 15.0
"""Between looks while nothing changes."""
PAUSES_S = (0.3, 0.7, 1.5, 3.0, 5.0)
"""Between looks after a change: the first confirms it, all together they outlast the 10 s until a finding is over."""
UNSETTLED_S, UNSETTLED_FOR_S = 0.5, 60.0
"""While there is no primary, and for how long at the most."""


class Tempo:
    """Remembers what was seen last, and since when there is no primary."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._seen: object = None
        self._quiet = 0
        self._lost_at: Optional[float] = None

    def pause(self, seen: object, settled: bool, now: float) -> float:
        """Seconds; `seen` is compared with the look before, `now` is monotonic."""
        self._quiet = self._quiet + 1 if seen == self._seen else 0
        self._seen = seen
        pause_s = PAUSES_S[self._quiet] if self._quiet < len(PAUSES_S) else self._period_s
        if settled:
            self._lost_at = None
            return pause_s
        self._lost_at = now if self._lost_at is None else self._lost_at
        return min(pause_s, UNSETTLED_S) if now - self._lost_at < UNSETTLED_FOR_S else pause_s
