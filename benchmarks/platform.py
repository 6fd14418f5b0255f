"""The figures of the area `platform`: stackstorm_check against the slowest request that it must make."""

from __future__ import annotations

import http.client
import multiprocessing
import signal
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Callable
from urllib.parse import urlsplit

from benchmarks.figures import Figure
from lab.errors import LabError
from st2ha.config import select
from st2ha.platform.operations import check
from tests.replay import Replay, replaying

ROUNDS = 15
BUSY_S = 0.2
"""What StackStorm's API takes for a list of some hundreds of rows."""


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """One figure, in about ten seconds. The API is the one of the tests, with recorded answers, in its own process."""
    say("stackstorm_check of a busy API against one bare request")
    yield _figure("stackstorm_check_to_slowest_request", BUSY_S, 2.0)


def _figure(name: str, delay_s: float, limit: float) -> Figure:
    """check, bare, check, bare: the median of the rounds' ratios."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(theirs, delay_s), daemon=True)
    process.start()
    try:
        url, key = ours.recv()
        deployment = select({"deployments": [{"name": "lab", "stackstorm": {"api_url": url, "api_key": key}}]})
        rows = []
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            report = check(deployment)
            took_s = time.perf_counter() - began
            if report.findings:
                raise LabError(report.summary)
            rows.append((took_s, _bare_s(url, key)))
    finally:
        process.terminate()
        process.join(5)
    ratio = statistics.median(whole / bare for whole, bare in rows[1:])
    whole, bare = (1000 * statistics.median(column) for column in zip(*rows[1:]))
    return Figure(
        name, ratio, limit, "x", f"{whole:.0f} ms, {bare:.0f} ms", f"{ROUNDS} rounds, all 24 requests at once"
    )


def _serve(line: Connection, delay_s: float) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with replaying(Replay(delay_s=delay_s)) as replay:
        line.send((replay.url, replay.api_key))
        time.sleep(300)


def _bare_s(url: str, key: str) -> float:
    """The longest list that the check reads."""
    parts = urlsplit(url)
    began = time.perf_counter()
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
    connection.request("GET", "/v1/triggerinstances?limit=100", headers={"St2-Api-Key": key})
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - began
