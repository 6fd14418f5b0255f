"""A watcher's memory: what it has told, loaded and saved in StackStorm's datastore while nobody waits for that."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional, Union

from st2ha.errors import HaError
from st2ha.stackstorm import Sensor

RETRY_S = 1.0
UNREAD = object()


class Keeper:
    """Loads and saves in a thread of its own: the datastore may hang, and nobody waits for it."""

    def __init__(self, sensor: Sensor, keys: list[str], may_save: Callable[[], bool] = lambda: True) -> None:
        self._sensor, self._may_save = sensor, may_save
        self._stopped = False
        self._found: dict[str, Optional[str]] = {}
        self._kept: dict[str, str] = {}
        self._news = threading.Event()
        self._complaints: dict[str, float] = {}
        self.ended_by: Optional[BaseException] = None
        threading.Thread(target=self._live, args=(keys,), daemon=True).start()

    def found(self, key: str) -> Union[str, object, None]:
        """What the datastore held at the start; None if nothing, UNREAD if it has not answered yet."""
        return self._found.get(key, UNREAD)

    def keep(self, key: str, text: str) -> None:
        """Save this, and nothing older, as soon as it can be done."""
        self._kept[key] = text
        self._news.set()

    def stop(self) -> None:
        """Save nothing any more: somebody else does."""
        self._stopped = True
        self._kept.clear()
        self._news.set()

    def settle(self, seconds: float) -> None:
        """Wait until all is saved, for so long at the most."""
        deadline = time.monotonic() + seconds
        while self._kept and time.monotonic() < deadline:
            time.sleep(0.05)

    def complain(self, sentence: str) -> None:
        """Log it, the same once in ten minutes."""
        sentence, now = sentence[:300], time.monotonic()
        if now - self._complaints.get(sentence, -600.0) >= 600:
            self._complaints = {**{each: at for each, at in self._complaints.items() if now - at < 600}, sentence: now}
            self._sensor.logger.warning("%s; it is tried again until it works", sentence)

    def _live(self, keys: list[str]) -> None:
        try:
            self._run(keys)
        except BaseException as error:  # noqa: BLE001 - under eventlet a signal's exception hits whoever runs
            self.ended_by = error

    def _run(self, keys: list[str]) -> None:
        for key in keys:
            self._insist(lambda key=key: self._found.update({key: self._sensor.stored(key)}), "read")  # type: ignore[misc]
        while not self._stopped:
            self._news.wait()
            self._news.clear()
            for key in list(self._kept):
                self._insist(lambda key=key: self._save(key), "write")  # type: ignore[misc]

    def _save(self, key: str) -> None:
        text = self._kept.get(key)
        if text is None:
            return
        if not self._may_save():
            raise HaError("the lease is over, or not renewed in time")
        self._sensor.store(key, text)
        if self._kept.get(key) == text:
            self._kept.pop(key, None)
        else:
            self._news.set()

    def _insist(self, work: Callable[[], None], verb: str) -> None:
        while not self._stopped:
            try:
                return work()
            except Exception as error:  # noqa: BLE001 - whatever StackStorm's services raise
                self.complain(f"cannot {verb} the datastore: {error}")
                time.sleep(RETRY_S)
