"""What StackStorm's services answer when they work, and what only looks like it. Pure.

A status tells little: StackStorm's own nginx file answers 200 with `retry: 1000` for a dead st2stream. So each service
is asked something that needs no login, and the content of the answer is looked at. Without a token st2api, st2auth and
st2stream answer 401 with a `faultstring`: that is a working service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from st2ha.probe import Silent

UNAUTHORIZED = (401, 403)


@dataclass(frozen=True)
class Probe:
    """What to ask: `path` of the service itself, `public` where clients find it behind nginx."""

    method: str
    path: str
    public: str


PROBES: Mapping[str, Probe] = {
    "stream": Probe("GET", "/v1/stream", "/stream/v1/stream"),
    "auth": Probe("POST", "/v1/tokens", "/auth/v1/tokens"),
    "api": Probe("GET", "/v1/actions?limit=1", "/api/v1/actions?limit=1"),
    "web": Probe("GET", "/", "/"),
}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; `via` is the upstream address that gave it, where the marker's server tells."""

    status: int
    content_type: str
    body: bytes
    via: str = ""
    tls_until: Optional[float] = None


def service_of(upstream: str) -> str:
    """Which service an upstream has, by its name; `web` for one that does not tell."""
    return next((service for service in PROBES if service in upstream), "web")


def wrong(service: str, reply: Reply) -> Optional[str]:
    """What is wrong with the answer, None if the service works."""
    if service == "web":
        page = reply.status == 200 and b"<html" in reply.body.lower()
        return None if page else _told(reply, "no page of st2web")
    if service == "stream" and reply.body.strip().startswith(b"retry:"):
        return f"HTTP {reply.status} with nothing but `retry`: nginx's own words for a dead st2stream"
    if service == "stream" and reply.status == 200:
        return None if reply.content_type.startswith("text/event-stream") else _told(reply, "no event stream")
    found = _json(reply.body)
    if reply.status in UNAUTHORIZED:
        works = isinstance(found, Mapping) and "faultstring" in found
    else:
        works = reply.status in (200, 201) and isinstance(found, (Mapping, list))
    return None if works else _told(reply, f"no answer of st2{service}")


def amiss(upstream: str, reply: Union[Reply, Silent, None]) -> Optional[str]:
    """The same of an upstream by its name, where there may be no answer."""
    if reply is None:
        return "it was not asked"
    return reply.reason if isinstance(reply, Silent) else wrong(service_of(upstream), reply)


def _told(reply: Reply, instead: str) -> str:
    found = _json(reply.body)
    words = found.get("faultstring") if isinstance(found, Mapping) else None
    return f"HTTP {reply.status}, " + (str(words)[:100] if isinstance(words, str) else instead)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
