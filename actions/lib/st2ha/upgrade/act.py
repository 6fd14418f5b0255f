"""The verbs of an upgrade's plans. Each finds out first whether it is done, so that a killed upgrade is run again."""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Mapping
from typing import Any, Optional

from bson import ObjectId, json_util
from pymongo.errors import OperationFailure

from st2ha.change import wait_until
from st2ha.edge import operations as edge
from st2ha.errors import DeadlineExceeded, HaError, HostError, StepFailed
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy import decide as copy_decide
from st2ha.mongodb.copy.gather import gather as gather_copy
from st2ha.naming import count
from st2ha.plan import Journal, Refused, Step, Verb, execute
from st2ha.rabbitmq import changes as rabbitmq
from st2ha.rabbitmq.operations import settings_of
from st2ha.upgrade import canary, conf, drain, keys, render
from st2ha.upgrade.parts import Parts, note
from st2ha.upgrade.phases import PHASES, phase_of
from st2ha.upgrade.settings import EDGE

CANARY_S, START_S = 30.0, 180.0
"""In the window, and before it: eight services that start at once on a busy node took more than half a minute."""
DRAIN_BACK_S, GRACE_S, FREE_S, BACK_S = 20.0, 0.5, 30.0, 15.0
VHOST, DATABASE = "vhost", "database"


