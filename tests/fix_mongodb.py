"""pytest plugin: real MongoDB replica sets.

``mongo`` for most tests: the session's one set, made whole again afterwards. ``fresh_replica_set`` where a test would
spoil it, ``tls_replica_set`` (one a session, made whole again as well) for TLS.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.install import install_mongodb
from lab.mongodb import MongoCluster
from lab.versions import versions

OWN_DATABASES = {"admin", "config", "local"}


def pytest_report_header() -> str:
    return "lab: " + ", ".join(f"{name} {version}" for name, version in versions().items())


def _make_whole(rs: MongoCluster) -> None:
    """Undo every fault and drop what the test wrote."""
    rs.restore()
    root = rs.client(login="lab_root")
    for name in set(root.list_database_names()) - OWN_DATABASES:
        root.drop_database(name)
    rs.wait_healthy()
    rs.close_clients()


@pytest.fixture(scope="session")
def replica_set() -> Iterator[MongoCluster]:
    """Three members for the whole session. Tests take ``mongo``."""
    install_mongodb()
    with MongoCluster(members=3) as rs:
        yield rs


@pytest.fixture
def mongo(replica_set: MongoCluster) -> Iterator[MongoCluster]:
    """The session's set, healthy; whatever the test breaks is mended and whatever it writes is dropped afterwards."""
    yield replica_set
    _make_whole(replica_set)


@pytest.fixture
def fresh_replica_set() -> Iterator[MongoCluster]:
    """A set of three for this test alone (4 s)."""
    install_mongodb()
    with MongoCluster(members=3) as rs:
        yield rs


@pytest.fixture(scope="session")
def _tls_session() -> Iterator[MongoCluster]:
    install_mongodb()
    with MongoCluster(members=3, tls=True) as rs:
        yield rs


@pytest.fixture
def tls_replica_set(_tls_session: MongoCluster) -> Iterator[MongoCluster]:
    """The session's set that speaks TLS only, healthy, and made whole afterwards."""
    yield _tls_session
    _make_whole(_tls_session)
