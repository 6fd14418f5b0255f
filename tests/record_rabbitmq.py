"""Record tests/facts/rabbitmq anew: each situation is made on real servers, each node's raw replies are kept.

`python -m tests.record_rabbitmq [CASE ...]` writes <case>/facts.json; the expect.yaml beside it is written by hand.
Hosts are renamed mq1, mq2, mq3; the nodes are rabbit1@localhost and so on.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any, Callable, Optional

import requests

from lab.rabbitmq import RabbitCluster
from lab.rabbitmq_access import STACKSTORM_VHOST
from lab.wait import wait_for
from st2ha.config import Host, select
from st2ha.probe import Silence, Silent
from st2ha.rabbitmq.facts import Denied, Node, Snapshot
from st2ha.rabbitmq.gather import gather
from st2ha.rabbitmq.settings import Rabbitmq
from tests.recorded_rabbitmq import FACTS

TIMEOUT_S = 1.5
Condition = Callable[[Snapshot], object]


class Case:
    """One case in the making: the looks taken so far."""

    def __init__(self, rabbit: RabbitCluster) -> None:
        layer: Rabbitmq = select({"deployments": [rabbit.deployment()]}).require("rabbitmq")
        self.rabbit = rabbit
        self.settings = replace(layer, timeout_s=TIMEOUT_S)
        self.known: dict[Host, str] = {}
        self.looks: list[dict[str, Any]] = []

    def look(self, until: Condition = lambda snapshot: True, deadline_s: float = 40) -> None:
        """Gather until the snapshot shows what the case is about, and keep that one."""
        wait_for(lambda: self._look(until), deadline_s, "the situation", interval_s=0.2)

    def _look(self, until: Condition) -> bool:
        replies: dict[Host, dict[str, Any]] = {}
        snapshot = gather(self.settings, self.known, record=replies.__setitem__)
        if not until(snapshot):
            return False
        answers = {str(host): _answer(answer, replies.get(host)) for host, answer in snapshot.answers.items()}
        known = {str(host): name for host, name in snapshot.known.items()}
        amqp_open = sorted(map(str, snapshot.amqp_open))
        self.looks.append({"at": snapshot.at, "amqp_open": amqp_open, "known": known, "answers": answers})
        return True

    def save(self, name: str) -> None:
        """Write facts.json: one line a reply, so that a new recording can be compared with the old one."""
        text = _lines({"looks": self.looks})
        for number, member in enumerate(self.rabbit.members, 1):
            text = text.replace(f"{member.host}:{member.ports[1]}", f"mq{number}:15672")
            text = text.replace(f"{member.host}:{member.port}", f"mq{number}:5672")
        folder = FACTS / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "facts.json").write_text(text)
        print(f"{name}: {len(text) // 1024} kB", flush=True)


def _answer(answer: Any, replies: Optional[dict[str, Any]]) -> dict[str, Any]:
    if isinstance(answer, Node):
        amqp = answer.amqp and {"silence": answer.amqp.kind.value, "reason": answer.amqp.reason}
        more = {"blocked": answer.blocked, "content_missing": answer.content_missing, "amqp": amqp}
        return {"kind": "node", **more, "tls_expires_at": answer.tls_expires_at, "replies": replies or {}}
    if isinstance(answer, Denied):
        return {"kind": "denied", "reason": answer.reason}
    return {"kind": "silent", "silence": answer.kind.value, "reason": answer.reason, "after_s": answer.after_s}


def _lines(value: Any, depth: int = 0) -> str:
    """JSON, broken into lines down to one reply's row."""
    if depth == 8 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_lines(item, depth + 1)}" for key, item in value.items()]
    else:
        parts = [_lines(item, depth + 1) for item in value]
    pad = " " * depth
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{pad} " + f",\n{pad} ".join(parts) + f"\n{pad}{end}" + ("" if depth else "\n")


def fill(rabbit: RabbitCluster) -> None:
    """Mirrored and quorum queues, led by different nodes."""
    rabbit.mirror_all()
    for number, kind in enumerate(("classic", "classic", "quorum", "quorum")):
        rabbit.declare(f"st2.{kind}{number % 2 + 1}", kind, at=f"rabbit{number % 2 + 1}")


def refused(name: str) -> Condition:
    """The other nodes have lost it."""

    def lost(snapshot: Snapshot) -> bool:
        views = snapshot.views_of(name)
        gone = bool(views) and not any(view.running for _, view in views)
        return (
            gone
            and snapshot.content is not None
            and all(name not in queue.online for queue in snapshot.content.queues if queue.kind == "quorum")
        )

    return lost


NODE2 = "rabbit2@localhost"


def healthy3(case: Case) -> None:
    case.look(lambda s: s.content and len(s.content.queues) == 4)


def reading_login(case: Case) -> None:
    login = case.rabbit.logins["st2ha_check"]
    case.settings = replace(case.settings, username=login.username, password=login.password)
    case.look()


def wrong_password(case: Case) -> None:
    case.settings = replace(case.settings, password="not-it")
    case.look()


def no_monitoring_tag(case: Case) -> None:
    login = case.rabbit.logins["st2"]
    case.settings = replace(case.settings, username=login.username, password=login.password)
    case.look()


def node_not_configured(case: Case) -> None:
    hosts, amqp = case.settings.hosts[:2], case.settings.amqp_hosts[:2]
    case.settings = replace(case.settings, hosts=hosts, amqp_hosts=amqp)
    case.look()


