"""Run another action by name from within one of ours: the hook that tells clients where the primary is.

Under StackStorm through its API, with the URL and the token that it gives to every action (ST2_ACTION_API_URL and
ST2_ACTION_AUTH_TOKEN; the token ends with the action). Under bin/st2ha as a process of the local runner, from this pack
or from a pack beside it: a hook must work where StackStorm does not.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from st2ha.errors import HaError
from st2ha.local.places import stackstorm_root

REFERENCE = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_.-]+")
TIMEOUT_S = 60.0
CALL_S = 5.0
POLL_S = 0.2
FINAL = ("succeeded", "failed", "timeout", "abandoned", "canceled")
_RUN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"


def run_action(action: str, parameters: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> str:
    """Run `pack.action` to its end; a note on success, HaError if it failed or did not end in time."""
    began = time.monotonic()
    if os.environ.get("ST2HA_LOCAL"):
        _run_locally(action, parameters, timeout_s)
    elif os.environ.get("ST2_ACTION_API_URL"):
        _run_in_stackstorm(action, parameters, timeout_s)
    else:
        raise HaError("neither StackStorm nor bin/st2ha runs this, so there is nobody who could run it")
    return f"{action} succeeded after {time.monotonic() - began:.1f} s"


def _run_locally(action: str, parameters: Mapping[str, Any], timeout_s: float) -> None:
    pack, _, name = action.partition(".")
    words = [f"{key}={value}" for key, value in parameters.items()]
    command = [sys.executable, "-c", _RUN, str(_pack_directory(pack)), "--json", name, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise HaError(f"it did not end within {timeout_s:g} s") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise HaError(lines[-1][:200])


def _pack_directory(pack: str) -> Path:
    """This pack, or one beside it: ST2HA_PACKS names the directory of packs, else it is StackStorm's."""
    own = Path(__file__).resolve().parents[3]
    packs = Path(os.environ.get("ST2HA_PACKS") or stackstorm_root() / "packs")
    directory = own if pack == "ha" else packs / pack
    if not (directory / "actions").is_dir():
        raise HaError(f"there is no pack {pack} in {packs}")
    return directory


def _run_in_stackstorm(action: str, parameters: Mapping[str, Any], timeout_s: float) -> None:
    execution = _call("POST", "/executions", {"action": action, "parameters": dict(parameters)})
    deadline = time.monotonic() + timeout_s
    while execution["status"] not in FINAL:
        if time.monotonic() > deadline:
            raise HaError(f"execution {execution['id']} did not end within {timeout_s:g} s")
        time.sleep(POLL_S)
        execution = _call("GET", f"/executions/{execution['id']}?include_attributes=status")
    if execution["status"] != "succeeded":
        raise HaError(f"execution {execution['id']} ended as {execution['status']}")


def _call(method: str, path: str, body: Any = None) -> dict[str, Any]:
    url = os.environ["ST2_ACTION_API_URL"].rstrip("/") + path
    if not url.startswith(("http://", "https://")):
        raise HaError("ST2_ACTION_API_URL is no URL")
    headers = {"Content-Type": "application/json", "X-Auth-Token": os.environ.get("ST2_ACTION_AUTH_TOKEN", "")}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=CALL_S) as reply:
            answer: dict[str, Any] = json.load(reply)
            return answer
    except urllib.error.HTTPError as error:
        raise HaError(f"StackStorm's API refused it: {_fault(error)}") from None
    except (OSError, ValueError) as error:
        raise HaError(f"StackStorm's API did not answer: {error}") from None


def _fault(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["faultstring"])[:200]
    except (ValueError, KeyError, OSError):
        return f"HTTP {error.code}"
