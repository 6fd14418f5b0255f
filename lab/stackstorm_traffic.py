"""A load on two sides of an upgrade: jobs, reads and a stream through the balancers, and outside events."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

from lab.stackstorm import TwoSides
from lab.wait import wait_for

MOST_BEHIND = 12


class Traffic:
    """Jobs and reads through the balancer, each on a new connection, outside events, and a listener to st2stream.

    On a busy machine no more than MOST_BEHIND jobs and events are under way: a backlog is not what is tested.
    """

    def __init__(self, sides: TwoSides, jobs_s: float = 4, reads_s: float = 20, events_s: float = 4) -> None:
        self.sides = sides
        self.jobs: list[str] = []
        self.events = 0
        self.reads = 0
        self.failed: list[str] = []
        self.heard: list[tuple[str, str]] = []
        self._end, self._held = threading.Event(), threading.Event()
        rates = ((self._job, jobs_s), (self._read, reads_s), (self._event, events_s))
        self._threads = [threading.Thread(target=self._run, args=each, daemon=True) for each in rates]
        self._threads.append(threading.Thread(target=self._listen, daemon=True))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.jobs and self.reads and self.events and self.heard, 30, "the load to begin")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def hold_events(self, deadline_s: float = 30) -> None:
        """Nothing happens outside until go_on(), and all that happened was handled."""
        self._held.set()
        handled = len(self.sides.records("event"))
        wait_for(lambda: len(self.sides.records("event")) == self.events, deadline_s, f"events after {handled}")

    def go_on(self) -> None:
        self._held.clear()

    def settle(self, deadline_s: float = 60) -> None:
        """Wait until all that was acknowledged was done. Raises WaitTimeout."""
        wait_for(lambda: not self.missing(), deadline_s, "all jobs and events to be done", interval_s=0.2)

    def missing(self) -> list[str]:
        """Acknowledged jobs and events that nobody did."""
        done = {what for _, what in self.sides.records("done")}
        seen = {what for _, what in self.sides.records("event")}
        wanted = [str(number) for number in range(self.events)]
        return [job for job in self.jobs if job not in done] + [each for each in wanted if each not in seen]

    def twice(self) -> list[str]:
        """What was done more than once, on one side or on both."""
        found = Counter(str(what) for kind in ("done", "event", "tick") for _, what in self.sides.records(kind))
        return sorted(what for what, times in found.items() if times > 1)

    def hear(self, node: str, deadline_s: float = 60) -> None:
        """Wait until the listener, whom nobody tells of a switch, is told of an execution on that node."""
        since = len(self.heard)
        wait_for(lambda: node in {each for each, _ in self.heard[since:]}, deadline_s, f"an event of {node}'s stream")

    def _listen(self) -> None:
        """As a browser's EventSource: when the connection ends, the next one."""
        while not self._end.wait(0.05):
            connection = http.client.HTTPConnection(*self.sides.addresses["vip"], timeout=20)
            try:
                connection.request("GET", "/stream/v1/stream")
                reply = connection.getresponse()
                if reply.status != 200:
                    raise ValueError(f"HTTP {reply.status}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed.append(f"_listen: {type(error).__name__} {error}")
                connection.close()
                continue
            with contextlib.suppress(OSError, http.client.HTTPException):
                while not self._end.is_set() and (line := reply.readline()):
                    if line.startswith(b"data: "):
                        row = json.loads(line[6:])
                        self.heard.append((row["node"], row["id"]))
            connection.close()

    def _run(self, work: Any, rate: float) -> None:
        began, count = time.monotonic(), 0
        while not self._end.wait(max(0.0, began + count / rate - time.monotonic())):
            count = max(count + 1, int((time.monotonic() - began) * rate))
            try:
                work()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed.append(f"{work.__name__}: {type(error).__name__} {error}")

    def _behind(self) -> bool:
        """Nothing new for now; also while the sensors are stopped, so that the next one begins with little."""
        texts = [(self.sides.directory / node / "record").read_text() for node in ("old1", "new1")]
        handled = sum(text.count('"event"') for text in texts)
        done = sum(text.count('"done"') for text in texts)
        return self.events - handled > MOST_BEHIND or len(self.jobs) + handled - done > MOST_BEHIND

    def _job(self) -> None:
        if self._behind():
            return
        status, body = self.sides.get("vip", "/api/v1/executions", "POST", {"action": "core.local"})
        if status != 201:
            raise ValueError(f"HTTP {status}")
        self.jobs.append(body["id"])

    def _read(self) -> None:
        status, _ = self.sides.get("vip", "/")
        if status != 200:
            raise ValueError(f"HTTP {status}")
        self.reads += 1

    def _event(self) -> None:
        if self._held.is_set() or self._behind():
            return
        with open(self.sides.events, "a", encoding="utf-8") as file:
            file.write(f"{self.events}\n")
        self.events += 1
