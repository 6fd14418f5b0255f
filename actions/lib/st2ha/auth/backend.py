"""The one place that knows where `st2auth_ldap3` is: in this pack's own auth_backend/, or else installed.

Its settings, its conversation with a directory and its gate are used here, so that what the pack tells is what st2auth
does. It needs ldap3, which other layers do not: import this module only where a directory is to be asked.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from st2ha.errors import HaError

_SOURCE = Path(__file__).resolve().parents[4] / "auth_backend" / "src"
if _SOURCE.is_dir() and str(_SOURCE) not in sys.path:
    sys.path.insert(0, str(_SOURCE))

try:
    from st2auth_ldap3 import explain as explaining
    from st2auth_ldap3.channel import Channel
    from st2auth_ldap3.deadline import Deadline
    from st2auth_ldap3.directory import Directory, Reader
    from st2auth_ldap3.errors import AuthError, Misconfigured, NotAllowed, OutOfTime, Unavailable
    from st2auth_ldap3.groups import Groups
    from st2auth_ldap3.link import Link
    from st2auth_ldap3.resolve import Resolver
    from st2auth_ldap3.servers import Server
    from st2auth_ldap3.settings import Settings, parse
    from st2auth_ldap3.srv import Names
    from st2auth_ldap3.states import refusal
    from st2auth_ldap3.tls import Trust
except ImportError as error:
    raise HaError(
        f"the library {error.name!r} is missing: run `st2 pack install` again, which installs requirements.txt"
    ) from None

logging.getLogger("st2auth_ldap3").addHandler(logging.NullHandler())
"""What it has to say is in our findings; else Python prints it to stderr, which st2web titles "error"."""

__all__ = [
    "AuthError", "Channel", "Deadline", "Directory", "Groups", "Link", "Misconfigured", "Names", "NotAllowed",
    "OutOfTime", "Reader", "Resolver", "Server", "Settings", "Trust", "Unavailable", "explaining", "parse", "refusal",
]  # fmt: skip
