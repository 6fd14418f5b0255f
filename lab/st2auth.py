"""st2auth in small: the auth backend installed as a distribution, and served over HTTP under eventlet."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from lab.cluster import ROOT
from lab.errors import LabError

STACKSTORMS = ROOT / ".venv-st2" / "bin" / "python"
NEEDED = ("ldap3", "pyasn1", "dns")


def install(site: Path) -> Path:
    """Build and install the distribution into an empty directory, beside what it needs: all pure Python."""
    source = site.with_name(site.name + "-source")
    shutil.copytree(ROOT / "auth_backend", source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    command = [*pip, "--disable-pip-version-check", "--target", str(site), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if built.returncode:
        raise LabError(f"the auth backend could not be built: {built.stderr[-800:]}")
    for name in NEEDED:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise LabError(f"{name} is missing: pip install -r requirements-dev.txt")
        (site / name).symlink_to(spec.submodule_search_locations[0])
    return site


class Harness:
    """lab/st2auth_wsgi.py in a process of its own, under StackStorm's own versions of Python's libraries."""

    def __init__(self, site: Path, options: dict[str, Any], log: Path) -> None:
        self.log = log
        self._stderr: IO[bytes] = log.open("wb")
        self._process = subprocess.Popen(
            [str(STACKSTORMS), str(ROOT / "lab" / "st2auth_wsgi.py")],
            env={**os.environ, "PYTHONPATH": str(site), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(options).encode() + b"\n")
        self._process.stdin.close()
        line = self._process.stdout.readline()
        if not line:
            raise LabError(f"the harness did not start: {log.read_text()[-800:]}")
        self.port = int(line)

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait(10)
        self._stderr.close()

    def login(self, username: str, password: str) -> tuple[int, Any]:
        """HTTP status, and the token's user and groups."""
        basic = base64.b64encode(f"{username}:{password}".encode()).decode()
        status, body = self._ask("POST", "/tokens", {"Authorization": f"Basic {basic}"})
        return status, json.loads(body) if status == 201 else body

    def stall_ms(self) -> float:
        """The longest stall of the hub since the last question."""
        return float(json.loads(self._ask("GET", "/stall", {})[1])["ms"])

    def _ask(self, verb: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(verb, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
