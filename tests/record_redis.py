"""Record tests/facts/redis anew: each situation is made on real servers, the raw replies of all are kept.

`python -m tests.record_redis [CASE ...]` writes <case>/facts.json; the expect.yaml beside it is written by hand. redis1
was the primary before the fault. Addresses are renamed to redis1:6379, sentinel1:26379 and so on.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from lab.redis import RedisCluster
from lab.wait import wait_for
from st2ha.config import Host, select
from st2ha.probe import Silent
from st2ha.redis.facts import Denied, Snapshot
from st2ha.redis.gather import gather
from st2ha.redis.settings import PORT, SENTINEL_PORT, Redis

FACTS = Path(__file__).parent / "facts" / "redis"
TIMEOUT_S = 0.8
Wanted = Callable[[Snapshot], bool]


def healthy(lab: RedisCluster) -> Wanted:
    return lambda s: all(each.others == 2 and len(each.replicas) == 2 for each in s.sentinels)


def primary_killed(lab: RedisCluster) -> Wanted:
    for sentinel in lab.sentinels:
        lab.hang(sentinel.name)  # before they fail over
    lab.kill("redis1")
    for sentinel in lab.sentinels:
        lab.resume(sentinel.name)
    return lambda s: not s.primaries and s.elected is not None


def primary_hung(lab: RedisCluster) -> Wanted:
    lab.hang("redis1")
    return lambda s: not s.primaries


def failed_over(lab: RedisCluster) -> Wanted:
    lab.kill("redis1")
    lab.await_primary(other_than="redis1")
    return lambda s: s.primary is not None and all(each.primary == s.primary.name for each in s.sentinels)


def two_primaries(lab: RedisCluster) -> Wanted:
    for sentinel in lab.sentinels:
        lab.hang(sentinel.name)
    lab.ask("redis2", "REPLICAOF", "NO", "ONE")
    for sentinel in lab.sentinels:
        lab.resume(sentinel.name)
    return lambda s: len(s.primaries) == 2 and len(s.sentinels) == 3


def sentinels_lost(lab: RedisCluster) -> Wanted:
    lab.kill("sentinel2")
    lab.kill("sentinel3")
    return lambda s: len(s.sentinels) == 1 and s.sentinels[0].quorum_error is not None


def replicas_lost(lab: RedisCluster) -> Wanted:
    lab.kill("redis2")
    lab.hang("redis3")
    return lambda s: bool(s.servers) and not s.servers[0].followers


def link_down(lab: RedisCluster) -> Wanted:
    lab.configure("redis3", masterauth="wrong")
    lab.ask("redis3", "REPLICAOF", "NO", "ONE")
    lab.ask("redis3", "REPLICAOF", lab.redises[0].host, lab.redises[0].port)
    return lambda s: any(not each.link_up for each in s.servers)


def badly_set_up(lab: RedisCluster) -> Wanted:
    for member in lab.redises:
        lab.configure(member.name, appendonly="no", maxmemory_policy="allkeys-lru", min_replicas_to_write="0")
    lab.configure("redis2", replica_priority="0", replica_read_only="no")
    lab.configure("redis3", replica_priority="0")
    return lambda s: not any(each.persistence.append_only for each in s.servers)


SITUATIONS = (
    healthy, primary_killed, primary_hung, failed_over, two_primaries, sentinels_lost, replicas_lost, link_down,
    badly_set_up,
)  # fmt: skip


def record(lab: RedisCluster, case: str, situation: Callable[[RedisCluster], Wanted]) -> None:
    """Make the situation, wait until it shows, write it down, build all anew."""
    wanted = situation(lab)
    settings: Redis = replace(select({"deployments": [lab.deployment()]}).require("redis"), timeout_s=TIMEOUT_S)
    look: dict[str, Any] = {}

    def seen() -> bool:
        replies: dict[tuple[str, Host], Any] = {}
        snapshot = gather(settings, lambda kind, host, told: replies.__setitem__((kind, host), told))
        look.update(at=snapshot.at)
        for kind, answers in (("server", snapshot.answers), ("sentinel", snapshot.sentinel_answers)):
            look[kind] = {str(host): _answer(answer, replies.get((kind, host))) for host, answer in answers.items()}
        return wanted(snapshot)

    wait_for(seen, 40, case, interval_s=0.1)
    directory = FACTS / case
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "facts.json").write_text(_renamed(lab, json.dumps(look, indent=1, sort_keys=True)) + "\n")
    lab.restore()


def _answer(answer: Any, replies: Any) -> dict[str, Any]:
    if isinstance(answer, Silent):
        return {"kind": "silent", "silence": answer.kind.value, "reason": answer.reason, "after_s": answer.after_s}
    if isinstance(answer, Denied):
        return {"kind": "denied", "reason": answer.reason}
    return {"kind": "told", **replies}


def _renamed(lab: RedisCluster, text: str) -> str:
    look = json.loads(text)
    for name, member in ((m.name, m) for m in lab.members):
        port = PORT if member in lab.redises else SENTINEL_PORT
        text = text.replace(member.address, f"{name}:{port}").replace(f"port={member.port},", f"port={port},")
    look = json.loads(text)
    names = {m.port: (m.name, PORT if m in lab.redises else SENTINEL_PORT) for m in lab.members}
    return json.dumps(_walk(look, names), indent=1, sort_keys=True)


def _walk(value: Any, names: dict[int, tuple[str, int]]) -> Any:
    """Hosts and ports that stand apart: ip and port, master_host and master_port."""
    if isinstance(value, list):
        return [_walk(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    value = {key: _walk(each, names) for key, each in value.items() if not key.startswith(("cmdstat", "latency_per"))}
    for host, port in (("ip", "port"), ("master_host", "master_port"), ("master-host", "master-port")):
        if host in value and int(value.get(port) or 0) in names:
            value[host], value[port] = names[int(value[port])]
    for key in ("executable", "config_file", "run_id", "runid"):
        value.pop(key, None)
    return value


def main(cases: list[str]) -> None:
    began = time.monotonic()
    with RedisCluster() as lab:
        for situation in SITUATIONS:
            if not cases or situation.__name__ in cases:
                record(lab, situation.__name__, situation)
                print(f"{time.monotonic() - began:.0f} s {situation.__name__}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
