"""pytest plugin: real MariaDB pairs, and MySQL 9 where it is unpacked.

``mysql`` for most tests: the session's pair, built anew afterwards if the test changed who is who. ``pair`` for tests
that hold for MySQL 9, too: those carry the marker ``mysql9`` and run by ``make test-mysql9``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
import pytest

from lab.errors import LabError
from lab.mysql import MysqlCluster
from lab.mysql_flavors import Mysql9


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "mysql9: needs MySQL 9 (python -m lab install mysql9); make test-mysql9")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """MySQL 9 only where it is asked for: unpacking it takes a minute and 650 MB."""
    if "mysql9" not in (config.option.markexpr or ""):
        skip = pytest.mark.skip(reason="MySQL 9 is opt-in: make test-mysql9")
        for item in items:
            if item.get_closest_marker("mysql9"):
                item.add_marker(skip)


def _make_whole(pair: MysqlCluster) -> None:
    """As at the start: the same roles, no faults, nothing but the lab's own databases."""
    if not _unspoilt(pair):
        pair.restore()


def _unspoilt(pair: MysqlCluster) -> bool:
    if set(pair.states().values()) != {"running"}:
        return False  # one that hangs or is cut off would take its time-out
    try:
        pair.wait_healthy(0.2)
        return _as_launched(pair)
    except (LabError, pymysql.MySQLError):
        return False


def _as_launched(pair: MysqlCluster) -> bool:
    """Nothing was written anywhere since the start, which is one transaction."""
    mariadb = pair.flavor.name == "mariadb"
    positions = {
        pair.value(m.name, "@@GLOBAL.gtid_binlog_state" if mariadb else "@@GLOBAL.gtid_executed") for m in pair.members
    }
    return len(positions) == 1 and str(positions.pop()).endswith("-1" if mariadb else ":1")


@pytest.fixture(scope="session")
def mysql_session() -> Iterator[MysqlCluster]:
    """A MariaDB pair for the whole session. Tests take ``mysql``."""
    with MysqlCluster() as pair:
        yield pair


@pytest.fixture
def mysql(mysql_session: MysqlCluster) -> Iterator[MysqlCluster]:
    """The session's pair, db1 the primary; whatever the test does is undone."""
    yield mysql_session
    _make_whole(mysql_session)


@pytest.fixture
def tls_mysql() -> Iterator[MysqlCluster]:
    """A pair that speaks TLS, for this test alone (3 s)."""
    with MysqlCluster(tls=True) as pair:
        yield pair


@pytest.fixture
def three_mysql() -> Iterator[MysqlCluster]:
    """A primary with two replicas, for this test alone (4 s)."""
    with MysqlCluster(members=3) as trio:
        yield trio


@pytest.fixture(scope="session")
def mysql9_session() -> Iterator[MysqlCluster]:
    """A pair of MySQL 9 for the whole session."""
    why = Mysql9().limitation()
    if why:
        pytest.skip(why)
    with MysqlCluster(flavor="mysql9") as pair:
        yield pair


@pytest.fixture(params=["mysql", pytest.param("mysql9", marks=pytest.mark.mysql9)])
def pair(request: pytest.FixtureRequest) -> Iterator[MysqlCluster]:
    """The session's pair of each kind, db1 the primary; whatever the test does is undone."""
    cluster: MysqlCluster = request.getfixturevalue(f"{request.param}_session")
    yield cluster
    _make_whole(cluster)
