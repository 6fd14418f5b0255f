"""What several verbs of an upgrade are made of: services, balancers, what is open, what came over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional

from bson import ObjectId
from bson.timestamp import Timestamp
from pymongo.errors import PyMongoError

from st2ha.change import wait_until
from st2ha.config import Deployment
from st2ha.edge import operations as edge
from st2ha.errors import HaError, HostError, StepFailed
from st2ha.hosts import Door
from st2ha.mongodb import client as driver
from st2ha.mongodb.copy import decide as copy_decide
from st2ha.mongodb.copy.act import Copying
from st2ha.mongodb.copy.gather import in_parallel, read_record
from st2ha.mongodb.copy.work import Clients
from st2ha.plan import Step
from st2ha.rabbitmq.gather import gather as gather_rabbitmq
from st2ha.rabbitmq.operations import settings_of
from st2ha.upgrade import canary, drain
from st2ha.upgrade.ledger import Ledger
from st2ha.upgrade.queues import Queues
from st2ha.upgrade.scene import Scene
from st2ha.upgrade.settings import EDGE, Node

WITHOUT = frozenset({drain.SCHEDULING})
"""What is to be executed next is not copied: the new side's scheduler would execute it a second time."""
POLL_S = 0.05
FRESH_S = 10.0
"""So old may be the look at the balancers upon which their switch is decided."""


