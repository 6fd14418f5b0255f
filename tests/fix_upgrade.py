"""pytest plugin: two StackStorms as stand-ins on the session's MongoDB set and RabbitMQ cluster.

``sides`` behind the session's edge: two balancers with nginx, which nginx_switch switches. ``own_sides`` behind
balancers that a configured command switches. ``still_sides`` where nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.edge import EdgeLab
from lab.mongodb import MongoCluster
from lab.rabbitmq import RabbitCluster
from lab.stackstorm import TwoSides
from lab.stackstorm_database import fill
from lab.stackstorm_edge import EdgeSides


@pytest.fixture
def sides(mongo: MongoCluster, rabbit: RabbitCluster, edge_session: EdgeLab, tmp_path: Path) -> Iterator[TwoSides]:
    """The old side works, the new one is installed and does not run; balancers point to the old one."""
    fill(mongo.client(login="lab_root"), "st2", 500)
    with EdgeSides(mongo, rabbit, tmp_path, edge_session) as both:
        yield both
    edge_session.restore()


@pytest.fixture
def own_sides(mongo: MongoCluster, rabbit: RabbitCluster, tmp_path: Path) -> Iterator[TwoSides]:
    """The same with `balancers` and `switch` in place of groups of the layer `edge`."""
    fill(mongo.client(login="lab_root"), "st2", 500)
    with TwoSides(mongo, rabbit, tmp_path) as both:
        yield both


@pytest.fixture
def still_sides(mongo: MongoCluster, rabbit: RabbitCluster, tmp_path: Path) -> Iterator[TwoSides]:
    """The files and the old database, and nothing that runs: for what is refused before it begins."""
    fill(mongo.client(login="lab_root"), "st2", 20)
    with TwoSides(mongo, rabbit, tmp_path, runs=False) as both:
        yield both
