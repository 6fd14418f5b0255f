"""What tests of the real edge share: the pack's actions run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from lab.edge import EdgeLab

ROOT = Path(__file__).resolve().parents[1]


def write_config(edge: EdgeLab, path: Path) -> Path:
    """The pack's configuration for the lab's edge."""
    path.write_text(yaml.safe_dump({"deployments": [edge.deployment()], "default_deployment": "lab"}))
    return path


def st2ha(edge: EdgeLab, tmp: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """bin/st2ha as a person runs it; only from inside("client")."""
    config = write_config(edge, tmp / "ha.yaml")
    command = [sys.executable, str(ROOT / "bin" / "st2ha"), "--json", "--config", str(config), *words]
    env = {**os.environ, "ST2HA_STATE_DIR": str(tmp / "state")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=env)
