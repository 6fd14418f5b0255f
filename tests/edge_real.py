"""What tests of the real edge share: the pack's actions run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from lab.edge import EdgeLab
from st2ha.config import Deployment, select

ROOT = Path(__file__).resolve().parents[1]


def write_config(edge: EdgeLab, path: Path) -> Path:
    """The pack's configuration for the lab's edge."""
    path.write_text(yaml.safe_dump({"deployments": [edge.deployment()], "default_deployment": "lab"}))
    return path


def where(edge: EdgeLab, **vrrp: Any) -> Deployment:
    """This edge as the pack sees it; `vrrp` are settings of that part."""
    deployment = edge.deployment()
    deployment["edge"]["vrrp"].update(vrrp)
    return select({"deployments": [deployment]}, "lab")


def st2ha(edge: EdgeLab, tmp: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """bin/st2ha as a person runs it; only from inside("client")."""
    config = write_config(edge, tmp / "ha.yaml")
    command = [sys.executable, str(ROOT / "bin" / "st2ha"), "--json", "--config", str(config), *words]
    env = {**os.environ, "ST2HA_STATE_DIR": str(tmp / "state")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=env)
