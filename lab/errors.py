"""Every exception of the lab."""

from __future__ import annotations


class LabError(Exception):
    """Something the lab was asked to do is not possible; the message says why and what to do."""


class ServerDied(LabError):
    """A server ended though it should run; the message carries the end of its log."""


class WaitTimeout(LabError, TimeoutError):
    """A condition did not come true before its deadline; the message says which and what was seen last."""


class NotYet(LabError):
    """Raised by a condition given to ``wait_for`` to say why it does not hold yet."""
