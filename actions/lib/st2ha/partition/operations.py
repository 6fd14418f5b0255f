"""The pack's actions about sensor partitioning that change nothing. Entry files call these."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Callable, Optional

from st2ha.config import Deployment
from st2ha.errors import BadInput
from st2ha.partition import inputs
from st2ha.partition.artifacts import told_by_keys
from st2ha.partition.assess import assess, healthy_words
from st2ha.partition.fleet import Fleet, Sensor, checked
from st2ha.partition.gather import gather
from st2ha.partition.hash import sensor_hash
from st2ha.partition.plan import plan, result_of
from st2ha.partition.providers import Container, Ownership, key_of
from st2ha.partition.settings import PARTITION_FILE, Sensors
from st2ha.report import Report, clip

TITLE = "Sensors"
PROVIDERS = ("hash", "kvstore", "file")
MOVES = ("few", "any")


def check(deployment: Deployment, timeout_s: Optional[float] = None) -> Report:
    """What every node is told and runs, held against StackStorm's sensors, registry and last events."""
    began = time.monotonic()
    settings: Sensors = deployment.require("sensors", timeout_s)
    snapshot = gather(deployment, settings).snapshot
    facts = {
        "nodes": snapshot.rows(),
        "sensors": len(snapshot.sensors),
        "enabled": len(snapshot.enabled),
        "containers": None if snapshot.members is None else len(snapshot.members),
        "timer_engines": None if snapshot.timers is None else len(snapshot.timers),
        "events": len(snapshot.events),
    }
    findings = assess(snapshot, settings.limits)
    return Report(TITLE, healthy_words(snapshot), findings, facts, time.monotonic() - began)


def lookup(find: Callable[[], Deployment], named: bool, refs: Any, today: Any = None) -> dict[str, Any]:
    """Hash and owner of each reference. `find` gives the deployment; it is asked unless `today` is given.

    Without a `deployment` (`named`) and without a configured fleet the hashes are told alone.
    """
    began = time.monotonic()
    wanted = inputs.refs_from(refs)
    told = inputs.today_from(today)
    if told is None:
        settings = _fleet_of(find, needed=named)
        told = None if settings is None else _today(settings, find)
    ownership = None if told is None else Ownership(told)
    rows = [_lookup_row(ref, ownership) for ref in wanted]
    odd = 0 if told is None else sum(row["owners"] != 1 for row in rows)
    words = (
        "hashes only, no partition is known" if told is None else f"{len(rows) - odd} have one owner, {odd} have not"
    )
    return {
        "summary": clip(f"OK {len(rows)} looked up: {words}" if not odd else f"WARNING {len(rows)} looked up: {words}"),
        "severity": "warning" if odd else "ok",
        "findings": [],
        "details": [],
        "facts": {"sensors": [{name: row[name] for name in ("ref", "hash", "owner")} for row in rows]},
        "elapsed_s": round(time.monotonic() - began, 4),
        "sensors": [{name: row[name] for name in ("ref", "hash", "owner")} for row in rows],
    }


def _lookup_row(ref: str, ownership: Optional[Ownership]) -> dict[str, Any]:
    number = sensor_hash(ref)
    owners = () if ownership is None else ownership.owners(ref, number)
    return {"ref": ref, "hash": number, "owner": ", ".join(owners) or None, "owners": len(owners)}


def make_plan(find: Callable[[], Deployment], named: bool, **given: Any) -> dict[str, Any]:
    """The plan for a fleet; `given` are the action's parameters, those not given are None.

    The configuration is used where a deployment is named, or where it must tell the nodes or the sensors.
    """
    began = time.monotonic()
    provider = inputs.one_of("provider", given.get("provider") or "hash", PROVIDERS)
    moves = inputs.one_of("moves", given.get("moves") or "few", MOVES)
    listed = bool(given.get("sensors") or given.get("sensors_file"))
    settings = _fleet_of(find, needed=True) if named or not (given.get("nodes") and listed) else None
    nodes = inputs.nodes_from(given["nodes"]) if given.get("nodes") else settings.nodes if settings else ()
    today = inputs.today_from(given.get("today"), "file" if provider == "file" else "kvstore")
    if today is None and settings is not None:
        today = _today(settings, find)
    names = {node.name for node in nodes}
    fleet = Fleet(
        nodes=nodes,
        sensors=inputs.with_costs(_sensors(find, given), settings.costs if settings else {}),
        preferred=inputs.wishes_from("preferred", given.get("preferred") or ())
        + tuple(wish for wish in (settings.preferred if settings else ()) if wish.node in names),
        never=inputs.wishes_from("never", given.get("never") or ())
        + tuple(wish for wish in (settings.never if settings else ()) if wish.node in names),
        today=today,
    )
    file = _file_path(given.get("partition_file") or (settings.partition_file if settings else PARTITION_FILE))
    made = plan(checked(fleet), provider, keep=moves == "few")
    result = result_of(made, file)
    return {**result, "summary": clip(result["summary"]), "elapsed_s": round(time.monotonic() - began, 4)}


def _sensors(find: Callable[[], Deployment], given: dict[str, Any]) -> Iterable[Sensor]:
    """From exactly one place: parameters, a file, or StackStorm's API."""
    cost_by = inputs.one_of("cost_by", given.get("cost_by") or "equal", inputs.COSTS)
    if given.get("sensors") and given.get("sensors_file"):
        raise BadInput("parameters `sensors` and `sensors_file` are both given: give one of them")
    if given.get("sensors"):
        return inputs.sensors_from(given["sensors"])
    if given.get("sensors_file"):
        return inputs.sensors_in_file(str(given["sensors_file"]), cost_by)
    from st2ha.platform.api import Api

    with Api(find().require("stackstorm")) as api:
        return inputs.sensors_in_rows(api.sensors(), cost_by, "StackStorm's API: ")


def _fleet_of(find: Callable[[], Deployment], needed: bool) -> Optional[Sensors]:
    """The layer `sensors`; None if it is not needed and not there."""
    try:
        found: Sensors = find().require("sensors")
    except BadInput:
        if needed:
            raise
        return None
    return found


def _today(settings: Sensors, find: Callable[[], Deployment]) -> Optional[tuple[Container, ...]]:
    """What the containers are told now, as far as it can be read from here; None: not known."""
    if any(place.prefix is not None for place in settings.places):
        read = gather(find(), settings).snapshot.read
        return tuple(replace(told, node=node.name) for node in read if (told := node.container) is not None) or None
    names = [node.name for node in settings.nodes]
    if settings.provider == "file":
        return inputs.today_in_file(settings.partition_file, names)
    if settings.provider != "kvstore":
        return settings.told_by_config()
    from st2ha.platform.api import Api

    with Api(find().require("stackstorm")) as api:
        return told_by_keys({name: api.key(key_of(name)) for name in names})


def _file_path(path: Any) -> str:
    """st2.conf splits the provider's settings at commas, so that a path may not have one."""
    text = str(path)
    if not os.path.isabs(text) or any(sign in text for sign in ",$\n\"'"):
        raise BadInput(f"parameter `partition_file` is {text!r}: give an absolute path without comma, quote and $")
    return text
