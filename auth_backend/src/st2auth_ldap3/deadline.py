"""One total deadline for a login, whatever number of servers and operations it takes."""

from __future__ import annotations

import time

from st2auth_ldap3.errors import OutOfTime


class Deadline:
    """A point in time (monotonic). `within` gives an earlier one for a part of the work."""

    def __init__(self, seconds: float, what: str, end: float = float("inf")) -> None:
        self.what = what
        self.seconds = seconds
        self.end = min(end, time.monotonic() + seconds)

    def left_s(self) -> float:
        """Seconds until the end. Raises OutOfTime when there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise OutOfTime(f"{self.what} took longer than {self.seconds:g} s")
        return left

    def within(self, seconds: float, what: str) -> Deadline:
        """At most `seconds` from now, and never later than this one."""
        return Deadline(seconds, what, self.end)

    def passed(self) -> bool:
        return time.monotonic() >= self.end
