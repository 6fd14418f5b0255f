"""Which versions the lab runs with, for reports and test headers."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib import metadata

from lab.errors import LabError
from lab.install import mongod_path


def versions() -> dict[str, str]:
    """Name and version of everything the lab uses; ``absent`` for what is not there."""
    return {
        "python": platform.python_version(),
        "pymongo": _package("pymongo"),
        "mongod": _mongod(),
        "mariadbd": _printed("/usr/sbin/mariadbd", "--version"),
        "redis-server": _printed("redis-server", "--version"),
        "nft": _printed("nft", "--version"),
        "kernel": platform.release(),
    }


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _mongod() -> str:
    try:
        return _printed(str(mongod_path()), "--version")
    except LabError:
        return "absent"


def _printed(command: str, option: str) -> str:
    """The first version number that a command prints."""
    if shutil.which(command) is None:
        return "absent"
    output = subprocess.run([command, option], capture_output=True, text=True, timeout=10, check=False).stdout
    match = re.search(r"\d+(\.\d+)+", output)
    return match.group() if match else "unknown"
