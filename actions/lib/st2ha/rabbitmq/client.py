"""One node's management API, every wait bounded, every error in short words. The only module that knows requests."""

from __future__ import annotations

import json
from typing import Any, Optional
from urllib.parse import quote, urlencode

import requests
from requests.auth import HTTPBasicAuth
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import RequestException, SSLError, Timeout

from st2ha.config import Host
from st2ha.errors import HaError
from st2ha.probe import Silence, Unanswered, tls_reason
from st2ha.rabbitmq.settings import Rabbitmq


class ApiError(HaError):
    """The API answered with an error: `status` is the HTTP code, the text is the server's own reason."""

    def __init__(self, status: int, reason: str, detail: str = "") -> None:
        super().__init__(f"HTTP {status}: {reason}")
        self.status = status
        self.reason = reason
        self.detail = detail  # the whole reply


class Api:
    """A session with one node. Close it. Methods raise Unanswered (no answer), or ApiError (an answer that says no)."""

    def __init__(self, settings: Rabbitmq, host: Host) -> None:
        self.host = host
        self._base = f"{'https' if settings.tls.enabled else 'http'}://{host}"
        self._session = requests.Session()
        # No proxy and no ~/.netrc of this machine: we speak to the node itself, with the login of the configuration.
        self._session.trust_env = False
        self._session.auth = HTTPBasicAuth(settings.username.encode(), settings.password.encode())
        self._session.verify = settings.tls.ca_file or True
        self._session.cert = settings.tls.certificate_key_file

    def close(self) -> None:
        self._session.close()

    def get(self, path: str, timeout_s: float, **query: Any) -> Any:
        return self.call("GET", f"{path}?{urlencode(query)}" if query else path, timeout_s)

    def call(self, method: str, path: str, timeout_s: float, body: Optional[dict[str, Any]] = None) -> Any:
        """One request; the parsed reply, None for an empty one. `path` begins with /api/ and is quoted already."""
        # Without a body a PUT would be taken for one whose body is still to come.
        data = None if method == "GET" else json.dumps(body or {})
        try:
            reply = self._session.request(
                method, self._base + path, data=data, timeout=timeout_s, allow_redirects=False,
                headers={"content-type": "application/json"},
            )  # fmt: skip
        except Timeout:
            raise Unanswered(Silence.HUNG, f"no answer to {_bare(path)} within {timeout_s:.1f} s") from None
        except SSLError as error:
            raise Unanswered(Silence.TLS, tls_reason(error)) from None
        except NoConnection as error:
            kind = Silence.REFUSED if "refused" in str(error) else Silence.BROKEN
            raise Unanswered(kind, f"the connection to {self.host} {_what(error)}") from None
        except RequestException as error:
            raise Unanswered(Silence.BROKEN, type(error).__name__) from None
        if reply.status_code >= 300:
            raise ApiError(reply.status_code, _reason(reply), reply.text)
        return _parsed(reply, path)


def segment(text: str) -> str:
    """A name as a part of a path: `/` is the name of a vhost, and `%2F` another one's."""
    return quote(text, safe="")


def _parsed(reply: requests.Response, path: str) -> Any:
    if not reply.content:
        return None
    try:
        return reply.json()
    except ValueError:
        raise Unanswered(
            Silence.BROKEN, f"the answer to {_bare(path)} is no JSON: is this the management API?"
        ) from None


def _reason(reply: requests.Response) -> str:
    try:
        body = reply.json()
    except ValueError:
        return reply.reason
    text = body.get("reason") or body.get("error") or reply.reason if isinstance(body, dict) else reply.reason
    return str(text)[:300]


def _what(error: Exception) -> str:
    text = str(error).lower()
    if "refused" in text:
        return "was refused"
    return "ended without an answer" if "aborted" in text or "reset" in text or "disconnect" in text else "failed"


def _bare(path: str) -> str:
    return path.partition("?")[0]
