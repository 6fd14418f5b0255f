"""The layer `stackstorm` of the configuration: where StackStorm's API is, and as whom we ask it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from st2ha.config import Section
from st2ha.errors import BadInput


@dataclass(frozen=True)
class Stackstorm:
    """`api_url` without /v1; one of `api_key` and `token`, or neither where the API asks for none."""

    api_url: str
    api_key: Optional[str] = field(default=None, repr=False)
    token: Optional[str] = field(default=None, repr=False)
    ca_file: Optional[str] = None
    timeout_s: float = 10.0


def parse(section: Section) -> Stackstorm:
    """The settings of one deployment; BadInput names what is wrong."""
    section.known("api_url", "api_key", "api_key_file", "token", "token_file", "ca_file", "timeout_s")
    api_key, token = section.secret("api_key"), section.secret("token")
    if api_key is not None and token is not None:
        raise BadInput(f"{section.path} has both an api_key and a token: keep the api_key, a token expires")
    return Stackstorm(
        api_url=_url(section),
        api_key=api_key,
        token=token,
        ca_file=section.file("ca_file"),
        timeout_s=section.number("timeout_s", 10.0, low=0.05, high=600),
    )


def _url(section: Section) -> str:
    text = section.text("api_url").rstrip("/")
    if text.endswith("/v1"):
        text = text[:-3]
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.username or parts.password or parts.query or parts.fragment:
        raise BadInput(
            f"{section.at('api_url')} is no address of an API: write it like https://st2.example.com/api or "
            "http://127.0.0.1:9101, without a login"
        )
    return text