class Parts:
    """The verbs for one upgrade; `leftovers`: what becomes of inquiries and paused executions."""

    def __init__(
        self, deployment: Deployment, clients: Clients, ledger: Ledger, scene: Scene, deadline_s: float,
        leftovers: drain.Leftovers = drain.WAIT_FOR_ALL, export_to: str = "/var/tmp", force: bool = False,
    ) -> None:  # fmt: skip
        self.deployment, self.clients, self.ledger, self.scene = deployment, clients, ledger, scene
        self.upgrade, self.names = scene.upgrade, scene.names
        self.leftovers, self.export_to, self.force = leftovers, export_to, force
        self.end = time.monotonic() + deadline_s
        pair = scene.old_database, scene.names.database
        self.copying = Copying(clients, *pair, rate_bytes_s=0, deadline_s=deadline_s, without=WITHOUT)
        self.window_s: Optional[float] = None
        self.switched = time.monotonic()
        self._queues: dict[str, Queues] = {}
        self._seen: dict[str, tuple[float, Any]] = {}

    def close(self) -> None:
        self.copying.close()
        for each in self._queues.values():
            each.close()

    def stop_new(self, step: Step) -> str:
        return self.service("stop", step, self.force)

    def drained(self, limit_s: float) -> float:
        self.abort_leftovers()
        return self.empty(self.scene.old_database, self.scene.old_urls, limit_s)

    def abort_leftovers(self) -> None:
        """Cancel what waits for people and is not to be waited for; the drain waits for its end."""
        if drain.ABORT not in (self.leftovers.inquiries, self.leftovers.paused):
            return
        for number in self.still_open(self.scene.old_database, self.scene.old_urls).to_abort(self.leftovers):
            canary.cancel(self.api(str(self.upgrade.old.api_url)), number)

    def empty(self, database: str, urls: list[str], limit_s: float) -> float:
        def missing() -> Optional[str]:
            try:
                return self.still_open(database, urls).missing(self.leftovers)
            except (HaError, PyMongoError) as error:  # an election or a lost broker is waited for, too
                return str(error) if isinstance(error, HaError) else driver.words(error)

        return wait_until(missing, min(limit_s, self.left_s()), f"{database} to run empty", pause_s=POLL_S)

    def still_open(self, database: str, urls: list[str]) -> drain.Open:
        """The connection to the broker stays until close()."""
        queues = self._queues.setdefault(database, Queues(urls, self.upgrade.timeout_s))
        return drain.look(self.clients.quick, database, queues)

    def brought_over(self, words: str) -> str:
        if self.handed_over():
            return "was handed over already"
        before = self.copying.follower.applied if self.copying.follower else 0
        took_s = self.copying.follow(self.left_s())
        follower = self.copying.follower
        if follower is None:
            raise StepFailed("the change stream ended: run this again")
        if follower.unequal:
            raise StepFailed(f"{len(follower.unequal)} documents differ, the first is {follower.unequal[0]}")
        return f"{max(0, follower.applied - before)} {words} after {took_s:.2f} s"

    def copy_verb(self, verb: str, step: Step, expect: Mapping[str, Any]) -> str:
        return self.copying.verbs()[verb](Step(verb, step.target, step.because, expect))

    def new_side_wrote(self) -> bool:
        return any(row["verb"] == "start_work" for row in self.ledger.read().steps)

    def handed_over(self) -> bool:
        pair = self.scene.old_database, self.names.database
        record = driver.through_election(lambda: read_record(self.clients.quick, *pair))
        return record is not None and record.state == copy_decide.HANDED_OVER

    def mark(self) -> Timestamp:
        """A cluster time before which lies all that was acknowledged until now."""
        return driver.through_election(self.copying.mark)

    def executed(self, database: str, number: str) -> bool:
        """Whether this execution is on record there."""
        wanted = {"_id": ObjectId(number) if ObjectId.is_valid(number) else number}
        executions = self.clients.quick[database][drain.EXECUTION]
        return driver.through_election(lambda: executions.find_one(wanted)) is not None

    def switch_to(self, step: Step) -> str:
        told = self._switch_to(step)
        self.switched = time.monotonic()
        return told

    def _switch_to(self, step: Step) -> str:
        if step.target == EDGE:
            group = (self.upgrade.new if step.expect["side"] == "new" else self.upgrade.old).group
            deadline_s = min(60.0, self.left_s())
            seen = self._fresh(str(group)) or edge.look(self.deployment, str(group))
            result = edge.switch(self.deployment, str(group), force=self.force, deadline_s=deadline_s, seen=seen)
            if "error" in result and step.verb == "switch_back" and edge.astray(self.deployment, str(group)) is None:
                return f"clients go to {group}, as before; not made anew: {result['error'][:160]}"
            return note(result)
        places = {"balancer": step.target, "side": step.expect["side"]}
        words = [word.format(**places) for word in self.upgrade.switch]
        told = Door().run(words, min(60.0, self.left_s())).decode("utf-8", "replace").split("\n")[0]
        return told[:200] or f"switched to the {step.expect['side']} side"

    def look_at_balancers(self, group: str) -> Any:
        """What their switch is decided upon, if that comes soon."""
        self._seen[group] = time.monotonic(), edge.look(self.deployment, group)
        return self._seen[group][1]

    def _fresh(self, group: str) -> Any:
        """Once: a switch makes another world."""
        at, seen = self._seen.pop(group, (0.0, None))
        return seen if time.monotonic() - at < FRESH_S else None

    def answering(self, group: str, limit_s: float) -> float:
        """Wait until each service of each node of a group answers as balancers will ask it."""

        def missing() -> Optional[str]:
            return "; ".join(edge.unfit(self.deployment, group)) or None

        return wait_until(missing, min(limit_s, self.left_s()), f"all services of {group} to answer", pause_s=0.2)

    def service(self, what: str, step: Step, force: bool = False) -> str:
        """On all its nodes at once: the window waits for the slowest. `force`: without one that is not reached."""
        own: Mapping[str, tuple[str, ...]] = step.expect["services"]

        def tell(node: str) -> str:
            words = f"{what}: {', '.join(own[node])}"
            try:
                self.door(node).run([*self.upgrade.service_command, what, *own[node]], min(120.0, self.left_s()))
            except HostError as error:
                if not force:
                    raise StepFailed(f"{node}: {error}") from None
                words = f"{node}: {error}: gone on by force, make sure that this node is off"
            return words

        return "; ".join(dict.fromkeys(in_parallel(tell, own, len(own))))

    def door(self, name: str) -> Door:
        node: Node = self.upgrade.node(name)
        return self.upgrade.door(node)

    def api(self, url: str) -> Any:
        return canary.settings_for(self.deployment.stackstorm, url)

    def vhost_exists(self) -> bool:
        content = gather_rabbitmq(settings_of(self.deployment)).content
        if content is None:
            raise HaError("the broker's vhosts could not be read: run rabbitmq_check")
        return content.vhost(self.names.vhost) is not None

    def stamp(self, database: str) -> list[Any]:
        rows = self.clients.quick[database].command("dbStats")
        return [rows["objects"], rows["dataSize"]]

    def part_s(self) -> float:
        """What is left, as the actions of a layer take it."""
        return min(3600.0, self.left_s())

    def left_s(self) -> float:
        return max(1.0, self.end - time.monotonic())


def note(result: Mapping[str, Any]) -> str:
    """A part's result as a step's note; its failure as ours."""
    if "error" in result:
        raise StepFailed(str(result["error"]))
    return str(result["summary"])
