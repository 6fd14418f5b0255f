"""Ask many servers at once, each with a deadline of its own; a server that does not answer is a fact.

One hung server costs its own timeout, once, because nothing waits for the thread that asks it: the thread is
abandoned, its socket is closed behind it, and the caller gets a `Silent`.
"""

from __future__ import annotations

import enum
import errno
import queue
import socket
import ssl
import threading
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Callable, Optional, TypeVar, Union

from st2ha.config import Host

Target = TypeVar("Target", bound=Hashable)
Answer = TypeVar("Answer")


class Silence(enum.Enum):
    """Why a server gave no answer, as far as it can be told from here."""

    REFUSED = "refused"  # its host answers, nobody listens on the port: the process is down
    UNREACHABLE = "unreachable"  # no answer at all to a connect: host down, network cut, name unknown
    HUNG = "hung"  # accepts the connection and then says nothing, or too slowly
    DENIED = "denied"  # speaks, but not with these credentials
    TLS = "tls"  # the TLS handshake failed: certificate, name or protocol
    BROKEN = "broken"  # answered something that is no sense, or an error


@dataclass(frozen=True)
class Silent:
    """A server that did not answer: the kind, the words of the system, and after how many seconds."""

    kind: Silence
    reason: str
    after_s: float = 0.0


class Unanswered(Exception):
    """Raised by an asking function to become a `Silent` fact."""

    def __init__(self, kind: Silence, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass
class Attempt:
    """One server being asked: how long there is, and whether it has accepted us yet."""

    started: float
    timeout_s: float
    accepted: bool = False
    abandoned: bool = False
    closers: list[Callable[[], object]] = field(default_factory=list)

    def left_s(self) -> float:
        """Seconds until the deadline, never below a millisecond (0 would mean "for ever" to sockets)."""
        return max(0.001, self.started + self.timeout_s - time.monotonic())

    def afterwards(self, close: Callable[[], object]) -> None:
        """Have `close` called when all answers are in (nobody waits for it), or when nobody wants this one any more."""
        self.closers.append(close)

    def close(self) -> None:
        for close in self.closers:
            close()


def connect(host: Host, attempt: Attempt) -> socket.socket:
    """A TCP connection within the attempt's deadline, or Unanswered as REFUSED or UNREACHABLE."""
    try:
        connection = socket.create_connection((host.name, host.port), timeout=attempt.left_s())
    except ConnectionRefusedError:
        raise Unanswered(Silence.REFUSED, f"connection to {host} refused") from None
    except OSError as error:
        reason = "timed out" if isinstance(error, socket.timeout) or error.errno == errno.ETIMEDOUT else str(error)
        raise Unanswered(Silence.UNREACHABLE, f"no connection to {host}: {reason}") from None
    attempt.accepted = True
    return connection


def ask_all(
    targets: Iterable[Target], ask: Callable[[Target, Attempt], Answer], timeout_s: float
) -> dict[Target, Union[Answer, Silent]]:
    """Call `ask(target, attempt)` for all targets in parallel; return an answer or a Silent for each, in order.

    `ask` raises Unanswered for what it can name. Any other exception is ours to fix and is raised here, except
    the network's own (OSError), which is a fact about that server. No call takes longer than `timeout_s`.
    """
    started = time.monotonic()
    attempts = {target: Attempt(started, timeout_s) for target in targets}
    finished: queue.Queue[tuple[Target, Union[Answer, Silent, Exception]]] = queue.Queue()

    def work(target: Target, attempt: Attempt) -> None:
        finished.put((target, _answer(target, attempt, ask)))
        if attempt.abandoned:
            attempt.close()

    for target, attempt in attempts.items():
        threading.Thread(target=work, args=(target, attempt), daemon=True, name=f"ask {target}").start()
    answers: dict[Target, Union[Answer, Silent]] = {}
    while len(answers) < len(attempts):
        try:
            target, answer = finished.get(timeout=max(0.0, started + timeout_s - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(answer, Exception):
            raise answer
        answers[target] = answer
    _close_behind([attempts[target] for target in answers])
    for target in attempts.keys() - answers.keys():
        answers[target] = _abandon(attempts[target])
    return {target: answers[target] for target in attempts}


def _answer(
    target: Target, attempt: Attempt, ask: Callable[[Target, Attempt], Answer]
) -> Union[Answer, Silent, Exception]:
    try:
        return ask(target, attempt)
    except Unanswered as silent:
        return Silent(silent.kind, silent.reason, time.monotonic() - attempt.started)
    except ssl.SSLError as error:
        return Silent(Silence.TLS, tls_reason(error), time.monotonic() - attempt.started)
    except OSError as error:
        kind = Silence.HUNG if attempt.accepted else Silence.UNREACHABLE
        return Silent(kind, str(error), time.monotonic() - attempt.started)
    except Exception as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
        return error


def _close_behind(attempts: list[Attempt]) -> None:
    """Close in a thread of their own, because a close may block like the read it ends."""

    def close() -> None:
        for attempt in attempts:
            attempt.close()

    threading.Thread(target=close, daemon=True).start()


def _abandon(attempt: Attempt) -> Silent:
    attempt.abandoned = True
    _close_behind([attempt])
    if attempt.accepted:
        return Silent(Silence.HUNG, f"accepts connections, no answer within {attempt.timeout_s:g} s", attempt.timeout_s)
    return Silent(Silence.UNREACHABLE, f"no connection within {attempt.timeout_s:g} s", attempt.timeout_s)


def tls_reason(error: Optional[BaseException]) -> str:
    """OpenSSL's own words without the C file they come from."""
    message = getattr(error, "verify_message", "") or str(error)
    return message.split("] ")[-1].split(" (_ssl")[0]
