"""Read servers and Sentinels: each is asked directly, all at once, and answers for itself."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any, Callable, TypeVar, Union

from st2ha.config import Host
from st2ha.probe import Attempt, Silence, Unanswered, ask_all
from st2ha.reach import reach
from st2ha.redis import client as driver
from st2ha.redis.facts import Denied, Sentinel, SentinelAnswer, Server, ServerAnswer, Snapshot
from st2ha.redis.parse import SETTINGS, sentinel_of, server_of
from st2ha.redis.settings import Redis

SERVER, SENTINEL = "server", "sentinel"
Target = tuple[str, Host]
Replies = dict[str, Any]
Record = Callable[[str, Host, Replies], None]
T = TypeVar("T")


def gather(settings: Redis, record: Record = lambda kind, host, replies: None) -> Snapshot:
    """All facts within `settings.timeout_s`. `record` is given the replies of each (they become test cases)."""
    addresses: dict[Host, tuple[str, ...]] = {}

    def ask(target: Target, attempt: Attempt) -> Union[Server, Sentinel, Denied]:
        kind, host = target
        if kind == SERVER:
            addresses[host] = _ips(host)
        try:
            if kind == SERVER:
                told = _server_replies(settings, host, attempt)
                record(kind, host, told)
                return server_of(host, told)
            told = _sentinel_replies(settings, host, attempt)
            record(kind, host, told)
            return sentinel_of(host, settings.master_name, told)
        except driver.Refused as refused:
            return Denied(host, str(refused))
        except ssl.SSLError:  # one kind of it is a ValueError
            raise
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Unanswered(Silence.BROKEN, f"its reply makes no sense ({type(error).__name__} {error})") from None

    at = time.time()
    targets = [*((SERVER, host) for host in settings.hosts), *((SENTINEL, host) for host in settings.sentinels)]
    answers: dict[Target, Any] = dict(ask_all(targets, ask, settings.timeout_s))
    servers: dict[Host, ServerAnswer] = {host: answers[SERVER, host] for host in settings.hosts}
    sentinels: dict[Host, SentinelAnswer] = {host: answers[SENTINEL, host] for host in settings.sentinels}
    return Snapshot(settings.master_name, servers, sentinels, at, dict(addresses))


def _ips(host: Host) -> tuple[str, ...]:
    try:
        return tuple({str(row[4][0]) for row in socket.getaddrinfo(host.name, None, type=socket.SOCK_STREAM)})
    except OSError:
        return ()


def _server_replies(settings: Redis, host: Host, attempt: Attempt) -> Replies:
    tls_expires_at = reach(host, settings.tls, attempt)

    def work(session: driver.Session) -> Replies:
        session.ask("PING")
        began = time.monotonic()
        session.ask("PING")
        latency_s = time.monotonic() - began
        info, *rows = session.together(("INFO", "all"), *(("CONFIG", "GET", name) for name in SETTINGS))
        _raise_if_error(info)
        # A user that may not read CONFIG knows less: no reason to know nothing.
        readable = not any(driver.is_error(row) for row in rows)
        config = {key: value for row in rows for key, value in driver.pairs(row).items()} if readable else None
        if config is not None:
            config["requirepass"] = "set" if config.get("requirepass") else ""
        return {"info": info, "config": config, "latency_s": latency_s, "tls_expires_at": tls_expires_at}

    return _asked(settings, host, attempt, work)


def _sentinel_replies(settings: Redis, host: Host, attempt: Attempt) -> Replies:
    reach(host, settings.tls, attempt)
    name = settings.master_name

    def work(session: driver.Session) -> Replies:
        masters, replicas, quorum = session.together(
            ("SENTINEL", "MASTERS"), ("SENTINEL", "REPLICAS", name), ("SENTINEL", "CKQUORUM", name)
        )
        _raise_if_error(masters)
        rows = masters.values() if isinstance(masters, dict) else masters
        known = [] if driver.is_error(replicas) else replicas
        return {
            "masters": [dict(driver.pairs(row)) for row in rows],
            "replicas": [dict(driver.pairs(row)) for row in known],
            "quorum_error": driver.is_error(quorum),
        }

    return _asked(settings, host, attempt, work, sentinel=True)


def _asked(
    settings: Redis, host: Host, attempt: Attempt, work: Callable[[driver.Session], T], sentinel: bool = False
) -> T:
    session = driver.Session(settings, host, attempt.left_s(), sentinel)
    attempt.afterwards(session.close)
    try:
        return work(session)
    except driver.DriverError as error:
        raise driver.why(error) from None


def _raise_if_error(reply: Any) -> None:
    if isinstance(reply, Exception):
        raise reply
