"""pytest plugin: real RabbitMQ clusters.

``rabbit`` for most tests: the session's one cluster of three, made whole again afterwards. ``rabbit_two`` the two-node
form, ``rabbit_tls`` one node that speaks TLS, each once a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from lab.rabbitmq import RabbitCluster
from lab.rabbitmq_access import STACKSTORM_VHOST
from lab.wait import wait_for


def make_whole(rabbit: RabbitCluster) -> None:
    """Undo every fault and remove what the test made."""
    rabbit.restore()
    first = rabbit.members[0].name
    for row in rabbit.api(first, "GET", "/api/vhosts?columns=name"):
        if row["name"] not in ("/", STACKSTORM_VHOST):
            rabbit.api(first, "DELETE", f"/api/vhosts/{quote(row['name'], safe='')}")
    for row in rabbit.api(first, "GET", "/api/queues?disable_stats=true&columns=name,vhost"):
        rabbit.api(first, "DELETE", f"/api/queues/{quote(row['vhost'], safe='')}/{quote(row['name'], safe='')}")
    for row in rabbit.api(first, "GET", f"/api/policies/{STACKSTORM_VHOST}"):
        rabbit.api(first, "DELETE", f"/api/policies/{STACKSTORM_VHOST}/{quote(row['name'], safe='')}")
    empty = "/api/queues?disable_stats=true&columns=name"
    wait_for(lambda: rabbit.api(first, "GET", empty) == [], 20, "the queues to go")
    rabbit.mirror_all()


@pytest.fixture(scope="session")
def rabbit_cluster() -> Iterator[RabbitCluster]:
    """Three nodes for the whole session (18 s). Tests take ``rabbit``."""
    with RabbitCluster(members=3) as cluster:
        cluster.mirror_all()
        yield cluster


@pytest.fixture
def rabbit(rabbit_cluster: RabbitCluster) -> Iterator[RabbitCluster]:
    """The session's cluster with mirroring and no queue; mended and emptied afterwards."""
    yield rabbit_cluster
    make_whole(rabbit_cluster)


@pytest.fixture(scope="module")
def rabbit_two() -> Iterator[RabbitCluster]:
    """The talk's form: two nodes, mirrored queues, both taking clients."""
    with RabbitCluster(members=2, partition_handling="autoheal") as cluster:
        cluster.mirror_all()
        yield cluster


@pytest.fixture(scope="module")
def rabbit_tls() -> Iterator[RabbitCluster]:
    """One node that speaks TLS only."""
    with RabbitCluster(members=1, tls=True) as cluster:
        yield cluster
