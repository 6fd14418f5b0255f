"""A client of Redis that writes all the time, and knows what it was promised."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lab.redis import DRIVER, RedisCluster
from lab.wait import wait_for


class Writer:
    """Writes numbers through whichever server the Sentinels name; knows which were acknowledged."""

    def __init__(self, lab: RedisCluster) -> None:
        self._lab = lab
        self.acknowledged: list[int] = []
        self.largest_gap_s = 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._write, args=(over,))
        thread.start()
        wait_for(lambda: len(self.acknowledged) > 20, 30, "the first writes")
        try:
            yield
            count = len(self.acknowledged)
            wait_for(lambda: len(self.acknowledged) > count + 20, 30, "writes afterwards")
        finally:
            over.set()
            thread.join(30)

    def _write(self, over: threading.Event) -> None:
        number, last = 0, time.monotonic()
        while not over.is_set():
            try:
                with self._lab.client(self._lab.primary().name, timeout_s=1) as client:
                    while not over.is_set():
                        number += 1
                        client.set(f"w:{number}", number)
                        self.acknowledged.append(number)
                        self.largest_gap_s = max(self.largest_gap_s, time.monotonic() - last)
                        last = time.monotonic()
            except (*DRIVER, Exception):  # noqa: BLE001 - NotYet, too
                time.sleep(0.01)

    def lost(self) -> list[int]:
        with self._lab.client(self._lab.await_primary().name) as client:
            there = client.mget([f"w:{number}" for number in self.acknowledged])
        return [number for number, value in zip(self.acknowledged, there) if value != str(number)]
