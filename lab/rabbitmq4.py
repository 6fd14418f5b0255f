"""RabbitMQ 4 of Debian trixie, unpacked beside the machine's own system (debootstrap, 45 s, 300 MB; needs root).

It runs by chroot in a mount namespace of its own, so that nothing is left mounted when it dies.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.cluster import Member
from lab.errors import LabError
from lab.install import bin_dir
from lab.rabbitmq import RabbitCluster

MIRROR = "http://deb.debian.org/debian"


def root() -> Path:
    """Where trixie is unpacked: ``$ST2HA_RABBITMQ4_ROOT`` or beside the other binaries."""
    given = os.environ.get("ST2HA_RABBITMQ4_ROOT")
    return Path(given) if given else bin_dir().parent / "trixie-rabbitmq"


def limitation() -> str | None:
    """Why RabbitMQ 4 cannot run here, None if it can."""
    if os.geteuid() != 0:
        return "RabbitMQ 4 needs root (chroot)"
    if not (root() / "usr/lib/rabbitmq/bin/rabbitmq-server").exists():
        return f"no RabbitMQ 4 in {root()}: run python -m lab install rabbitmq4"
    return None


def install_rabbitmq4() -> Path:
    """Unpack it; the directory. Idempotent. Raises LabError."""
    if limitation() is None:
        return root()
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise LabError("unpacking RabbitMQ 4 needs root and debootstrap (apt install debootstrap)")
    draft = root().with_name(root().name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.parent.mkdir(parents=True, exist_ok=True)
    _run(["debootstrap", "--variant=minbase", "trixie", str(draft), MIRROR])
    policy = draft / "usr" / "sbin" / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # no service is started in there
    policy.chmod(0o755)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "rabbitmq-server"]
    _run(["chroot", str(draft), "env", "DEBIAN_FRONTEND=noninteractive", *install])
    draft.replace(root())
    return root()


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if result.returncode != 0:
        raise LabError(f"{command[0]} failed: {(result.stderr or result.stdout).strip()[-800:]}")


class Rabbit4Cluster(RabbitCluster):
    """A cluster of RabbitMQ 4: no mirrored queues, quorum queues instead."""

    service = "rabbitmq4"

    def inside(self, uid: int | None, *command: str) -> list[str]:
        """A command in trixie, as a user, with this cluster's directory and /proc there."""
        here, there = self.directory, root() / str(self.directory).lstrip("/")
        mounts = (
            f"mkdir -p {there} && mount --bind {here} {there} && mount --rbind /proc {root()}/proc"
            f" && mount --rbind /dev {root()}/dev"
        )
        user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid is not None else []
        script = f'{mounts} && exec chroot {root()} "$@"'
        return ["unshare", "-m", "sh", "-c", script, "sh", *user, *command]

    def _command(self, member: Member) -> list[str]:
        return self.inside(member.uid, "/usr/lib/rabbitmq/bin/rabbitmq-server")

    def _runs_as(self, member: Member) -> int | None:
        return None  # root unshares and mounts; setpriv is inside

    def tool_prefix(self, name: str) -> list[str]:
        env = super().tool_prefix(name)
        return [*env[:1], "PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin", *env[2:], *self.inside(None)]
