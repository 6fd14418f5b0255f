"""redis_check and redis_switchover on a real primary with replicas and Sentinels, each fault made for real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError

from lab.redis import MASTER_NAME, RedisCluster
from lab.wait import wait_for
from tests.real import codes, run
from tests.redis_writer import Writer

LONG_S, SHORT_S = 30.0, 2.0
"""What a server may take: much, so that a busy machine is no finding; little, where one hangs and is waited for."""


def config_of(lab: RedisCluster, login: str = "st2ha", **layer: Any) -> dict[str, Any]:
    deployment = lab.deployment(login)
    deployment["redis"].update({**layer, "limits": {"latency_s": LONG_S, **layer.get("limits", {})}})
    return {"deployments": [deployment], "default_deployment": "lab"}


def check(lab: RedisCluster, timeout_s: float = LONG_S, **layer: Any) -> dict[str, Any]:
    passed, result = run(config_of(lab, **layer), "redis_check", timeout_s=timeout_s)
    assert passed, result
    return result


def about(lab: RedisCluster, name: str) -> str:
    return lab.member(name).address


def test_all_is_well_also_for_a_user_that_may_only_read(redis_lab: RedisCluster) -> None:
    for login in ("st2ha", "st2ha_check"):
        passed, result = run(config_of(redis_lab, login), "redis_check", timeout_s=30)
        assert passed and result["findings"] == [], result
    first = about(redis_lab, "redis1")
    assert result["summary"] == f"OK Redis: 3 servers, primary {first}, 3 Sentinels"
    assert [row["state"] for row in result["facts"]["members"]][:3] == ["PRIMARY", "REPLICA", "REPLICA"]
    passed, whole = run(config_of(redis_lab), "check", timeout_s=30)
    assert passed and whole["severity"] == "ok" and whole["facts"]["layers"][0]["layer"] == "redis"


def test_what_is_set_up_badly(redis_lab: RedisCluster, tmp_path: Path) -> None:
    redis_lab.configure("redis1", maxmemory_policy="allkeys-lru", appendonly="no", min_replicas_to_write="0")
    redis_lab.configure("redis1", maxclients="40")
    clients = [redis_lab.client("redis1") for _ in range(8)]
    for client in clients:
        client.ping()
    url = f"redis://:hunter2@{about(redis_lab, 'sentinel1')}/1?sentinel={MASTER_NAME}"
    seen = codes(check(redis_lab, coordination_url=url, limits={"memory_used": 0.001, "clients_used": 0.2}))
    first = about(redis_lab, "redis1")
    assert {
        ("warning EvictionDropsLocks", first), ("warning PersistenceOff", first), ("warning UnguardedPrimary", first),
        ("warning MemoryNearLimit", first), ("warning ConnectionsNearLimit", first),
        ("warning WrongDatabase", "coordination"),
    } <= seen  # fmt: skip
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password")
    result = check(redis_lab, password_file=str(wrong), sentinel_password_file=str(wrong))
    assert result["severity"] == "unknown" and ("unknown PrimaryUnknown", MASTER_NAME) in codes(result)
    assert {("unknown AuthFailed", first), ("unknown AuthFailed", about(redis_lab, "sentinel1"))} <= codes(result)
    assert "not the password" not in str(result)
    redis_lab.configure("redis1", maxmemory_policy="noeviction", appendonly="yes", min_replicas_to_write="1")
    redis_lab.configure("redis1", maxclients="10000")
    redis_lab.changed = False


def test_replicas_that_are_gone_or_have_lost_their_link(redis_lab: RedisCluster) -> None:
    first, second, third = (about(redis_lab, f"redis{n}") for n in (1, 2, 3))
    redis_lab.hang("redis3")
    wait_for(
        lambda: codes(check(redis_lab, SHORT_S)) == {("warning MemberHung", third)}, 60, "the hung one to be found"
    )
    redis_lab.kill("redis3")
    redis_lab.configure("redis2", masterauth="wrong")
    redis_lab.ask("redis1", "CLIENT", "KILL", "TYPE", "replica")
    wanted = {
        ("critical NoReplica", MASTER_NAME), ("critical NotEnoughReplicas", first), ("warning ReplicaLinkDown", second),
        ("warning MemberDown", third),
    }  # fmt: skip
    wait_for(lambda: wanted <= codes(check(redis_lab)), 60, "all of it to be found")
    passed, result = run(config_of(redis_lab), "redis_switchover", member="redis2", deployment="lab")
    assert not passed and result["kind"] == "bad_input"  # all servers of the lab are 127.0.0.1
    passed, result = run(config_of(redis_lab, timeout_s=1), "redis_switchover", member=second, deployment="lab")
    assert not passed and result["kind"] == "refused" and f"{second} is not in step" in result["error"]


def test_a_killed_primary_and_then_too_few_sentinels(redis_lab: RedisCluster) -> None:
    redis_lab.kill("redis1")
    first = about(redis_lab, "redis1")
    seen = codes(check(redis_lab))
    assert ("critical MemberDown", first) in seen and ("critical NoPrimary", MASTER_NAME) in seen
    redis_lab.await_primary(other_than="redis1")
    wait_for(
        lambda: [each for each in codes(check(redis_lab)) if "critical" in each[0]] == [], 30, "the failover to be over"
    )
    assert ("warning MemberDown", first) in codes(check(redis_lab))
    redis_lab.kill("sentinel1")
    redis_lab.hang("sentinel2")
    lost = {("critical QuorumLost", MASTER_NAME), ("warning SentinelDown", about(redis_lab, "sentinel2"))}
    wait_for(lambda: lost <= codes(check(redis_lab, SHORT_S)), 60, "the quorum to be lost")


def test_a_switchover_under_writes_loses_none_and_leaves_all_well(redis_lab: RedisCluster) -> None:
    third, writer = about(redis_lab, "redis3"), Writer(redis_lab)
    with writer.writing():
        passed, result = run(config_of(redis_lab), "redis_switchover", member=third, deployment="lab")
        assert passed and result["outcome"] == "done", result
    assert redis_lab.primary().address == third
    assert writer.lost() == []
    assert result["findings"] == []
    assert redis_lab.ask("redis3", "CONFIG", "GET", "replica-priority") in (
        {"replica-priority": "100"}, ["replica-priority", "100"],
    )  # fmt: skip
    passed, result = run(config_of(redis_lab), "redis_switchover", member=third, deployment="lab")
    assert passed and "it is primary already" in result["summary"]


def test_a_switchover_that_cannot_go_on_lets_writes_go_on(redis_lab: RedisCluster) -> None:
    """The target's only use is lost between the pause and the failover."""
    from st2ha.change import change
    from st2ha.config import select
    from st2ha.errors import StepFailed
    from st2ha.redis import decide
    from st2ha.redis.act import Acting
    from st2ha.redis.gather import gather

    settings = select(config_of(redis_lab)).require("redis")
    acting: list[Acting] = []

    def verbs(snapshot: Any) -> Any:
        acting.append(Acting(settings, snapshot))

        def broken(step: Any) -> str:
            raise StepFailed("it broke here")

        # What Sentinel learns of a priority takes ten seconds, and is not what is tested here.
        return {**acting[-1].verbs(), "prefer": str, "adopt": str, "failover": broken}

    result = change(
        lambda: gather(settings), lambda s: decide.switchover(s, settings, about(redis_lab, "redis2")), verbs,
        lambda s: (), False, 60.0, decide.undo,
    )  # fmt: skip
    for each in acting:
        each.close()
    assert result["outcome"] == "failed" and result["undo"]["outcome"] == "done"
    with redis_lab.client("redis1", timeout_s=5) as client:
        assert client.set("x", "1")  # it would wait for 15 s
    assert redis_lab.await_primary().name == "redis1"
    with pytest.raises(RedisError):
        redis_lab.ask("redis2", "SET", "x", "2")


def test_a_cluster_that_speaks_tls_only() -> None:
    with RedisCluster(members=2, sentinels=1, tls=True) as lab:
        only = {("warning OneSentinelFromNoQuorum", MASTER_NAME)}
        wait_for(lambda: codes(check(lab)) == only, 60, "a check that finds nothing else")
        result = check(lab, tls={"enabled": True})
        assert ("unknown TlsFailed", about(lab, "redis1")) in codes(result)
