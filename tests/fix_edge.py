"""pytest plugin: two real balancers with nginx and keepalived, a VIP, and StackStorm nodes behind them.

``edge`` for most tests: the session's one edge, made whole again afterwards, with the test inside the clients' network.
``whole_edge`` for those that change nothing: nothing is made whole, which takes longer than such a test.
``switch_session`` is another one, whose VIP can be moved by plan.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.boxes import limitation
from lab.edge import EdgeLab
from lab.edge_switch import SwitchLab


@pytest.fixture(scope="session")
def edge_session() -> Iterator[EdgeLab]:
    """An edge for the whole session (2 s). Tests take ``edge``."""
    if why := limitation():
        pytest.skip(why)
    with EdgeLab() as lab:
        yield lab


@pytest.fixture
def edge(edge_session: EdgeLab) -> Iterator[EdgeLab]:
    """The session's edge, lb1 holds the VIP; whatever the test does is undone (1 s)."""
    with edge_session.inside("client"):
        yield edge_session
    edge_session.restore()


@pytest.fixture
def whole_edge(edge_session: EdgeLab) -> Iterator[EdgeLab]:
    """The session's edge, for a test that only looks or is refused."""
    with edge_session.inside("client"):
        yield edge_session


@pytest.fixture(scope="session")
def switch_session() -> Iterator[SwitchLab]:
    """An edge for the whole session whose balancers track a file; who changes it restores it."""
    if why := limitation():
        pytest.skip(why)
    with SwitchLab() as lab:
        yield lab
