"""The pack's upgrade actions: gather, decide, execute, gather again, report. Entry files call these."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

from pymongo.errors import OperationFailure, PyMongoError

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.errors import BadInput, HaError, WorldChanged
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy.operations import connected
from st2ha.mongodb.copy.work import Clients
from st2ha.plan import Decision
from st2ha.report import Report, clip
from st2ha.st2conf import Options
from st2ha.upgrade import conf, decide, preflight
from st2ha.upgrade.act import Acting
from st2ha.upgrade.assess import assess
from st2ha.upgrade.drain import ABORT, CHOICES, Leftovers
from st2ha.upgrade.ledger import CUT_OVER, CUTTING, PREPARED, RETIRED, ROLLED_BACK, VERIFIED, Ledger
from st2ha.upgrade.phases import BY_NAME, CUTOVER, PHASES
from st2ha.upgrade.scene import Scene, gather, sides
from st2ha.upgrade.settings import Upgrade


@dataclass(frozen=True)
class Desk:
    """What every action works with."""

    deployment: Deployment
    upgrade: Upgrade
    clients: Clients
    ledger: Ledger
    options: Options
    names: conf.Names

    def look(self, files: bool = False) -> Scene:
        """`files`: with the new nodes' st2.conf; without them no new node needs to answer."""
        broker = self.deployment.rabbitmq
        return gather(self.upgrade, self.ledger, self.options, self.names, broker.vhost if broker else None, files)


@contextlib.contextmanager
def desk(deployment: Deployment, deadline_s: float) -> Iterator[Desk]:
    """Everything read that does not change, for the length of a `with`."""
    upgrade: Upgrade = deployment.require("upgrade")
    number_in("parameter `deadline_s`", deadline_s, 1, 86_400)
    options, names = sides(upgrade)
    with connected(deployment.require_mongodb(), deadline_s) as clients:
        ledger = Ledger(clients.quick, conf.database_of(options), names.database, upgrade.lease_s)
        yield Desk(deployment, upgrade, clients, ledger, options, names)


def plan(deployment: Deployment, force: bool = False) -> dict[str, Any]:
    """Every phase's steps and every difference that would be written; writes nothing."""
    began = time.monotonic()
    with desk(deployment, 60.0) as it:
        scene = it.look(files=True)
        rows = []
        for phase in PHASES:
            decision = decide.steps_of(scene, phase)
            rows += [{"phase": phase.name, **step.as_dict()} for step in decision]
        size = it.clients.quick[scene.old_database].command("dbStats")
    diffs = [line for files in scene.files for line in files.edited.diff.splitlines()]
    reasons = decide.downgrade(scene) if not force else []
    facts = {
        "sides": scene.rows(),
        "documents": int(size["objects"]),
        "data_bytes": int(size["dataSize"]),
        "phases": [
            {"phase": each.name, "what": each.what, "proof": each.proof, "undo": ", ".join(each.undo)}
            for each in PHASES
        ],
    }
    words = (
        f"PLAN {scene.old_database} to {scene.names.database}: {len(rows)} steps in {len(PHASES)} phases, nothing done"
    )
    result = {"summary": clip(words), "severity": "warning" if reasons else "ok", "findings": reasons, "details": []}
    return {**result, "facts": facts, "steps": rows, "diff": diffs, "elapsed_s": round(time.monotonic() - began, 3)}


def check_before(deployment: Deployment, force: bool = False) -> Report:
    """The preflight: everything that must hold before the upgrade begins; writes nothing."""
    began = time.monotonic()
    with desk(deployment, 60.0) as it:
        try:
            scene = it.look(files=True)
        except OperationFailure as error:
            if error.code != driver.UNAUTHORIZED:
                raise
            words = f"the user of mongodb.username may not do what an upgrade needs ({driver.words(error)})"
            raise HaError(f"{words}: grant the roles that docs/runbooks/upgrade.md lists") from None
        looked = preflight.gather(deployment, it.clients, scene)
    nodes = [
        {
            "node": name,
            **(
                {"error": each}
                if isinstance(each, str)
                else {"version": each.version or "", "python": each.python or ""}
            ),
        }
        for name, each in looked.nodes.items()
    ]
    healthy = f"{scene.old_database} to {scene.names.database} may begin, {len(nodes)} nodes asked"
    facts = {"sides": scene.rows(), "nodes": nodes}
    return Report("upgrade", healthy, assess(looked, force), facts, time.monotonic() - began)


def status(deployment: Deployment) -> dict[str, Any]:
    """Where the upgrade stands by its ledger, who works on it, and what to do next."""
    began = time.monotonic()
    with desk(deployment, 60.0) as it:
        scene = it.look()
    entry = scene.entry
    last = entry.unfinished
    broken = f", broken off in {last['verb']} {last['target']}" if last and not scene.holder else ""
    next_words = "wait" if scene.holder else NEXT.get(entry.state, "upgrade_plan")
    words = f"OK {scene.old_database} to {scene.names.database} is {entry.state}{broken}; next: {next_words}"
    facts = {"state": entry.state, "holder": scene.holder, "sides": scene.rows(), "window_s": entry.window_s}
    steps = [
        {
            "phase": row["phase"], "verb": row["verb"], "target": row["target"], "at": row["at"].isoformat(),
            "note": str(row.get("note", "no outcome")),
        }
        for row in entry.steps
    ]  # fmt: skip
    return {
        "summary": clip(words.replace("OK", "WARNING", 1) if broken else words),
        "severity": "warning" if broken else "ok",
        "findings": [],
        "details": [],
        "facts": {key: value for key, value in facts.items() if value is not None},
        "steps": steps,
        "elapsed_s": round(time.monotonic() - began, 3),
    }


