"""What a planned switchover costs the applications that write."""

from __future__ import annotations

import contextlib
import time

from pymongo.errors import PyMongoError

from benchmarks.figures import Figure
from demo.pack import Pack
from lab.errors import LabError
from lab.mongodb import MongoCluster
from lab.writer import Writer

SWITCHES = 4
CALM_S = 1.0
"""The writers go on for so long, so that their pause is seen whole."""


def measure(rs: MongoCluster) -> list[Figure]:
    """Switch several times under two writers, one whose driver retries and one whose does not; the worst."""
    outages, errors, plans = [], [], []
    with Writer(rs.client(), "retrying") as retrying, Writer(rs.client(retryWrites=False), "plain") as plain:
        for _ in range(SWITCHES):
            began = time.time()
            plans.append(_switch(rs))
            time.sleep(CALM_S)
            outages.append(retrying.largest_gap(began))
            errors.append(len(plain.failures_since(began)))
        began = time.time()
        _step_down(rs)
        time.sleep(CALM_S)
        bare_s = retrying.largest_gap(began)
    written = retrying.count + plain.count
    lost = len(retrying.lost()) + len(plain.lost())
    how = f"2 writers, worst of {SWITCHES} switchovers of {min(plans):.1f} to {max(plans):.1f} s"
    return [
        Figure("switchover_outage", max(outages), 0.5, "s", f"a bare replSetStepDown: {bare_s:.2f} s", how),
        Figure("switchover_lost_writes", lost, 0, "writes", f"{written} were acknowledged", how),
        Figure("switchover_errors_no_retry", max(errors), 1, "errors", "a retrying client: "
               f"{len(retrying.failures)} in all", how),
    ]  # fmt: skip


def _switch(rs: MongoCluster) -> float:
    """To the best member, with bin/st2ha as an operator does it; seconds that the plan took."""
    code, result = Pack(rs).quiet("mongodb_switchover", "member=best", "deployment=lab")
    if code not in (0, 1) or "error" in result:
        raise LabError(f"mongodb_switchover: {result.get('error', result['summary'])}")
    return float(result["elapsed_s"])


def _step_down(rs: MongoCluster) -> None:
    """The server's own command and nothing else; wait for the new primary."""
    with contextlib.suppress(PyMongoError):
        rs.command(rs.primary().name, {"replSetStepDown": 10})
    rs.wait_healthy(30)
