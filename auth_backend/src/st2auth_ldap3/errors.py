"""Every exception of this distribution. None carries a password, nor text that a server or a library made up."""

from __future__ import annotations

from collections.abc import Sequence


class AuthError(Exception):
    """Base of all; `str()` is fit for a log."""


class Misconfigured(AuthError):
    """The settings cannot be used; `problems` name options and never their values."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Unavailable(AuthError):
    """A server, or all of them, did not answer as it should: another one may."""


class OutOfTime(Unavailable):
    """A deadline passed; the message says which wait it ended."""


class NotAllowed(Unavailable):
    """A server refused a read or our service account: `code` is the LDAP result, the message our words for it."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(f"{words} (LDAP result {code})")
        self.code = code


class Refused(AuthError):
    """The sign-in is refused for a reason that lies in the user: `reason` is for the audit line only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BindUnanswered(AuthError):
    """The user's bind was sent and no answer came. It may count towards lockout: it is never sent to another server."""


class GroupsUnknown(AuthError):
    """A user's groups cannot be told. Raised to StackStorm, so that it refuses rather than keeps stale roles."""
