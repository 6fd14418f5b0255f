"""The cases of tests/facts/platform: recorded answers of a real API, and what another situation would answer instead.

facts.json: `case`, the recordings of tests/facts/stackstorm that it stands on; `settings` of the layer; `answers` as
tests.replay plays them, where `ago:30` means 30 seconds ago. expect.yaml is what a person wrote that must be found.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from st2ha.config import Deployment, select
from tests.replay import Replay

FACTS = Path(__file__).parent / "facts" / "platform"
CASES = sorted(path.parent.name for path in FACTS.glob("*/facts.json"))


def replay_of(name: str) -> Replay:
    """The server's play of a case."""
    facts = json.loads((FACTS / name / "facts.json").read_text())
    return Replay(facts["case"], answers=_dated(facts["answers"], time.time()))


def settings_of(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((FACTS / name / "facts.json").read_text())["settings"]
    return settings


def expected(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = yaml.safe_load((FACTS / name / "expect.yaml").read_text())
    return found


def deployment(replay: Replay, settings: dict[str, Any], **layers: Any) -> Deployment:
    """A deployment whose StackStorm is the replay."""
    layer = {"api_url": replay.url, "api_key": replay.api_key, "timeout_s": 20, **settings}
    return select({"deployments": [{"name": "lab", "stackstorm": layer, **layers}]})


def _dated(value: Any, now: float) -> Any:
    if isinstance(value, dict):
        return {key: _dated(each, now) for key, each in value.items()}
    if isinstance(value, list):
        return [_dated(each, now) for each in value]
    if isinstance(value, str) and value.startswith("ago:"):
        moment = datetime.fromtimestamp(now - float(value[4:]), timezone.utc)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value
