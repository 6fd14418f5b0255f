"""st2auth in small: eventlet patched as StackStorm does, the backend loaded by its entry point, logins over HTTP.

Run by StackStorm's own Python (lab.st2auth): reads `backend_kwargs` as JSON from standard input, prints its port.
POST /tokens   201 and the user's groups, 401, or 500, as StandaloneAuthHandler answers with role sync on
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

STALL = {"ms": 0.0}


def load(kwargs: Any) -> Any:
    found: Any = entry_points()
    group = "st2auth.backends.backend"
    chosen = found.select(group=group) if hasattr(found, "select") else found.get(group, [])
    (entry_point,) = [each for each in chosen if each.name == "ldap3"]
    return entry_point.load()(**kwargs)


def watch() -> None:
    while True:
        started = time.monotonic()
        eventlet.sleep(0.005)
        STALL["ms"] = max(STALL["ms"], (time.monotonic() - started) * 1000 - 5)


def application(backend: Any) -> Any:
    def answer(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/stall":
            body = json.dumps(STALL)
            STALL["ms"] = 0.0
            start_response("200 OK", [])
            return [body.encode()]
        try:
            decoded = base64.b64decode(environ["HTTP_AUTHORIZATION"].split(" ")[1]).decode()
            username, password = decoded.split(":", 1)
            if backend.authenticate(username=username, password=password) is not True:
                start_response("401 Unauthorized", [])
                return [b""]
            groups = backend.get_user_groups(username=username)
        except Exception as error:  # noqa: BLE001 - as StackStorm's router does
            start_response("500 Internal Server Error", [])
            return [type(error).__name__.encode()]
        start_response("201 Created", [])
        return [json.dumps({"user": username, "groups": groups}).encode()]

    return answer


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    loaded = load(json.loads(sys.stdin.readline()))
    listener = eventlet.listen(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    eventlet.spawn(watch)
    wsgi.server(listener, application(loaded), log_output=False)