class Acting(Parts):
    """The verbs for one upgrade."""

    def verbs(self) -> Mapping[str, Verb]:
        """Each recorded in the ledger under its phase."""
        names = [verb for phase in PHASES for verb in (*phase.steps, *phase.undo)]
        return {name: self.ledger.recorded(phase_of(name), getattr(self, name)) for name in names}

    # -- prepare

    def create_vhost(self, step: Step) -> str:
        settings = settings_of(self.deployment)
        user = settings.stackstorm_user
        if not user:
            raise HaError("rabbitmq.stackstorm_user is not set: name StackStorm's user of the broker")
        more = {"copy_policies_from": self.scene.old_vhost}
        if not self.vhost_exists():
            self.ledger.created(VHOST)
        elif VHOST not in self.ledger.read().created:
            raise StepFailed(f"the vhost {step.target} exists and this upgrade did not make it: set upgrade.vhost")
        result = rabbitmq.vhost_create(self.deployment, step.target, user, more, False, self.part_s())
        return note(result)

    def copy_database(self, step: Step) -> str:
        settings = self.deployment.require_mongodb()
        pair = self.scene.old_database, step.target
        world = driver.through_election(lambda: gather_copy(settings, self.clients.quick, *pair))
        decision = copy_decide.copy(world, "snapshot")
        if isinstance(decision, Refused):
            raise StepFailed(decision.sentence())
        if world.record is None:
            self.ledger.created(DATABASE)
        outcome = execute(decision, self.copying.verbs(), self.left_s(), Journal())
        if outcome.status != "done":
            raise StepFailed(outcome.reason)
        return f"{len(world.source_parts)} collections, {world.needed_bytes / 1e6:.0f} MB, equal"

    def write_conf(self, step: Step) -> str:
        return render.write_conf(self.upgrade, step.expect["files"])

    def migrate(self, step: Step) -> str:
        self.door(step.target).run(list(self.upgrade.migrate), self.left_s())
        return "ran"

    # -- verify

    def prove_copy(self, step: Step) -> str:
        if self.new_side_wrote() or self.upgrade.migrate:
            return "was proved before anything else wrote to it"
        return self.copy_verb("verify", step, {"how": "snapshot"})

    def start_work(self, step: Step) -> str:
        return self.service("start", step)

    def canary_new(self, step: Step) -> str:
        number, took_s = canary.run(self.api(step.target), START_S)
        old = self.upgrade.old.api_url
        if old is not None and canary.knows(self.api(old), number):
            raise StepFailed(f"the old side knows the canary {number} of the new one: they are not apart")
        if self.executed(self.scene.old_database, number):
            raise StepFailed(f"the canary {number} is in {self.scene.old_database}: the new side writes to the old one")
        return f"succeeded in {took_s:.2f} s, and the old side does not know it"

    def prove_paths(self, step: Step) -> str:
        """A service that the switch would find dead in the window is found here."""
        return f"all answered after {self.answering(step.target, START_S):.2f} s"

    # -- drain, catch-up, cutover

    def catch_up_first(self, step: Step) -> str:
        """Also the first look at what is open: a broker that does not answer is found before the window."""
        self.still_open(self.scene.old_database, self.scene.old_urls)
        return self.brought_over("changed documents are the same on both sides, before the window")

    def plan_switch(self, step: Step) -> str:
        """In the window nothing is left but to carry it out."""
        seen = self.look_at_balancers(step.target)
        return note(edge.switch(self.deployment, step.target, force=self.force, dry_run=True, seen=seen))

    def stop_inflow(self, step: Step) -> str:
        return self.service("stop", step)

    def wait_drained(self, step: Step) -> str:
        waited_s = self.drained(self.upgrade.drain_s)
        return f"nothing is open after {waited_s:.2f} s"

    def catch_up(self, step: Step) -> str:
        return self.brought_over("changed documents are the same on both sides")

    def switch(self, step: Step) -> str:
        self.ledger.begin_switch()
        return self.switch_to(step)

    def finish_old(self, step: Step) -> str:
        """Requests that the old side took before the switch are executed there; their traces come over."""
        time.sleep(max(0.0, self.switched + GRACE_S - time.monotonic()))  # an old worker may still hand a request on
        waited_s = self.drained(self.upgrade.drain_s)
        if not self.handed_over():
            self.ledger.set(followed_mark=self.mark())
        return f"{self.brought_over('late documents came over')}; drained after {waited_s:.2f} s"

    def hand_over(self, step: Step) -> str:
        if not self.handed_over():
            driver.through_election(self.copying.hand_over)
        if self.ledger.read().handed_over_at is None:
            self.ledger.set(handed_over_at=_utc())
        return "the copy is the new side's"

    def start_inflow(self, step: Step) -> str:
        note = self.service("start", step)
        closed_at = self.ledger.read().closed_at
        if closed_at is not None:
            self.window_s = (_utc() - closed_at).total_seconds()
            self.ledger.set(window_s=round(self.window_s, 3))
        return note

    def canary_vip(self, step: Step) -> str:
        number, took_s = canary.run(self.api(step.target), CANARY_S)
        if not self.executed(self.names.database, number):
            raise StepFailed(f"the canary {number} through the balancers did not run on the new side")
        return f"succeeded on the new side in {took_s:.2f} s"

    def end_streams(self, step: Step) -> str:
        """A balancer's old workers keep connections that do not end by themselves; StackStorm's are st2stream's."""
        return f"{self.service('stop', step)}; {self.service('start', step)}"

    # -- back

    def start_streams_old(self, step: Step) -> str:
        return self.service("start", step)

    def stop_inflow_new(self, step: Step) -> str:
        return self.stop_new(step)

    def switch_back(self, step: Step) -> str:
        """What was restarted a moment ago may not answer yet; what does not answer at all is named by the switch."""
        if step.target == EDGE and not self.force:
            with contextlib.suppress(DeadlineExceeded):
                self.answering(str(self.upgrade.old.group), BACK_S)
        return self.switch_to(step)

    def start_inflow_old(self, step: Step) -> str:
        return self.service("start", step)

    def stop_work(self, step: Step) -> str:
        return self.stop_new(step)

    def drain_new(self, step: Step) -> str:
        """What users began on the new side ends there. The way back does not fail for what does not end."""
        urls = [conf.with_vhost(url, self.names.vhost) for url in self.scene.old_urls]
        try:
            waited_s = self.empty(self.names.database, urls, min(DRAIN_BACK_S, self.upgrade.drain_s))
        except DeadlineExceeded as late:
            return f"{late}: they are in the export"
        return f"nothing is open after {waited_s:.2f} s"

    def return_keys(self, step: Step) -> str:
        """Datastore keys that changed on the new side; what cannot be told or written stays with the export."""
        entry = self.ledger.read()
        if entry.switched_mark is None:
            return "the new side was not reached"
        since = entry.switched_mark, entry.followed_mark or entry.switched_mark
        pair = self.names.database, self.scene.old_database
        try:
            done = keys.bring_back(self.clients.quick, *pair, since, self.mark())
        except OperationFailure as error:
            return f"no key was brought back ({driver.words(error)}): compare those in the export"
        left = f", as they were, changed on both sides: {', '.join(done.left)[:120]}" if done.left else ""
        return f"{count(done.number, 'datastore key')} brought back{left}"

    def export_new(self, step: Step) -> str:
        """What was made on the new side since the switch: a JSON document a line, readable by its owner alone."""
        began = self.ledger.read().switched_at
        wanted = {"_id": {"$gte": ObjectId.from_datetime(began)}} if began else {}
        database, told = self.clients.patient[self.names.database], list[str]()
        for kind, names in exported(database.list_collection_names(filter={"type": "collection"})).items():
            path, number = f"{self.export_to}/{self.names.database}-{kind}.json", 0
            with open(path, "w", encoding="utf-8", opener=_private) as file:
                for name in names:
                    for document in database[name].find(wanted):
                        row = document if name == drain.EXECUTION else {"collection": name, "document": document}
                        file.write(json_util.dumps(row) + "\n")
                        number += 1
            told.append(f"{number} {kind} in {path}")
        return f"of the new side: {', '.join(told)}; {self.names.database} is kept"

    def restore_conf(self, step: Step) -> str:
        try:
            return render.restore_conf(self.upgrade, self.upgrade.node(step.target))
        except HostError as error:
            if not self.force:
                raise
            return f"{error}: gone on by force, {render.backup_of(self.upgrade.node(step.target))} is the former file"

    def drop_database(self, step: Step) -> str:
        if DATABASE not in self.ledger.read().created:
            return "was not made by this upgrade: kept"
        if self.handed_over() or self.ledger.read().switched_at:
            return "the new side worked with it: kept"
        self.copying.close()
        self.clients.patient.drop_database(step.target)
        self.copying.forget()
        return "dropped"

    def delete_vhost(self, step: Step) -> str:
        if VHOST not in self.ledger.read().created:
            return "was not made by this upgrade: kept"
        result = rabbitmq.vhost_delete(self.deployment, step.target, True, False, self.part_s())
        return note(result)

    # -- settle

    def stop_old(self, step: Step) -> str:
        return self.service("stop", step)

    def delete_old_vhost(self, step: Step) -> str:
        """The broker's numbers are seconds old: the connections of what was stopped just now are waited for."""
        result: dict[str, Any] = {}

        def used() -> Optional[str]:
            result.update(rabbitmq.vhost_delete(self.deployment, step.target, False, False, self.part_s()))
            words = str(result.pop("error", ""))
            result.update({"error": words} if words else {})
            return words if "connection" in words else None

        wait_until(used, min(FREE_S, self.left_s()), f"the vhost {step.target} to be free", pause_s=1.0)
        return note(result)

    def drop_old_database(self, step: Step) -> str:
        """Only if nothing is written to it and no client of it is left."""
        before = self.stamp(step.target)
        time.sleep(2.0)
        if self.stamp(step.target) != before:
            raise StepFailed(f"{step.target} is still written to: find the node that uses it, stop it")
        self.clients.patient.drop_database(step.target)
        return "dropped"


def exported(names: list[str]) -> dict[str, list[str]]:
    """Collections whose documents are executions, and the others that people or sensors make something in."""
    left_out = {*drain.EXECUTIONS, drain.SCHEDULING, drain.TRIGGERS, "token_d_b", "action_execution_output_d_b"}
    others = sorted(name for name in names if name not in left_out and not name.startswith("system."))
    return {"executions": [drain.EXECUTION], "others": others}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
