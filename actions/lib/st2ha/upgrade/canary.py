"""One execution of core.noop through an API: does this side really work?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Optional

import requests

from st2ha.change import wait_until
from st2ha.errors import StepFailed
from st2ha.platform.settings import Stackstorm

ACTION = "core.noop"
POLL_S = 0.05
ENDED = (404, 409)
"""What StackStorm answers where there is nothing to cancel any more."""


def settings_for(stackstorm: Optional[Stackstorm], url: str) -> Stackstorm:
    """The login of the layer `stackstorm` at another address; without that layer none."""
    base = url.rstrip("/").removesuffix("/v1")
    return replace(stackstorm, api_url=base) if stackstorm else Stackstorm(base)


def run(settings: Stackstorm, deadline_s: float) -> tuple[str, float]:
    """The execution's id and its seconds. StepFailed if it did not succeed."""
    began = time.monotonic()
    wait_until(lambda: _silent(settings), deadline_s, f"{settings.api_url} to answer", pause_s=POLL_S)
    status, body = _ask(settings, "POST", "/v1/executions", {"action": ACTION, "parameters": {}})
    if status >= 300 or "id" not in body:
        raise StepFailed(f"{settings.api_url} does not take an execution of {ACTION}: HTTP {status}")
    number = str(body["id"])

    def missing() -> Optional[str]:
        now = str(_ask(settings, "GET", f"/v1/executions/{number}")[1].get("status"))
        if now in ("failed", "timeout", "abandoned", "canceled"):
            raise StepFailed(f"the canary {number} at {settings.api_url} is {now}")
        return None if now == "succeeded" else f"it is {now}"

    wait_until(missing, deadline_s, f"the canary {number} at {settings.api_url}", pause_s=POLL_S)
    return number, time.monotonic() - began


def cancel(settings: Stackstorm, number: str) -> None:
    """Ask for the end of an execution. StepFailed if it is refused; one that has ended meanwhile is fine."""
    status, body = _ask(settings, "DELETE", f"/v1/executions/{number}")
    if status >= 300 and status not in ENDED:
        words = str(body.get("faultstring", ""))[:100]
        raise StepFailed(f"{settings.api_url} does not cancel the execution {number}: HTTP {status} {words}")


def knows(settings: Stackstorm, number: str) -> bool:
    """Whether this side knows an execution."""
    return _ask(settings, "GET", f"/v1/executions/{number}")[0] < 300


def _silent(settings: Stackstorm) -> Optional[str]:
    """A service that was started a moment ago; a balancer answers 502 for it."""
    try:
        status = _ask(settings, "GET", "/v1/")[0]
    except StepFailed as error:
        return str(error)
    return f"HTTP {status}" if status >= 500 else None


def _ask(settings: Stackstorm, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    headers = {"Connection": "close"}
    if settings.api_key is not None:
        headers["St2-Api-Key"] = settings.api_key
    if settings.token is not None:
        headers["X-Auth-Token"] = settings.token
    with requests.Session() as session:
        session.trust_env = False
        try:
            reply = session.request(
                method, f"{settings.api_url}{path}", json=body, headers=headers, timeout=settings.timeout_s,
                verify=settings.ca_file or True, allow_redirects=False,
            )  # fmt: skip
            found = reply.json() if reply.content else {}
        except (requests.RequestException, ValueError) as error:
            raise StepFailed(f"{settings.api_url} did not answer {path}: {type(error).__name__}") from None
    return reply.status_code, found if isinstance(found, dict) else {}
