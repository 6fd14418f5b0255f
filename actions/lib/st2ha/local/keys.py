"""`st2ha key`: the stand-in datastore by hand, for values that live in StackStorm's datastore otherwise."""

from __future__ import annotations

import sys

from st2ha.errors import BadInput
from st2ha.local import MASK, render
from st2ha.local.arguments import Options
from st2ha.local.datastore import Store
from st2ha.local.places import Places

_VERBS = ("set", "get", "delete", "list")


def run(places: Places, words: list[str], options: Options) -> int:
    """set NAME (the value comes through stdin: no process list shows it), get NAME, delete NAME, list [PREFIX]."""
    verb = words[0] if words else ""
    if verb not in _VERBS:
        raise BadInput(f'st2ha key "{verb}" is no command: use one of {", ".join(_VERBS)}')
    if verb == "list":
        return _list(Store(places.datastore), words[1] if len(words) > 1 else "", options)
    if len(words) != 2:
        raise BadInput(f"st2ha key {verb} takes one name, not {len(words) - 1}: write `st2ha key {verb} NAME`")
    return _one(places, verb, words[1], options)


def _one(places: Places, verb: str, name: str, options: Options) -> int:
    store = Store(places.datastore)
    if verb == "set":
        problem = places.make_state()
        if problem:
            raise BadInput(f"key {name} cannot be kept, {problem}: set ST2HA_STATE_DIR")
        if sys.stdin.isatty():
            import getpass

            value = getpass.getpass(f"value of {name}: ")
        else:
            value = sys.stdin.read().rstrip("\n")
        store.set(name, value, ttl=options.ttl, secret=options.secret)
        return 0
    pair = store.get(name)
    if pair is None:
        raise BadInput(f'there is no key "{name}": `st2ha key list` shows all')
    if verb == "delete":
        store.delete(name)
    elif options.json:
        render.show_json({"name": pair.name, "value": MASK if pair.secret else pair.value})
    else:
        print(MASK if pair.secret else pair.value)
    return 0


def _list(store: Store, prefix: str, options: Options) -> int:
    rows = [
        {"name": pair.name, "value": MASK if pair.secret else pair.value, "expires_at": pair.expire_timestamp}
        for pair in store.list(prefix, limit=10000)
    ]
    if options.json:
        render.show_json(rows)
    else:
        render.show([render.table("keys", rows, ("name", "value", "expires_at"))])
    return 0
