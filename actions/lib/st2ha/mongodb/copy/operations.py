"""Copy a database of a replica set; the entry file and the upgrade call these."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pymongo.errors import PyMongoError

from st2ha.change import change
from st2ha.config import Deployment, Mongodb, number_in
from st2ha.errors import BadInput, HaError
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy import decide
from st2ha.mongodb.copy.act import Copying
from st2ha.mongodb.copy.facts import World
from st2ha.mongodb.copy.gather import gather
from st2ha.mongodb.copy.work import Clients
from st2ha.mongodb.gather import gather as gather_set
from st2ha.mongodb.operations import judge, settings_of

QUICK_S = 20.0
MOST_RATE_MB_S = 10_000.0


def copy_database(
    deployment: Deployment,
    source: Any,
    target: Any,
    max_mb_per_s: float = 0.0,
    verify: str = "auto",
    dry_run: bool = False,
    deadline_s: float = 3600.0,
) -> dict[str, Any]:
    """Copy, catch up, prove; run again it goes on where it was, or brings the copy up to date."""
    settings = settings_of(deployment)
    names = decide.checked_names(source, target)
    number_in("parameter `deadline_s`", deadline_s, 1, 86_400)
    rate = number_in("parameter `max_mb_per_s`", max_mb_per_s or 0, 0, MOST_RATE_MB_S) * 1e6
    if verify not in decide.VERIFY:
        raise BadInput(f"parameter `verify` is {verify!r}: use one of {', '.join(decide.VERIFY)}")
    with connected(settings, deadline_s) as clients:
        copying = Copying(clients, *names, rate_bytes_s=rate, deadline_s=deadline_s)
        result = change(
            gather=lambda: _gather(settings, clients, *names),
            decide=lambda world: decide.copy(world, verify),
            verbs=lambda _: copying.verbs(),
            assess=lambda _: judge(settings, gather_set(settings))[1],
            dry_run=dry_run,
            deadline_s=deadline_s,
        )
        copying.close()
    if result.get("outcome") == "done":
        result["facts"] = {"lag_s": round(copying.lag_s or 0.0, 3), "source": names[0], "target": names[1]}
    return result


@contextlib.contextmanager
def connected(settings: Mongodb, deadline_s: float) -> Iterator[Clients]:
    """Clients of the set for the length of a `with`; what the driver meets there becomes one HaError sentence."""
    quick = driver.set_client(settings, max(settings.timeout_s, QUICK_S))
    patient = driver.set_client(settings, max(settings.timeout_s, deadline_s))
    try:
        yield Clients(quick, patient)
    except PyMongoError as error:
        raise HaError(driver.words(error)) from None
    finally:
        quick.close()
        patient.close()


def _gather(settings: Mongodb, clients: Clients, source: str, target: str) -> World:
    return gather(settings, clients.quick, source, target)
