"""What a node is configured to do, read inside it: st2.conf, st2auth's processes, and the files its options name."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Union

from st2ha.auth.conf import parse_conf
from st2ha.auth.facts import Config, Unread
from st2ha.auth.settings import AuthNode
from st2ha.errors import CommandFailed, HostError
from st2ha.hosts import Door, read_file
from st2ha.probe import Attempt

PROCESSES = r"bin/[s]t2auth( |$)|[s]t2auth[.]wsgi"
"""gunicorn's and st2auth's own way to run; the brackets keep the pattern from finding itself behind a remote shell."""
NONE_FOUND = 1


def read_config(node: AuthNode, attempt: Attempt) -> Union[Config, Unread]:
    """The node's own word on [auth]. Whatever is in the way is a fact."""
    door = node.door()
    try:
        texts = [read_file(door, path, _left(attempt)).decode("utf-8") for path in node.st2_conf]
        config = parse_conf(texts)
    except (HostError, ValueError) as error:
        words = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        return Unread(f"{', '.join(node.st2_conf)}: {words}")
    return dataclasses.replace(config, uids=_uids(door, attempt), users_digest=_users_digest(door, config, attempt))


def _uids(door: Door, attempt: Attempt) -> Union[tuple[int, ...], None]:
    """As whom st2auth runs. Only process numbers and users are read: other processes' arguments hold secrets."""
    try:
        pids = door.run(["pgrep", "-f", PROCESSES], _left(attempt)).split()
        uids = door.run(["ps", "-o", "uid=", "-p", ",".join(pid.decode() for pid in pids)], _left(attempt)).split()
        return tuple(sorted({int(uid) for uid in uids}))
    except CommandFailed as error:
        return () if error.code == NONE_FOUND else None
    except (HostError, ValueError):
        return None


def _users_digest(door: Door, config: Config, attempt: Attempt) -> Union[str, None]:
    path = config.options.get("file_path")
    if config.backend != "flat_file" or not isinstance(path, str):
        return None
    try:
        return hashlib.sha256(read_file(door, path, _left(attempt))).hexdigest()
    except HostError:
        return None


@contextmanager
def usable_here(options: Mapping[str, Any], node: AuthNode, deadline_s: float) -> Iterator[dict[str, Any]]:
    """A node's backend options with its files brought here: the CA's certificates and the service password.

    Raises HostError. The password stays in memory; the certificates, which are public, lie in a file meanwhile.
    """
    usable = dict(options)
    if node.is_here:
        yield usable
        return
    with tempfile.NamedTemporaryFile(prefix="st2ha-ca-") as file:
        if isinstance(options.get("cacert"), str) and options["cacert"]:
            file.write(read_file(node.door(), options["cacert"], deadline_s))
            file.flush()
            usable["cacert"] = file.name
        password_file = usable.pop("bind_password_file", None)
        if isinstance(password_file, str) and password_file:
            password = read_file(node.door(), password_file, deadline_s, output_limit=4096)
            usable["bind_password"] = password.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        yield usable


def _left(attempt: Attempt) -> float:
    """A little less than there is, so that the fact tells why rather than that nobody answered."""
    return attempt.left_s() * 0.9
