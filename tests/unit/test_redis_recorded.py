"""Redis' rules and decisions: recorded facts of real servers, and small changes of healthy ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from st2ha.config import Host, Section, select
from st2ha.errors import BadInput
from st2ha.plan import Decision, Refused
from st2ha.probe import Silence, Silent
from st2ha.redis import decide
from st2ha.redis.assess import assess, healthy_words
from st2ha.redis.facts import Denied, Snapshot
from st2ha.redis.settings import parse
from tests import recorded_redis as recorded
from tests.recorded_redis import SETTINGS, answered, changed

HUNG = Silent(Silence.HUNG, "accepts connections, no answer within 3 s", 3.0)
REFUSED = Silent(Silence.REFUSED, "connection refused", 0.0)
GONE = Silent(Silence.UNREACHABLE, "no connection: timed out", 3.0)


def found(snapshot: Snapshot, **settings: Any) -> list[str]:
    findings = assess(snapshot, replace(SETTINGS, **settings), snapshot.at)
    return [f"{each.severity.word} {each.code} {each.subject.removeprefix('redis/st2')}".strip() for each in findings]


def told(decision: Decision) -> Any:
    if isinstance(decision, Refused):
        return decision.sentence()
    return [f"{step.verb} {step.target.split(':')[0]}" for step in decision.steps] or decision.goal


@pytest.mark.parametrize("case", recorded.CASES)
def test_a_recorded_case(case: str) -> None:
    snapshot, expected = recorded.snapshot(case), recorded.expectations(case)
    assert found(snapshot) == (expected["findings"] or [])
    if "switchover" in expected:
        assert told(decide.switchover(snapshot, SETTINGS)) == expected["switchover"]


@pytest.fixture
def well() -> Snapshot:
    return recorded.snapshot("healthy")


def test_nothing_is_found_where_all_is_well(well: Snapshot) -> None:
    assert found(well) == []
    assert healthy_words(well) == "3 servers, primary redis1:6379, 3 Sentinels"
    assert [row["state"] for row in well.rows()] == ["PRIMARY", "REPLICA", "REPLICA", *["sentinel"] * 3]


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("redis2", {"policy": "volatile-ttl", "memory_limit_bytes": 2**40}, "EvictionDropsLocks /redis2:6379"),
        ("redis2", {"memory_bytes": 9, "memory_limit_bytes": 10}, "MemoryNearLimit /redis2:6379"),
        ("redis3", {"clients": 90, "clients_limit": 100}, "ConnectionsNearLimit /redis3:6379"),
        ("redis3", {"latency_s": 0.2}, "LatencyHigh /redis3:6379"),
        ("redis1", {"guard": (0, 10)}, "UnguardedPrimary /redis1:6379"),
        ("redis2", {"read_only": False}, "ReplicaWritable /redis2:6379"),
        ("redis2", {"version": (7, 2, 1)}, "VersionMix"),
        ("redis2", {"offset": 0, "replid": None}, None),
        ("sentinel1", {"others": 1}, "SentinelMisinformed /sentinel/sentinel1:26379"),
        ("sentinel1", {"replicas": {"redis2:6379": 100}}, "SentinelMisinformed /sentinel/sentinel1:26379"),
    ],
)
def test_one_thing_is_wrong(well: Snapshot, name: str, facts: dict[str, Any], expected: Any) -> None:
    assert found(changed(well, name, **facts)) == ([f"warning {expected}"] if expected else [])


def test_a_replica_that_is_far_behind(well: Snapshot) -> None:
    primary = well.primary
    assert primary is not None
    assert found(changed(well, "redis1", offset=primary.offset + 20_000_000)) == [
        "warning ReplicaLagging /redis2:6379",
        "warning ReplicaLagging /redis3:6379",
    ]


def test_what_drops_locks_already_is_critical(well: Snapshot) -> None:
    dropping = changed(well, "redis1", policy="allkeys-lru", memory_limit_bytes=2**40, evicted=3)
    assert found(dropping) == ["critical EvictionDropsLocks /redis1:6379"]
    assert found(changed(well, "redis1", policy="allkeys-lru", memory_limit_bytes=0)) == []


def test_a_primary_that_is_closed_to_us_is_unknown(well: Snapshot) -> None:
    host = next(iter(well.answers))
    assert found(answered(well, "redis1", Denied(host, "WRONGPASS"))) == [
        "unknown PrimaryUnknown",
        "unknown AuthFailed /redis1:6379",
    ]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (HUNG, "critical MemberHung"),
        (REFUSED, "critical MemberDown"),
        (GONE, "critical MemberUnreachableFromHere"),
        (Silent(Silence.TLS, "expired"), "unknown TlsFailed"),
        (Silent(Silence.BROKEN, "no sense"), "unknown MemberUnreadable"),
    ],
)
def test_a_silent_primary_by_its_kind(well: Snapshot, answer: Silent, code: str) -> None:
    assert f"{code} /redis1:6379" in found(answered(well, "redis1", answer))


def test_sentinels_that_are_silent_closed_or_watch_another_name(well: Snapshot) -> None:
    assert found(answered(well, "sentinel1", REFUSED)) == [
        "warning SentinelDown /sentinel/sentinel1:26379",
        "warning OneSentinelFromNoQuorum",
    ]
    two = answered(answered(well, "sentinel1", REFUSED), "sentinel2", Denied(Host("sentinel2", 26379), "NOAUTH"))
    assert found(two) == [
        "unknown AuthFailed /sentinel/sentinel2:26379",
        "warning SentinelDown /sentinel/sentinel1:26379",
    ]
    three = answered(two, "sentinel3", HUNG)
    assert found(three)[0] == "critical QuorumLost"
    assert "critical MasterUnknown /sentinel/sentinel3:26379" in found(changed(well, "sentinel3", primary=None))
    assert "critical SentinelsDisagree" in found(changed(well, "sentinel3", primary="redis2:6379"))
    alone = replace(well, sentinel_answers={})
    assert found(alone, sentinels=()) == ["warning NoSentinels"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:pw@sentinel1:26379?sentinel=st2&sentinel_fallback=sentinel2:26379", []),
        ("redis://:pw@sentinel1?sentinel=st2", []),
        ("redis://:pw@sentinel1:26379/1?sentinel=st2", ["warning WrongDatabase /coordination"]),
        ("redis://:pw@sentinel1:26379?sentinel=st2&db=1", []),
        ("redis://:pw@redis1:6379", ["warning CoordinationFixed /coordination"]),
        ("redis://:pw@elsewhere:6379?sentinel=st2", ["critical CoordinationElsewhere /coordination"]),
        ("redis://:pw@sentinel1:26379?sentinel=other", ["critical CoordinationElsewhere /coordination"]),
        ("zake://", ["critical CoordinationElsewhere /coordination"]),
        ("redis://", ["critical CoordinationElsewhere /coordination", "warning CoordinationFixed /coordination"]),
    ],
)
def test_the_url_as_stackstorm_reads_it(well: Snapshot, url: str, expected: list[str]) -> None:
    assert found(well, coordination_url=url) == expected
    assert "pw" not in str(assess(well, replace(SETTINGS, coordination_url=url), well.at)).replace("PASSWORD", "")


# -- decisions


def test_a_switchover_prefers_pauses_catches_up_fails_over_and_proves(well: Snapshot) -> None:
    assert told(decide.switchover(well, SETTINGS, "redis3")) == [
        "prefer redis3", "adopt redis3", "pause redis1", "catch_up redis3", "failover redis3", "demote redis1",
        "prefer redis3", "prove redis3",
    ]  # fmt: skip
    assert told(decide.switchover(changed(well, "redis3", priority=10), SETTINGS, "redis3"))[:2] == [
        "adopt redis3",
        "pause redis1",
    ]
    assert "it is primary already" in told(decide.switchover(well, SETTINGS, "redis1"))


@pytest.mark.parametrize(
    ("name", "facts", "sentence"),
    [
        ("redis2", {"link_up": False}, "redis2:6379 is not in step with redis1:6379"),
        ("redis2", {"priority": 0}, "it is meant never to be promoted"),
        ("redis2", {"loading": True}, "redis2:6379 is loading its data"),
        ("redis2", {"source": "redis3:6379"}, "does not replicate from the primary"),
        ("redis1", {"version": (6, 0, 1)}, "writes can be paused since 6.2"),
        ("redis1", {"guard": (0, 10)}, "min-replicas-to-write is 0"),
        ("redis2", {"version": (6, 2, 1)}, "is older than redis1:6379"),
        ("sentinel2", {"flags": ("master", "failover_in_progress")}, "a failover is under way"),
        ("sentinel2", {"primary": "redis3:6379"}, "a Sentinel sends clients to redis3:6379, not redis1:6379"),
        ("redis3", {"role": "master", "source": None}, "redis1:6379 and redis3:6379 both take writes"),
    ],
)
def test_a_switchover_is_refused_with_its_reason(
    well: Snapshot, name: str, facts: dict[str, Any], sentence: str
) -> None:
    decision = decide.switchover(changed(well, name, **facts), SETTINGS, "redis2")
    assert isinstance(decision, Refused) and sentence in decision.sentence()


def test_force_overrides_only_what_protects_comfort(well: Snapshot) -> None:
    unguarded = changed(well, "redis1", guard=(0, 10))
    assert not isinstance(decide.switchover(unguarded, SETTINGS, "redis2", force=True), Refused)
    assert isinstance(decide.switchover(changed(well, "redis2", link_up=False), SETTINGS, "redis2", True), Refused)
    closed = answered(well, "redis3", Denied(Host("redis3", 6379), "WRONGPASS"))
    assert isinstance(decide.switchover(closed, SETTINGS, "redis2", True), Refused)


def test_without_sentinels_or_with_too_few_nothing_is_begun(well: Snapshot) -> None:
    assert "redis.sentinels is empty" in told(decide.switchover(well, replace(SETTINGS, sentinels=()), "redis2"))
    few = answered(answered(well, "sentinel1", REFUSED), "sentinel2", REFUSED)
    assert "1 Sentinel of 3 answer" in told(decide.switchover(few, SETTINGS, "redis2"))


def test_undo_lets_writes_go_on_and_restores_the_priority(well: Snapshot) -> None:
    plan = decide.undo(well, changed(well, "redis2", priority=99))
    assert plan is not None and told(plan) == ["resume redis1", "prefer redis2"]
    promoted = changed(changed(well, "redis2", role="master", source=None, priority=99), "redis1", role="slave")
    plan = decide.undo(well, promoted)
    assert plan is not None and told(plan) == ["prefer redis2"]


def test_a_member_is_named_by_what_people_call_it(well: Snapshot) -> None:
    assert decide.member_named(well, "redis2") == "redis2:6379"
    with pytest.raises(BadInput, match="no member of redis/st2: use one of redis1:6379"):
        decide.member_named(well, "redis9")


# -- settings


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({}, "redis.hosts is empty: list the members as host:port"),
        ({"hosts": ["r1"], "username": "st2ha"}, "redis has no `password_file`: give the password of `username`"),
        ({"hosts": ["r1"], "sentinel_username": "a"}, "redis has no `sentinel_password_file`"),
        ({"hosts": ["r1"], "master_name": "a b"}, "redis.master_name is 'a b'"),
        ({"hosts": ["r1"], "sentinel": []}, "redis.sentinel is not a setting: did you mean `sentinels`?"),
        ({"hosts": ["r1"], "limits": {"memory_used": 2}}, "redis.limits.memory_used is 2: it must be between 0 and 1"),
        ({"hosts": ["r1"], "password": "********"}, "the mask of a secret and not its value"),
    ],
)
def test_what_is_wrong_in_the_layer_is_one_sentence(layer: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(Section(layer, "redis"))
    assert sentence in str(caught.value)


def test_no_secret_is_shown() -> None:
    layer = {
        "hosts": ["r1"],
        "password": "hunter2",
        "sentinel_password": "hunter3",
        "coordination_url": "redis://:hunter4@r1",
    }
    deployment = select({"deployments": [{"name": "x", "redis": layer}]})
    assert "hunter" not in repr(deployment)
    assert deployment.redis is not None and deployment.redis.hosts == (Host("r1", 6379),)
