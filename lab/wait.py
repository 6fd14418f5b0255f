"""Waiting with a deadline and a sentence."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

from lab.errors import NotYet, WaitTimeout

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None],
    deadline_s: float,
    what: str,
    *,
    interval_s: float = 0.05,
    retry_on: tuple[type[Exception], ...] = (),
) -> T:
    """Call ``condition`` until it returns something true, and return that.

    An exception of ``retry_on`` (and ``NotYet``, always) counts as "not yet". The condition is called at least once.
    Raises WaitTimeout after ``deadline_s`` seconds, naming ``what`` and the last reason.
    """
    end = time.monotonic() + deadline_s
    again: tuple[type[Exception], ...] = (NotYet, *retry_on)
    reason = ""
    while True:
        try:
            result = condition()
            if result:
                return result
        except again as error:
            reason = f"; last: {error}"
        if time.monotonic() >= end:
            raise WaitTimeout(f"waited {deadline_s:g} s in vain for {what}{reason}")
        time.sleep(interval_s)
