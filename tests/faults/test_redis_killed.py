"""A switchover's process is killed after each of its steps, under writes: one writer, and no write is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lab.redis import DRIVER, RedisCluster
from lab.wait import wait_for
from st2ha.redis.act import PAUSE_S
from tests.real import run
from tests.redis_writer import Writer

LONG = pytest.mark.skipif(not os.environ.get("ST2HA_TEST_LONG"), reason="ST2HA_TEST_LONG runs it: half a minute each")
MAX_LAG_S = 5  # the lab's min-replicas-max-lag
OVER_S = MAX_LAG_S + PAUSE_S + 5
"""When the pause is over, and the Sentinels have made a replica of the old primary."""
STEPS = ["failover", *(pytest.param(verb, marks=LONG) for verb in ("adopt", "pause", "catch_up", "demote", "prove"))]


def takes_writes(lab: RedisCluster, name: str) -> bool:
    """Whether a server acknowledges a write at once."""
    try:
        with lab.client(name, timeout_s=0.3) as client:
            return bool(client.set(f"direct:{name}", "x"))
    except DRIVER:
        return False


@pytest.mark.parametrize("verb", STEPS)
def test_killed_after_any_step_one_primary_takes_writes(redis_lab: RedisCluster, tmp_path: Path, verb: str) -> None:
    config, writer = redis_lab.write_config(tmp_path / "ha.yaml"), Writer(redis_lab)
    target = redis_lab.member("redis2").address
    names = [each.name for each in redis_lab.redises]
    with writer.writing():
        command = [sys.executable, "-m", "tests.killed_redis", str(config), target, verb]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == -signal.SIGKILL, (ended.stdout, ended.stderr)
        until = time.monotonic() + OVER_S
        while time.monotonic() < until:
            taking = [name for name in names if takes_writes(redis_lab, name)]
            # They were asked one after the other: the role may have moved in between.
            assert len(taking) <= 1 or not takes_writes(redis_lab, taking[0]), f"{taking} take writes"
        wait_for(lambda: sum(takes_writes(redis_lab, name) for name in names) == 1, 30, "one that takes writes")

        def again() -> bool:
            """The Sentinels take a longer pause for a dead primary; while two call themselves primary it is refused."""
            passed, result = run(
                yaml.safe_load(config.read_text()), "redis_switchover", member=target, deployment="lab"
            )
            assert passed or result["kind"] == "refused", result
            return bool(passed)

        wait_for(again, 60, "the switchover to be done")
    assert redis_lab.primary().name == "redis2"
    assert writer.lost() == []
