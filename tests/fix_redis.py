"""pytest plugin: real Redis primaries with replicas and Sentinels.

``redis_lab`` for most tests: the session's cluster, built anew afterwards if the test changed it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.errors import LabError
from lab.redis import DRIVER, RedisCluster


def _make_whole(cluster: RedisCluster) -> None:
    """As at the start: redis1 is the primary, no faults, no data."""
    if not _unspoilt(cluster):
        cluster.restore()
    elif cluster.ask(cluster.redises[0].name, "DBSIZE"):
        cluster.ask(cluster.redises[0].name, "FLUSHALL")


def _unspoilt(cluster: RedisCluster) -> bool:
    if set(cluster.states().values()) != {"running"}:
        return False  # one that hangs or is cut off would take its time-out
    try:
        cluster.wait_healthy(0.2)
        return cluster.primary() == cluster.redises[0] and not cluster.changed
    except (LabError, *DRIVER):
        return False


@pytest.fixture(scope="session")
def redis_session() -> Iterator[RedisCluster]:
    """Three servers and three Sentinels for the whole session (3 s). Tests take ``redis_lab``."""
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def redis_lab(redis_session: RedisCluster) -> Iterator[RedisCluster]:
    """The session's cluster, redis1 the primary; whatever the test does is undone."""
    yield redis_session
    _make_whole(redis_session)


@pytest.fixture
def tls_redis() -> Iterator[RedisCluster]:
    """A cluster that speaks TLS only, for this test alone (4 s)."""
    with RedisCluster(tls=True) as cluster:
        yield cluster
