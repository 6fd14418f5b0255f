"""The verbs of RabbitMQ's plans. Each looks again before it writes, and may be repeated."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from st2ha.change import wait_until
from st2ha.config import Host
from st2ha.errors import DeadlineExceeded, StepFailed, WorldChanged
from st2ha.naming import count
from st2ha.plan import Step, Verb
from st2ha.probe import Unanswered
from st2ha.rabbitmq.client import Api, ApiError, segment
from st2ha.rabbitmq.decide import leader_counts
from st2ha.rabbitmq.facts import Snapshot
from st2ha.rabbitmq.gather import gather
from st2ha.rabbitmq.scene import critical_for, sole_copies
from st2ha.rabbitmq.settings import Rabbitmq
from st2ha.rabbitmq.tool import run_tool

WRITE_S = 30.0
"""What the API may take for a write: a new vhost waits until it runs on every node."""
MOVE_S, SYNC_S, SERVE_S = 60.0, 300.0, 60.0
PAUSE_S = 0.3
STATISTICS_S = 6.0
FORCED_S = 10.0


class Acting:
    """The verbs for one cluster; `snapshot` is the one that the plan was decided from."""

    def __init__(self, settings: Rabbitmq, snapshot: Snapshot) -> None:
        self.settings = settings
        self.snapshot = snapshot
        self.known = {host: snapshot.name_of(host) for host in snapshot.answers}

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "drain": self.drain,
            "leaderless": self.leaderless,
            "safe": self.safe,
            "revive": self.revive,
            "serves": self.serves,
            "rebalance": self.rebalance,
            "settled": self.settled,
            "sync": self.sync,
            "forget": self.forget,
            "put_vhost": self.put_vhost,
            "put_permission": self.put_permission,
            "put_policy": self.put_policy,
            "vhost_works": self.vhost_works,
            "delete_vhost": self.delete_vhost,
        }

    # -- maintenance

    def drain(self, step: Step) -> str:
        self._unchanged(step)
        run_tool(self.settings, self._host(step.target), step.target, ("rabbitmq-upgrade", "drain"))
        return "in maintenance"

    def leaderless(self, step: Step) -> str:
        """Wait until the others say so. Mirrored queues keep their leader until it stops: see `safe`."""

        def left() -> Optional[str]:
            now = self._look()
            if now.content is None:
                return "the queues cannot be read"
            others = now.sides[0] - {step.target}
            replicated = [q for q in now.content.queues if q.kind != "classic" and len(q.members) > 1]
            waiting = [q for q in replicated if q.leader not in others]
            return f"{count(len(waiting), 'quorum queue')} have no leader elsewhere yet" if waiting else None

        return self._patiently(step, left, MOVE_S, "its leaders to move away")

    def safe(self, step: Step) -> str:
        """Wait until the node may be stopped: what the drain was decided on, seen again afterwards."""

        def risk() -> Optional[str]:
            now = self._look()
            if now.content is None:
                return "the cluster does not tell"
            if not now.in_maintenance(step.target):
                return "its listeners are still open, or the others have lost it"
            running = now.sides[0] | {step.target}
            needed = [*critical_for(now.content, step.target, running), *sole_copies(now.content, step.target)]
            return f"{count(len(needed), 'queue')} depend on it" if needed else None

        note = self._patiently(step, risk, MOVE_S, "it to be safe to stop")
        return note if note.startswith("forced") else f"{note}; it may be stopped now"

    def revive(self, step: Step) -> str:
        run_tool(self.settings, self._host(step.target), step.target, ("rabbitmq-upgrade", "revive"))
        return "out of maintenance"

    def serves(self, step: Step) -> str:
        def missing() -> Optional[str]:
            now = self._look(content=False)
            node = now.node(step.target)
            if node is None or node.amqp is not None:
                return "its listeners are closed"
            return "it calls itself drained" if now.in_maintenance(step.target) else None

        return f"serves after {wait_until(missing, SERVE_S, f'{step.target} to serve', PAUSE_S):.1f} s"

    def forget(self, step: Step) -> str:
        self._unchanged(step)
        by = str(step.expect["by"])
        run_tool(self.settings, self._host(by), by, ("rabbitmqctl", "forget_cluster_node", step.target))
        if step.target in self._look(content=False).members:
            raise StepFailed(f"{by} accepted it, yet {step.target} is still a member")
        return f"{by} does not know it any more"

    # -- queues

    def rebalance(self, step: Step) -> str:
        self._unchanged(step)
        self._call("POST", "/api/rebalance/queues")
        return "started"

    def settled(self, step: Step) -> str:
        """It works in the background and says nothing: the leaders tell when they do not move any more."""
        seen: list[dict[str, int]] = []

        def moving() -> Optional[str]:
            counts = leader_counts(self._look())
            even = bool(counts) and max(counts.values()) - min(counts.values()) <= 1
            seen.append(counts)
            still = len(seen) > 8 and all(each == counts for each in seen[-8:])
            return None if even or still else f"leaders move: {counts}"

        wait_until(moving, MOVE_S, "the leaders to settle", PAUSE_S)
        return ", ".join(f"{name} leads {number}" for name, number in seen[-1].items())

    def sync(self, step: Step) -> str:
        vhost, queue = str(step.expect["vhost"]), str(step.expect["queue"])
        path = f"/api/queues/{segment(vhost)}/{segment(queue)}"
        row = self._call("GET", f"{path}?columns=slave_nodes,synchronised_slave_nodes,messages")
        if not set(row.get("slave_nodes") or ()) - set(row.get("synchronised_slave_nodes") or ()):
            return "has everything already"
        self._call("POST", f"{path}/actions", {"action": "sync"})

        def behind() -> Optional[str]:
            now = self._call("GET", f"{path}?columns=slave_nodes,synchronised_slave_nodes")
            lacking = set(now.get("slave_nodes") or ()) - set(now.get("synchronised_slave_nodes") or ())
            return f"{', '.join(sorted(lacking))} behind" if lacking else None

        waited_s = wait_until(behind, SYNC_S, f"{queue} to be synchronised", PAUSE_S)
        return f"{count(int(row.get('messages') or 0), 'message')} on every mirror after {waited_s:.1f} s"

    # -- vhosts

    def put_vhost(self, step: Step) -> str:
        """Up to 3.12 the API calls the type `defaultqueuetype`, and ignores what it does not know."""
        kind = step.expect.get("queue_type")
        body = {"default_queue_type": kind, "defaultqueuetype": kind} if kind else {}
        self._call("PUT", f"/api/vhosts/{segment(step.target)}", body)
        return "there"

    def put_permission(self, step: Step) -> str:
        want = step.expect["permission"]
        body = {"configure": want.configure, "write": want.write, "read": want.read}
        path = f"/api/permissions/{segment(want.vhost)}/{segment(want.user)}"
        self._call("PUT", path, body)
        now = self._call("GET", path)
        if any(now.get(key) != value for key, value in body.items()):
            raise StepFailed(f"the permissions were accepted, yet {path} does not show them")
        return "as wanted"

    def put_policy(self, step: Step) -> str:
        path = f"/api/policies/{segment(step.expect['vhost'])}/{segment(step.expect['policy'])}"
        self._call("PUT", path, dict(step.expect["body"]))
        return "as wanted"

    def vhost_works(self, step: Step) -> str:
        """A node that was starting in that moment does not run a new vhost (measured): it is told to."""
        path = f"/api/vhosts/{segment(step.target)}"
        started: set[str] = set()

        def missing() -> Optional[str]:
            states = self._call("GET", f"{path}?columns=cluster_state").get("cluster_state") or {}
            down = sorted(node for node, state in states.items() if state != "running")
            for node in set(down) - started:
                started.add(node)
                self._call("POST", f"{path}/start/{segment(node)}")
            return f"down on {', '.join(down)}" if down else None

        return f"runs on every node after {wait_until(missing, WRITE_S, f'vhost {step.target} to run', PAUSE_S):.1f} s"

    def delete_vhost(self, step: Step) -> str:
        """Only what the plan has seen is deleted: more messages or connections than then end it, unless forced.

        Counts are up to a statistics interval old (5 s; a quorum queue shows 0 after a move): hence the wait.
        """
        if not step.expect["force"]:
            time.sleep(STATISTICS_S)
        now = gather(self.settings, self.known, connections=True)
        if now.content is None or now.content.connections is None:
            raise WorldChanged("what is in the vhost cannot be read any more")
        messages = sum(queue.messages for queue in now.content.in_vhost(step.target))
        connections = now.content.connections.get(step.target, 0)
        grown = messages > step.expect["messages"] or connections > step.expect["connections"]
        if grown and not step.expect["force"]:
            raise WorldChanged(f"it has {count(messages, 'message')} and {count(connections, 'connection')} by now")
        with contextlib.suppress(_Gone):
            self._call("DELETE", f"/api/vhosts/{segment(step.target)}")
        return "gone"

    # -- inside

    def _look(self, content: bool = True) -> Snapshot:
        return gather(self.settings, self.known, content=content)

    def _patiently(self, step: Step, missing: Any, deadline_s: float, what: str) -> str:
        """A forced plan knows that something may stay: it waits less, and tells what is left."""
        if not step.expect.get("forced"):
            return f"so after {wait_until(missing, deadline_s, what, PAUSE_S):.1f} s"
        try:
            return f"so after {wait_until(missing, FORCED_S, what, PAUSE_S):.1f} s"
        except DeadlineExceeded as late:
            return f"forced: {late}"

    def _unchanged(self, step: Step) -> None:
        sides = self._look(content=False).sides
        running = sorted(sides[0]) if sides else []
        if running != step.expect["running"]:
            raise WorldChanged(
                f"running are {', '.join(running) or 'none'}, the plan saw others: check and decide again"
            )

    def _host(self, name: str) -> Host:
        host = next((host for host, known in self.known.items() if known == name), None)
        if host is None:
            raise WorldChanged(f"{name} is not among the nodes of rabbitmq.hosts: where it runs is unknown")
        return host

    def _call(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> Any:
        """One request to a node of the side that was read."""
        with self._api() as api:
            try:
                return api.call(method, path, WRITE_S, body)
            except Unanswered as silent:
                raise StepFailed(f"{api.host}: {silent.reason}") from None
            except ApiError as error:
                if error.status == 404 and method == "DELETE":
                    raise _Gone(str(error)) from None
                raise StepFailed(f"{api.host} refused: {error.reason}") from None

    @contextlib.contextmanager
    def _api(self) -> Iterator[Api]:
        able = [node for node in self.snapshot.sighted if node.running == self.snapshot.sides[0]]
        first = next((node for node in able if not self.snapshot.in_maintenance(node.name or "")), able[0])
        api = Api(self.settings, first.host)
        try:
            yield api
        finally:
            api.close()


class _Gone(StepFailed):
    """What was to be deleted is not there."""
