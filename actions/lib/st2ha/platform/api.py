"""StackStorm's API: every wait bounded, every error one sentence. The only module that speaks to it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, SSLError, Timeout

from st2ha.errors import DeadlineExceeded, HaError
from st2ha.platform.settings import Stackstorm

PAGE = 100
"""What [api] max_page_size allows to everybody by default."""

T = TypeVar("T")


class ApiError(HaError):
    """The API said no: `status` is the HTTP code, the text its own reason."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Api:
    """One run's requests. All of them together end `timeout_s` after the first; close it, or use it in a `with`."""

    def __init__(self, settings: Stackstorm) -> None:
        self._settings = settings
        self._where = urlsplit(settings.api_url).netloc
        self._ends: Optional[float] = None
        self._session = requests.Session()
        # No proxy and no ~/.netrc of this machine: we speak as the configuration says.
        self._session.trust_env = False
        self._session.verify = settings.ca_file or True
        self._session.headers.update(settings.login())

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def sensors(self) -> list[dict[str, Any]]:
        """Every registered sensor, enabled or not."""
        return self.rows("/v1/sensortypes")

    def packs(self) -> list[dict[str, Any]]:
        """Every registered pack, with its ref and version."""
        return self.rows("/v1/packs")

    def key(self, name: str) -> Optional[str]:
        """The value of a key of scope system; None if there is none."""
        row = self.key_row(name)
        return None if row is None else str(row["value"])

    def key_row(self, name: str) -> Optional[dict[str, Any]]:
        """A key of scope system with its `id` and `value`; None if there is none."""
        try:
            body, _ = self.get(f"/v1/keys/{quote(name, safe='')}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        if not isinstance(body, dict) or not isinstance(body.get("value"), str):
            raise HaError(f"StackStorm's API at {self._where} gave no value for the key {name}: check api_url")
        return body

    def put_key(self, name: str, value: str) -> None:
        """Write a key of scope system, new or not."""
        body = {"name": name, "value": value, "scope": "st2kv.system"}
        self._send("PUT", f"/v1/keys/{quote(name, safe='')}", body)

    def delete_key(self, name: str) -> None:
        """Remove a key of scope system; that it is gone already is as good."""
        try:
            self._send("DELETE", f"/v1/keys/{quote(name, safe='')}", None)
        except ApiError as error:
            if error.status != 404:
                raise

    def registered(self, group: str) -> Optional[list[dict[str, Any]]]:
        """The members of a group of the service registry, none if it has no such group; None if the registry is off."""
        groups, _ = self.get("/v1/service_registry/groups")
        names = groups.get("groups") if isinstance(groups, dict) else None
        if not names:
            return None
        if group not in names:
            return []
        body, _ = self.get(f"/v1/service_registry/groups/{quote(group, safe='')}/members")
        return list(body.get("members") or []) if isinstance(body, dict) else None

    def rows(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """All rows of a list, however many; in one request where we are allowed to.

        `limit=-1` is for administrators. Pages are for everybody, but only where the API knows `offset`: for rules and
        sensors it does not, and silently gives the first page again (openapi.yaml of StackStorm 3.9 and 3.10).
        """
        try:
            body, _ = self.get(path, **query, limit=-1)
        except ApiError as error:
            if error.status not in (400, 403):
                raise
            return list(self.pages(path, **query))
        return self._listed(path, body)

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """The rows of a list by pages, each once even if one goes away meanwhile. HaError if not all are to be had."""
        seen: set[str] = set()
        offset = 0
        while True:
            body, headers = self.get(path, **query, limit=PAGE, offset=offset)
            news = [row for row in self._listed(path, body) if str(row.get("id")) not in seen]
            seen.update(str(row.get("id")) for row in news)
            yield from news
            offset += len(body)
            total = int(headers.get("X-Total-Count", offset))
            if not body or (offset >= total and len(seen) >= total):
                return
            if not news:
                raise HaError(
                    f"StackStorm's API at {self._where} shows {len(seen)} of {total} rows of {path} to a user who is "
                    "no administrator: use an API key of one"
                )

    def _listed(self, path: str, body: Any) -> list[dict[str, Any]]:
        if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
            raise HaError(f"StackStorm's API at {self._where} gave no list for {path}: check api_url")
        return body

    def get(self, path: str, **query: Any) -> tuple[Any, dict[str, str]]:
        """One request: the parsed reply and its headers."""
        reply = self._within(lambda left_s: self._ask("GET", path, query, None, left_s), path)
        return self._body(reply, path), dict(reply.headers)

    def _send(self, method: str, path: str, body: Optional[dict[str, Any]]) -> None:
        """One writing request. After an error it may have been done all the same: read again."""
        reply = self._within(lambda left_s: self._ask(method, path, {}, body, left_s), path)
        if reply.status_code != 204:
            self._body(reply, path)

    def _body(self, reply: requests.Response, path: str) -> Any:
        try:
            body = reply.json()
        except ValueError:
            raise HaError(f"StackStorm's API at {self._where} answers {path} with no JSON: check api_url") from None
        if reply.status_code >= 300:
            reason = body.get("faultstring") if isinstance(body, dict) else None
            raise ApiError(reply.status_code, self._refusal(path, reply.status_code, str(reason or reply.reason)))
        return body

    def _refusal(self, path: str, status: int, reason: str) -> str:
        words = f"StackStorm's API at {self._where} answers {path} with {status} {' '.join(reason.split())[:200]}"
        return words + (": check api_key or token of the layer `stackstorm`" if status in (401, 403) else "")

    def _ask(
        self, method: str, path: str, query: dict[str, Any], body: Optional[dict[str, Any]], left_s: float
    ) -> requests.Response:
        address = f"{self._settings.api_url}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            return self._session.request(method, address, json=body, timeout=left_s, allow_redirects=False)
        except Timeout:
            raise DeadlineExceeded(self._late(path)) from None
        except SSLError:
            raise HaError(
                f"StackStorm's API at {self._where} is not trusted: check its certificate and ca_file"
            ) from None
        except NoConnection as error:
            what = "refuses connections" if "refused" in str(error).lower() else "cannot be reached"
            raise HaError(f"StackStorm's API at {self._where} {what}: start st2api, or correct api_url") from None
        except RequestException as error:
            raise HaError(f"StackStorm's API at {self._where} answers no sense ({type(error).__name__})") from None

    def _late(self, path: str) -> str:
        return f"StackStorm's API at {self._where} did not answer {path} within {self._settings.timeout_s:g} s"

    def _within(self, ask: Callable[[float], T], path: str) -> T:
        """`ask` in a thread that is left behind at the deadline: requests bounds each read, not the whole answer."""
        self._ends = self._ends or time.monotonic() + self._settings.timeout_s
        left_s = self._ends - time.monotonic()
        answers: queue.Queue[Callable[[], T]] = queue.Queue()
        if left_s <= 0:
            raise DeadlineExceeded(self._late(path))
        threading.Thread(target=lambda: answers.put(_outcome(ask, left_s)), daemon=True).start()
        try:
            return answers.get(timeout=left_s)()
        except queue.Empty:
            raise DeadlineExceeded(self._late(path)) from None


def _outcome(ask: Callable[[float], T], left_s: float) -> Callable[[], T]:
    """What `ask` returned or raised, to be had once more in another thread."""
    try:
        answer = ask(left_s)
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        caught = error

        def fail() -> T:
            raise caught

        return fail
    return lambda: answer
