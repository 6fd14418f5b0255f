"""The area `edge`: nginx on the balancers, and the VIP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from benchmarks import edge_nginx, edge_vrrp
from benchmarks.figures import Figure


def measure(say: Callable[[str], None]) -> Iterator[Figure]:
    """All of its figures."""
    yield from edge_nginx.measure(say)
    yield from edge_vrrp.measure(say)
