"""Where the primary is: by the word of the Sentinels, or, without any, by that of the servers."""

from __future__ import annotations

from typing import Any, Callable, Union

from st2ha.config import Host
from st2ha.errors import HaError
from st2ha.probe import Attempt, Silent, ask_all, connect
from st2ha.redis import client as driver
from st2ha.redis.settings import Redis


def primary_host(settings: Redis, timeout_s: float) -> Host:
    """The address that most Sentinels name (of those that answer in time), or the server that says it is the primary.

    HaError if nobody names one. Whether it still is one has to be asked from itself.
    """

    def by_sentinel(host: Host, attempt: Attempt) -> Host:
        name, port = _ask(settings, host, attempt, True, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", settings.master_name)
        return Host(str(name), int(port))

    def by_itself(host: Host, attempt: Attempt) -> Host:
        if _ask(settings, host, attempt, False, "ROLE")[0] != "master":
            raise HaError(f"{host} is no primary")
        return host

    asked = settings.sentinels or settings.hosts
    answers = ask_all(asked, lambda h, a: _told(by_sentinel if settings.sentinels else by_itself, h, a), timeout_s)
    named = [answer for answer in answers.values() if isinstance(answer, Host)]
    if not named:
        who = "Sentinel" if settings.sentinels else "server"
        reasons = [each.reason if isinstance(each, Silent) else str(each) for each in answers.values()]
        raise HaError(f"no {who} names a primary: {reasons[0]}")
    return max(dict.fromkeys(named), key=named.count)


def _told(ask: Callable[[Host, Attempt], Host], host: Host, attempt: Attempt) -> Union[Host, str]:
    try:
        return ask(host, attempt)
    except (HaError, driver.Refused) as error:
        return str(error)


def _ask(settings: Redis, host: Host, attempt: Attempt, sentinel: bool, *words: str) -> Any:
    connect(host, attempt).close()
    session = driver.Session(settings, host, attempt.left_s(), sentinel)
    attempt.afterwards(session.close)
    try:
        reply = session.ask(*words)
    except driver.DriverError as error:
        raise driver.why(error) from None
    if not reply:
        raise HaError(f"{host} knows no master {settings.master_name}")
    return reply
