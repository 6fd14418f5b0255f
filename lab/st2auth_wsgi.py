"""st2auth in small: eventlet patched as StackStorm does, the backend loaded by its entry point, logins over HTTP.

Run by StackStorm's own Python (lab.st2auth): reads `backend_kwargs` as JSON from standard input, prints its port.
POST /tokens   201, 400, 401 or 500, as StackStorm 3.10's st2auth with role sync on; but 201 tells the user's groups
GET /stall     the longest time in ms that another green thread had to wait since the last question
"""

import eventlet

eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)

import base64  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from importlib.metadata import entry_points  # noqa: E402
from typing import Any  # noqa: E402

from eventlet import wsgi  # noqa: E402

AUDIT = logging.CRITICAL + 10
STALL = {"ms": 0.0}


def load(kwargs: Any) -> Any:
    found: Any = entry_points()
    group = "st2auth.backends.backend"
    chosen = found.select(group=group) if hasattr(found, "select") else found.get(group, [])
    (entry_point,) = [each for each in chosen if each.name == "ldap3"]
    return entry_point.load()(**kwargs)


def log_as_stackstorm() -> None:
    """A level AUDIT, struck from every log of level INFO; there is no other one in logging.auth.gunicorn.conf."""
    logging.addLevelName(AUDIT, "AUDIT")
    logging.AUDIT = AUDIT  # type: ignore[attr-defined]
    logging.Logger.audit = lambda log, *args: log.log(AUDIT, *args)  # type: ignore[attr-defined]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda line: line.levelno != AUDIT)


def watch() -> None:
    while True:
        started = time.monotonic()
        eventlet.sleep(0.005)
        STALL["ms"] = max(STALL["ms"], (time.monotonic() - started) * 1000 - 5)


def application(backend: Any) -> Any:
    def answer(environ: Any, start_response: Any) -> Any:
        def say(status: str, body: Any) -> Any:
            start_response(status, [("Content-Type", "application/json")])
            return [json.dumps(body).encode()]

        if environ["PATH_INFO"] == "/stall":
            stall = dict(STALL)
            STALL["ms"] = 0.0
            return say("200 OK", stall)
        try:
            decoded = base64.b64decode(environ["HTTP_AUTHORIZATION"].split(" ")[1]).decode()
            username, password = decoded.split(":", 1)
            if backend.authenticate(username=username, password=password) is not True:
                return say("401 Unauthorized", {"faultstring": "Invalid or missing credentials"})
            groups = backend.get_user_groups(username=username)
        except ValueError as error:  # as ErrorHandlingMiddleware: its text goes to the client
            return say("400 Bad Request", {"faultstring": str(error)})
        except Exception:  # noqa: BLE001
            return say("500 Internal Server Error", {"faultstring": "Internal Server Error"})
        return say("201 Created", {"user": username, "groups": groups})

    return answer


if __name__ == "__main__":
    log_as_stackstorm()
    loaded = load(json.loads(sys.stdin.readline()))
    listener = eventlet.listen(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    eventlet.spawn(watch)
    wsgi.server(listener, application(loaded), log_output=False)