def amqp_closed(case: Case) -> None:
    """A firewall before AMQP, as far as we can tell: a port where nobody listens."""
    amqp = (case.settings.amqp_hosts[0], Host("127.0.0.1", 9), case.settings.amqp_hosts[2])
    case.settings = replace(case.settings, amqp_hosts=amqp)
    case.look()


def management_off(case: Case) -> None:
    hosts = (case.settings.hosts[0], Host("127.0.0.1", 9), case.settings.hosts[2])
    case.settings = replace(case.settings, hosts=hosts)
    case.look()


def drained(case: Case) -> None:
    case.rabbit.tool("rabbit2", "rabbitmq-upgrade", "drain")
    try:
        case.look(
            lambda s: s.in_maintenance(NODE2) and s.content and all(q.leader in s.sides[0] for q in s.content.queues)
        )
    finally:
        case.rabbit.tool("rabbit2", "rabbitmq-upgrade", "revive")


def disk_alarm(case: Case) -> None:
    case.rabbit.disk_alarm("rabbit2")
    try:
        case.look(lambda s: any(view.disk_alarm for n in s.nodes for view in n.views))
    finally:
        case.rabbit.clear_alarms("rabbit2")


def memory_alarm(case: Case) -> None:
    case.rabbit.memory_alarm("rabbit2")
    try:
        case.look(lambda s: any(view.memory_alarm for n in s.nodes for view in n.views))
    finally:
        case.rabbit.clear_alarms("rabbit2")


def default_login(case: Case) -> None:
    case.rabbit.api("rabbit1", "PUT", "/api/users/guest", {"password": "guest", "tags": ""})
    try:
        case.look()
    finally:
        case.rabbit.api("rabbit1", "DELETE", "/api/users/guest")


def node_killed(case: Case) -> None:
    case.rabbit.kill("rabbit2")
    case.look(refused(NODE2))


def node_hung(case: Case) -> None:
    """All others wait for it: whatever they tell, they tell without it."""
    case.rabbit.hang("rabbit2")
    case.look(lambda s: all(n.blocked for n in s.nodes))


def node_hung_noticed(case: Case) -> None:
    case.rabbit.hang("rabbit2")
    case.look(lambda s: _hung(s) and refused(NODE2)(s))


def _hung(snapshot: Snapshot) -> bool:
    return any(silent.kind is Silence.HUNG for _, silent in snapshot.of(Silent))


def paused_minority(case: Case) -> None:
    case.rabbit.cut_off("rabbit2", keep_clients=True)
    case.look(lambda s: refused(NODE2)(s) and any(True for _ in s.of(Silent)))


def two_killed(case: Case) -> None:
    """The last one pauses itself: nobody answers."""
    case.rabbit.kill("rabbit2")
    case.rabbit.kill("rabbit3")
    case.look(lambda s: not s.nodes)


def unsynchronised(case: Case) -> None:
    case.rabbit.mirror_all(**{"ha-sync-mode": "manual"})
    case.rabbit.publish("st2.classic1", 20, at="rabbit1")
    for name in ("rabbit2", "rabbit3"):  # a mirror that starts anew under an empty queue has everything
        case.rabbit.kill(name)
        case.rabbit.start(name, 60)
        case.rabbit.wait_healthy()
    case.look(lambda s: s.content and any(q.name == "st2.classic1" and not q.synced for q in s.content.queues))


def single_copies(case: Case) -> None:
    """No policy at all, and the node of one queue is down."""
    case.rabbit.api("rabbit1", "DELETE", f"/api/policies/{STACKSTORM_VHOST}/ha-all")
    case.rabbit.declare("st2.alone", "classic", at="rabbit2")
    case.rabbit.kill("rabbit2")
    case.look(refused(NODE2))


def partitioned(case: Case) -> None:
    case.rabbit.cut_off("rabbit2", keep_clients=True)
    case.look(lambda s: len(s.sides) == 2 and all(n.views for n in s.nodes), 60)


def partition_healed(case: Case) -> None:
    case.rabbit.cut_off("rabbit2", keep_clients=True)
    wait_for(lambda: case.rabbit.running("rabbit2") == {NODE2}, 40, "the cut", retry_on=(requests.RequestException,))
    case.rabbit.heal("rabbit2")
    case.look(lambda s: any(v.partitions for n in s.nodes for v in n.views), 60)


def two(case: Case) -> None:
    case.look()


def two_one_down(case: Case) -> None:
    case.rabbit.kill("rabbit2")
    case.look(refused(NODE2))


SETS: tuple[tuple[dict[str, Any], tuple[Callable[[Case], None], ...]], ...] = (
    (
        {"members": 3},
        (
            healthy3, reading_login, wrong_password, no_monitoring_tag, node_not_configured, amqp_closed,
            management_off, drained, disk_alarm, memory_alarm, default_login, node_killed,
            node_hung, node_hung_noticed, paused_minority, unsynchronised, single_copies, two_killed,
        ),
    ),
    ({"members": 3, "partition_handling": "ignore"}, (partitioned, partition_healed)),
    ({"members": 2, "partition_handling": "autoheal"}, (two, two_one_down)),
)  # fmt: skip


def main(wanted: list[str]) -> int:
    known = [record.__name__ for _, records in SETS for record in records]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"no case {', '.join(unknown)}: there are {', '.join(known)}", file=sys.stderr)
        return 64
    for shape, records in SETS:
        chosen = [record for record in records if not wanted or record.__name__ in wanted]
        if not chosen:
            continue
        with RabbitCluster(**shape) as rabbit:
            fill(rabbit)
            for record in chosen:
                case = Case(rabbit)
                record(case)
                case.save(record.__name__)
                if record is not chosen[-1]:
                    rabbit.restore()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
