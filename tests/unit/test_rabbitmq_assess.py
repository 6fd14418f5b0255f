"""Rules whose cause the lab cannot make quickly: a recorded healthy cluster, changed in one fact."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any, Optional

import pytest

from st2ha.probe import Silence, Silent
from st2ha.rabbitmq.assess import assess, healthy_words
from st2ha.rabbitmq.content import Content, Policy, Queue, Vhost, mirrors_wanted, parse_content
from st2ha.rabbitmq.facts import Snapshot, View
from st2ha.report import Severity
from tests import recorded_rabbitmq as recorded
from tests.recorded_rabbitmq import answered, changed, content, with_content, with_queues, with_view

HEALTHY = recorded.snapshot("healthy3")
CONTENT = content(HEALTHY)
NODES = ("rabbit1@localhost", "rabbit2@localhost", "rabbit3@localhost")
ONE, TWO, THREE = NODES
DAY_S = 86_400
QUORUM = Queue("st2", "st2.q", "quorum", "running", ONE, NODES, NODES)
MIRRORED = Queue("st2", "st2.m", "classic", "running", ONE, NODES, NODES, synced=(TWO, THREE), policy="ha-all")
SINGLE = Queue("st2", "st2.s", "classic", "running", ONE, (ONE,), (ONE,))


@dataclass(frozen=True)
class Made:
    """One situation: what is found, and words that its message must have."""

    snapshot: Snapshot
    expected: str
    says: str
    earlier: Optional[Snapshot] = None
    settings: Optional[dict[str, Any]] = None


def policy(**definition: Any) -> Policy:
    return Policy("st2", "ha-all", ".*", "queues", 0, {"ha-mode": "all", **definition})


def read(queue: Queue, consumers: int = 0) -> Snapshot:
    base = with_queues(HEALTHY, queue)
    return with_content(base, consumers={("st2", queue.name): consumers} if consumers else {})


def everywhere(**facts: Any) -> Snapshot:
    base = HEALTHY
    for name in ("mq1", "mq2", "mq3"):
        base = changed(base, name, **facts)
    return base


def later(base: Snapshot, seconds: float) -> Snapshot:
    return replace(base, at=base.at + seconds)


def lonely(base: Snapshot) -> Snapshot:
    """mq3 is a cluster of its own."""
    for name, members in (("mq1", (ONE, TWO)), ("mq2", (ONE, TWO)), ("mq3", (THREE,))):
        base = changed(base, name, views=tuple(View(member, True) for member in members))
    return base


MADE = {
    "certificate": Made(
        changed(HEALTHY, "mq2", tls_expires_at=HEALTHY.at + 5 * DAY_S), f"WARNING TlsExpiring rabbitmq/{TWO}", "5 days"
    ),
    "descriptors": Made(
        with_view(HEALTHY, "mq1", descriptors=(900, 1000)),
        f"WARNING FileDescriptorsNearLimit rabbitmq/{ONE}",
        "900 of 1000 file descriptors",
    ),
    "sockets": Made(
        with_view(HEALTHY, "mq1", sockets=(900, 1000)),
        f"WARNING FileDescriptorsNearLimit rabbitmq/{ONE}",
        "900 of 1000 sockets",
    ),
    "versions": Made(
        changed(HEALTHY, "mq2", version="3.9.1"), "WARNING CookieOrVersionMix rabbitmq", "rabbit2.* 3.9.1"
    ),
    "strangers": Made(lonely(HEALTHY), "CRITICAL CookieOrVersionMix rabbitmq", "not members of one cluster"),
    "no majority": Made(
        with_queues(HEALTHY, replace(QUORUM, online=(ONE,), leader=None)),
        "CRITICAL QueueWithoutLeader rabbitmq/vhost/st2",
        r"1 queue \(st2.q\)",
    ),
    "down": Made(
        with_queues(HEALTHY, replace(MIRRORED, state="down")), "CRITICAL QueueDown rabbitmq/vhost/st2", "down"
    ),
    "crashed": Made(
        with_queues(HEALTHY, replace(MIRRORED, state="crashed")), "CRITICAL QueueDown rabbitmq/vhost/st2", "crashed"
    ),
    "quorum critical": Made(
        with_queues(HEALTHY, replace(QUORUM, online=(ONE, TWO))),
        f"WARNING QuorumCritical rabbitmq/{ONE}",
        "lose the majority",
    ),
    "one copy": Made(with_queues(HEALTHY, SINGLE), "WARNING NotMirrored rabbitmq/vhost/st2", "one copy"),
    "mirror behind": Made(
        with_queues(HEALTHY, replace(MIRRORED, synced=(TWO,), messages=7)),
        "WARNING MirrorUnsynchronised rabbitmq/vhost/st2",
        "7 messages",
    ),
    "all mirrors behind": Made(
        with_queues(HEALTHY, replace(MIRRORED, synced=())), f"WARNING MirrorSyncCritical rabbitmq/{ONE}", "it alone"
    ),
    "manual synchronisation": Made(
        with_content(HEALTHY, policies=(policy(),)), "WARNING PromoteOnFailureRisk rabbitmq/vhost/st2", "may take over"
    ),
    "ignore": Made(
        HEALTHY, "WARNING PartitionHandlingRisk rabbitmq", "ignore", settings={"partition_handling": "ignore"}
    ),
    "before 4": Made(
        HEALTHY, "WARNING ClassicMirroringRemoved rabbitmq", "4.0 will have", settings={"upgrade_to": "4.0"}
    ),
    "on 4": Made(everywhere(version="4.0.5"), "WARNING ClassicMirroringRemoved rabbitmq", "this version has"),
    "unread": Made(read(replace(QUORUM, ready=3)), "WARNING ConsumersMissing rabbitmq/vhost/st2", "3 messages"),
    "backlog": Made(
        later(read(replace(QUORUM, ready=5000), 1), 1),
        "WARNING BacklogGrowing rabbitmq/vhost/st2",
        "st2.q has 5000",
        earlier=read(replace(QUORUM, ready=4000), 1),
    ),
    "orphans": Made(
        with_content(
            HEALTHY,
            queues=tuple(replace(QUORUM, name=f"st2.sensor.watch.{number}") for number in range(51)),
            consumers={},
        ),
        "WARNING OrphanWatchQueues rabbitmq/vhost/st2",
        "51 watch queues",
    ),
    "uneven": Made(
        with_queues(HEALTHY, *(replace(QUORUM, name=f"st2.{number}") for number in range(12))),
        "WARNING LeadersUnbalanced rabbitmq",
        "rabbit1@localhost 12",
    ),
    "no vhost": Made(
        HEALTHY, "CRITICAL VhostMissing rabbitmq/vhost/nowhere", "no such vhost", settings={"vhost": "nowhere"}
    ),
    "vhost stopped": Made(
        with_content(HEALTHY, vhosts=(Vhost("st2", None, (TWO,)),)), "CRITICAL VhostDown rabbitmq/vhost/st2", "rabbit2"
    ),
    "no permission": Made(
        HEALTHY, "CRITICAL PermissionMissing rabbitmq/vhost/st2", "user nobody", settings={"stackstorm_user": "nobody"}
    ),
    "tls": Made(
        answered(HEALTHY, "mq2", Silent(Silence.TLS, "certificate has expired")),
        f"UNKNOWN TlsFailed rabbitmq/{TWO}",
        "expired",
    ),
    "nonsense": Made(
        answered(HEALTHY, "mq2", Silent(Silence.BROKEN, "no JSON")), f"UNKNOWN NodeUnreadable rabbitmq/{TWO}", "no JSON"
    ),
    "blocked without a hung one": Made(
        changed(HEALTHY, "mq2", name=None, views=(), content=None, blocked="no answer within 1 s"),
        "UNKNOWN TopologyUnknown rabbitmq",
        "waits for a node",
    ),
    "no queues": Made(
        changed(changed(HEALTHY, "mq1", content=None), "mq2", content_missing="HTTP 500: oops"),
        "UNKNOWN QueuesUnknown rabbitmq",
        "oops",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_made_situation_is_found(name: str) -> None:
    made = MADE[name]
    base = made.snapshot
    if name == "no queues":
        for each in ("mq1", "mq2", "mq3"):
            base = changed(base, each, content=None)
    settings = recorded.settings(**(made.settings or {}))
    findings = assess(base, settings, base.at, made.earlier)
    lines = {f"{f.severity.name} {f.code} {f.subject}": f.message for f in findings}
    assert made.expected in lines
    assert re.search(made.says, lines[made.expected])


def test_a_healthy_cluster_is_silent() -> None:
    assert assess(HEALTHY, recorded.settings(), HEALTHY.at) == ()
    assert healthy_words(HEALTHY) == f"3 nodes, {len(CONTENT.queues)} queues"


def test_ten_thousand_bad_queues_are_one_line() -> None:
    many = with_queues(HEALTHY, *(replace(SINGLE, name=f"st2.{number:05}") for number in range(10_000)))
    (finding,) = (f for f in assess(many, recorded.settings(), many.at) if f.code == "NotMirrored")
    assert len(finding.message) < 160
    assert finding.message.startswith("10000 queues (st2.00000, ")


def test_every_message_and_remedy_says_something() -> None:
    for made in MADE.values():
        for finding in assess(
            made.snapshot, recorded.settings(**(made.settings or {})), made.snapshot.at, made.earlier
        ):
            assert finding.message
            assert finding.remedy
            assert finding.severity is not Severity.OK


@pytest.mark.parametrize(
    ("name", "password", "found"), [("guest", "guest", True), ("guest", "other", False), ("st2", "guest", False)]
)
def test_the_default_login_is_told_from_its_hash(name: str, password: str, found: bool) -> None:
    salt = b"salt"
    digest = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    user = {"name": name, "password_hash": digest, "hashing_algorithm": "rabbit_password_hashing_sha256"}
    parsed: Content = parse_content({"queues": [], "users": [user]})
    assert parsed.default_login is found


@pytest.mark.parametrize(
    ("definition", "running", "mirrors"),
    [
        ({"ha-mode": "all"}, 3, 2),
        ({"ha-mode": "all"}, 1, 0),
        ({"ha-mode": "exactly", "ha-params": 2}, 3, 1),
        ({"ha-mode": "exactly", "ha-params": 5}, 3, 2),
        ({"ha-mode": "nodes", "ha-params": [ONE, TWO]}, 3, 1),
        ({"message-ttl": 1000}, 3, 0),
    ],
)
def test_how_many_mirrors_a_policy_gives(definition: dict[str, Any], running: int, mirrors: int) -> None:
    assert mirrors_wanted(definition, running) == mirrors
