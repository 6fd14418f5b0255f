"""pytest plugin: all fixtures of fix_*.py, and which tests share a worker, so that each cluster is started once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = sorted(f"tests.{file.stem}" for file in Path(__file__).parent.glob("fix_*.py"))
CLUSTERS = {
    "rabbit_cluster": "rabbitmq",
    "redis_session": "redis",
    "replica_set": "mongodb",
    "_tls_session": "mongodb",
    "samba_session": "directories",
    "slapd": "directories",
    "ldap": "directories",
    "dirsrv": "directories",
}
"""Session fixture -> the group of all tests that take it, directly or not."""

settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup --no-loadscope-reorder`: tests of a cluster together, all others by their file."""
    for item in items:
        taken = getattr(item, "fixturenames", ())
        group = next((CLUSTERS[name] for name in CLUSTERS if name in taken), item.path.stem)
        item.add_marker(pytest.mark.xdist_group(group))
