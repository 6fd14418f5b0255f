"""The process of one action: `python -m st2ha.local.child`, told what to do through stdin.

The request is a JSON object: pack, entry, parameters, config, datastore, result_fd. The answer goes to the file
descriptor result_fd: {"status": true|false|null, "result": ...} or {"error": "...", "traceback": "..."}.
Whatever the action prints goes to stderr. This process imports neither rich, jinja2, yaml nor orquesta.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from st2ha.local.datastore import DatastoreService, Store
from st2ha.local.loading import first_action_class, load_module
from st2ha.local.places import use_stackstorm_libraries


def main() -> int:
    request = json.loads(sys.stdin.buffer.read())
    result_fd = int(request["result_fd"])
    os.set_inheritable(result_fd, False)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    use_stackstorm_libraries()
    try:
        answer = _encode(_perform(request))
    except Exception as error:  # noqa: BLE001
        import traceback

        text = " ".join(str(error).split())
        told = {"error": f"{type(error).__name__}: {text}" if text else type(error).__name__}
        answer = json.dumps({**told, "traceback": traceback.format_exc()}).encode()
    with os.fdopen(result_fd, "wb") as pipe:
        pipe.write(answer)
    return 0


def _perform(request: dict[str, Any]) -> dict[str, Any]:
    action_class = first_action_class(load_module(Path(request["entry"])))
    service = DatastoreService(Store(Path(request["datastore"])), request["pack"], action_class.__name__)
    try:
        action = action_class(config=request["config"], action_service=service)
    except TypeError as error:
        if "unexpected keyword argument 'action_service'" not in str(error):
            raise
        action = action_class(config=request["config"])
        action.action_service = service
    output = action.run(**request["parameters"])
    if not (isinstance(output, tuple) and len(output) == 2):
        return {"status": None, "result": output}
    if output[0] is not None and not isinstance(output[0], bool):
        raise TypeError("run() returned a pair whose first item is no bool: return (True, result) or (False, result)")
    return {"status": output[0], "result": output[1]}


def _encode(output: dict[str, Any]) -> bytes:
    """StackStorm's rule: what orjson cannot serialise becomes one string."""
    import orjson

    try:
        return orjson.dumps(output)
    except TypeError:
        return orjson.dumps({"status": output["status"], "result": str(output["result"])})


if __name__ == "__main__":
    sys.exit(main())
