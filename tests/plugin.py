"""pytest plugin: all fixtures of fix_*.py, and which tests share a worker, so that each cluster is started once."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from tests.examples import FEWER

pytest_plugins = sorted(f"tests.{file.stem}" for file in Path(__file__).parent.glob("fix_*.py"))
SHARED = {"lease": "redis", "haproxy": "edge", "nginx": "edge", "vrrp": "edge", "balancer": "edge"}
"""Second word of a file's name -> the group whose servers its tests take, too."""

settings.register_profile(
    "busy", max_examples=100 // FEWER, suppress_health_check=[HealthCheck.too_slow], deadline=None
)
settings.load_profile("busy")


class ByService(LoadFileScheduling):
    """Tests on real servers together by the service that their file is named for, unit tests by their file."""

    def _split_scope(self, nodeid: str) -> str:
        file = PurePosixPath(nodeid.split("::")[0])
        if file.parent.name == "unit":
            return str(file)
        word = file.stem.split("_")[1]
        return SHARED.get(word, word)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByService:
    """With `--no-loadscope-reorder` the many short unit tests come last, and even the workers out."""
    return ByService(config, log)