NEXT = {
    "new": "upgrade_preflight, upgrade_prepare",
    PREPARED: "upgrade_verify",
    VERIFIED: "upgrade_cutover",
    CUTTING: "upgrade_cutover to go on, or upgrade_rollback",
    CUT_OVER: "upgrade_retire after the soak time, or upgrade_rollback",
    ROLLED_BACK: "another upgrade.database and upgrade.vhost for the next attempt",
    RETIRED: "nothing",
}


def prepare(deployment: Deployment, force: bool = False, dry_run: bool = False, deadline_s: float = 7200.0) -> Any:
    """A vhost, a copy and files for the new side."""
    return _phase(
        deployment, "prepare", lambda scene: decide.forward(scene, "prepare", force=force), dry_run, deadline_s
    )


def verify(deployment: Deployment, force: bool = False, dry_run: bool = False, deadline_s: float = 600.0) -> Any:
    """The new side started on its copy."""
    return _phase(deployment, "verify", lambda scene: decide.forward(scene, "verify", force=force), dry_run, deadline_s)


def cutover(
    deployment: Deployment,
    inquiries: str = "wait",
    paused: str = "wait",
    force: bool = False,
    dry_run: bool = False,
    deadline_s: float = 600.0,
) -> Any:
    """Drain, catch-up and cutover as one."""
    for name, value in (("inquiries", inquiries), ("paused", paused)):
        if value not in CHOICES:
            raise BadInput(f"parameter `{name}` is {value!r}: use one of {', '.join(CHOICES)}")
    upgrade: Upgrade = deployment.require("upgrade")
    if ABORT in (inquiries, paused) and upgrade.old.api_url is None:
        raise BadInput("upgrade.old.api_url is missing: executions are canceled there")
    return _phase(
        deployment,
        "cutover",
        lambda scene: decide.cutover(scene, force),
        dry_run,
        deadline_s,
        leftovers=Leftovers(inquiries, paused),
    )


def rollback(
    deployment: Deployment,
    purge: bool = False,
    force: bool = False,
    export_to: str = "/var/tmp",
    dry_run: bool = False,
    deadline_s: float = 600.0,
) -> Any:
    """Back to the old side, from any phase."""
    return _phase(
        deployment,
        "",
        lambda scene: decide.rollback(scene, purge),
        dry_run,
        deadline_s,
        export_to=export_to,
        force=force,
    )


def retire(deployment: Deployment, confirm: Any, dry_run: bool = False, deadline_s: float = 600.0) -> Any:
    """Remove the old side."""
    now = time.time()
    return _phase(deployment, "settle", lambda scene: decide.retire(scene, now, confirm), dry_run, deadline_s)


def _phase(
    deployment: Deployment,
    name: str,
    decision_from: Callable[[Scene], Decision],
    dry_run: bool,
    deadline_s: float,
    **more: Any,
) -> dict[str, Any]:
    """One phase under the lease; its end is written to the ledger when all its steps were done."""
    with desk(deployment, deadline_s) as it:
        leased = False
        acting: list[Acting] = []

        def verbs(scene: Scene) -> Any:
            nonlocal leased
            it.ledger.lease()
            leased = True
            if it.ledger.read().state != scene.entry.state:
                raise WorldChanged("another controller moved this upgrade on meanwhile: see upgrade_status")
            if name in CUTOVER:
                it.ledger.set(state=CUTTING)
            acting.append(Acting(deployment, it.clients, it.ledger, scene, deadline_s, **more))
            return acting[0].verbs()

        try:
            look = functools.partial(it.look, files=name == "prepare")
            result = change(look, decision_from, verbs, lambda _: (), dry_run, deadline_s)
            if result.get("outcome") == "done":
                _close(it, name)
                result["after"] = it.look().rows()
        except PyMongoError as error:
            raise HaError(driver.words(error)) from None
        finally:
            for each in acting:
                each.close()
            if leased:
                with contextlib.suppress(PyMongoError):
                    it.ledger.release()
    if acting and acting[0].window_s is not None:
        result["facts"] = {"window_s": round(acting[0].window_s, 3)}
    return result


def _close(it: Desk, name: str) -> None:
    if name:
        it.ledger.set(state=BY_NAME[name].ends)
        return
    entry = it.ledger.read()
    if entry.switched_at is not None:
        it.ledger.set(state=ROLLED_BACK)
    else:
        purged = any(step["verb"] == "drop_database" for step in entry.steps)
        it.ledger.begin_anew(() if purged else entry.created)
