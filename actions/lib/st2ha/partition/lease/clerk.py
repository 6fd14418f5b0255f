"""The process that speaks with a lease's backend for one sensor: JSON lines over its stdin, a socket.

A process of its own, as for an observer (see st2ha.observer): drivers and eventlet never meet, a driver that hangs
holds nobody up, and it outlives a sensor that was killed by the moment that it takes to give the lease back.

The first line is {"config", "name"}; then {"do": "look"} or {"do": "write", "old", "new", "place"}, a record being
[holder, token, beat] or null. Answers: {"record", "place"}, {"done"}, or {"error"}.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from typing import Any, Optional, Protocol

from st2ha.errors import HaError, internal
from st2ha.partition.lease.rule import FREE, Record, given_back
from st2ha.partition.lease.settings import LeaseSettings, configured


class Store(Protocol):
    """What a backend offers; see the modules `mongodb` and `redis` beside this one."""

    def look(self) -> tuple[Optional[Record], str]: ...

    def replace(self, old: Optional[Record], new: Record, place: str) -> bool: ...


class Clerk:
    """Carries out orders, and remembers what is held in the sensor's name."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self._config, self._name = config, name
        self._made: Optional[Store] = None
        self._held: Optional[tuple[Record, str]] = None

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one order; never raises."""
        try:
            store = self._store()
            if order["do"] == "look":
                record, place = store.look()
                return {"record": _row(record), "place": place}
            old, new = _record(order["old"]), _record(order["new"])
            assert new is not None
            done = store.replace(old, new, order["place"])
            self._held = (new, order["place"]) if done else None
            return {"done": done}
        except HaError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - its text could hold a secret
            return {"error": internal(error)}

    def give_back(self) -> None:
        """The sensor is no more: what it held, as far as is known, is free."""
        if self._held is not None and self._held[0].holder != FREE:
            held, place = self._held
            with contextlib.suppress(HaError):
                self._store().replace(held, given_back(held), place)

    def _store(self) -> Store:
        if self._made is None:
            settings = configured(self._config)
            assert settings is not None
            self._made = open_store(settings, self._name)
        return self._made


def open_store(settings: LeaseSettings, name: str) -> Store:
    """The record called `name` in the configured backend."""
    module = importlib.import_module(f"st2ha.partition.lease.{settings.backend}")
    store: Store = module.Store(settings.layer, name, settings.timeout_s)
    return store


def _row(record: Optional[Record]) -> Optional[list[Any]]:
    return None if record is None else [record.holder, record.token, record.beat]


def _record(row: Optional[list[Any]]) -> Optional[Record]:
    return None if row is None else Record(*row)


def main() -> None:
    """Obey until the sensor is gone, then give back."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are for the sensor; its end is ours
    line = socket.socket(fileno=0)
    line.setblocking(True)
    reader = line.makefile("rb")
    request = json.loads(reader.readline())
    clerk = Clerk(request["config"], request["name"])
    with contextlib.suppress(OSError):  # a sensor that was killed resets the connection
        for text in reader:
            line.sendall(json.dumps(clerk.obey(json.loads(text))).encode() + b"\n")
    clerk.give_back()
    os._exit(0)  # not sys.exit: that would wait for the driver's threads


if __name__ == "__main__":
    main()
