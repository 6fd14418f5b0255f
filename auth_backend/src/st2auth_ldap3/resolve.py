"""Names to addresses within a deadline. getaddrinfo has none, so it runs in a thread that nobody waits for."""

from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Any, Union

from st2auth_ldap3.deadline import Deadline
from st2auth_ldap3.errors import OutOfTime, Unavailable

Address = tuple[int, Any]
"""Family and what `connect` takes."""
KEPT_S = 60.0


class Resolver:
    """Remembers answers for a minute, and uses an older one where the name service fails."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    def addresses(self, host: str, port: int, deadline: Deadline) -> list[Address]:
        """At least one address. Raises Unavailable."""
        now = time.monotonic()
        at, known = self._known.get((host, port), (0.0, []))
        if known and now - at < KEPT_S:
            return known
        try:
            found = _ask(host, port, deadline)
        except Unavailable:
            if known and not deadline.passed():
                return known
            raise
        self._known[host, port] = (now, found)
        return found


def _ask(host: str, port: int, deadline: Deadline) -> list[Address]:
    answers: queue.Queue[Union[list[Address], Exception]] = queue.Queue()

    def work() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put([(family, address) for family, _, _, _, address in found])
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True, name=f"resolve {host}").start()
    try:
        answer = answers.get(timeout=deadline.left_s())
    except queue.Empty:
        raise OutOfTime(f"the name {host} was not resolved in time") from None
    if isinstance(answer, Exception) or not answer:
        raise Unavailable(f"the name {host} has no address")
    return answer
