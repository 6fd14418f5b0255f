"""StackStorm nodes that differ in nothing but what they see below one directory: a mount namespace for each. Root.

    with ContentNodes(members=3) as nodes:
        nodes.mount("node1", nodes.shared)      # a bind mount, as if of NFS
        nodes.serve("node2", "nfs1:/export")    # a FUSE file system that can be hung or killed

Each node has its own disk (`disk`), seen by it at `root`; it has packs, configs and virtualenvs there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.cluster import ROOT, Cluster, Member
from lab.errors import LabError, NotYet
from lab.process import Server
from lab.wait import wait_for

PYTHON = os.path.realpath(sys.executable)
ROOTS = ("packs", "configs", "virtualenvs")


class ContentNodes(Cluster):
    """node1, node2 ...; `shared` is the directory that a file server would export."""

    service = "content"
    prefix = "node"

    def __init__(self, directory: Path | str | None = None, members: int = 3) -> None:
        why = self.limitation()
        if why:
            raise LabError(why)
        super().__init__(directory, members, {"members": members})
        self.servings: dict[str, Server] = {}

    @staticmethod
    def limitation() -> str | None:
        """Why there can be no such nodes here, None if there can."""
        if os.geteuid():
            return "mount namespaces need root"
        return None if shutil.which("nsenter") else "nsenter is missing: apt-get install util-linux"

    @property
    def root(self) -> Path:
        return self.directory / "opt"

    @property
    def shared(self) -> Path:
        return self.directory / "shared"

    def disk(self, name: str) -> Path:
        """What a node sees at `root` where nothing is mounted."""
        return self.directory / "disks" / name

    def inside(self, name: str) -> list[str]:
        """The words that stand before a command of the node."""
        return ["nsenter", f"--mount=/proc/{self.servers[name].pid}/ns/mnt", "--"]

    def run(self, name: str, *words: str) -> None:
        """A command of a node. Raises LabError with its last words."""
        done = subprocess.run([*self.inside(name), *words], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise LabError(f"{words[0]} on {name}: {done.stderr.strip()[-300:]}")

    def mount(self, name: str, what: Path, where: str = "", *options: str) -> None:
        """A bind mount over `root`, or over what is `where` below it."""
        point = str(self.root / where)
        self.run(name, "mount", "--bind", str(what), point)
        if options:
            self.run(name, "mount", "-o", ",".join(("remount", "bind", *options)), point)

    def unmount(self, name: str, where: str = "") -> None:
        """The uppermost mount there, whatever its state."""
        self.run(name, "umount", "-l", str(self.root / where))

    def serve(self, name: str, server: str, where: str = "") -> None:
        """`shared` (or what is `where` below it) by FUSE; `server` is the source that the mount tells."""
        point = self.root / where
        directory = self.directory / f"{name}-fuse-{len(self.servings)}"
        directory.mkdir(exist_ok=True)
        words = [sys.executable, "-m", "lab.passthrough", str(self.shared / where), str(point), server]
        serving = Server(f"{name} fuse", [*self.inside(name), *words], directory, owner=self.directory)
        serving.env["PYTHONPATH"] = str(ROOT)
        self.servings[name] = serving
        serving.start()

        def mounted() -> bool:
            serving.check_alive()
            table = Path(f"/proc/{self.servers[name].pid}/mountinfo").read_text()
            if f" {point} " not in table or f" {server} " not in table:
                raise NotYet("not in mountinfo")
            return True

        wait_for(mounted, 20, f"{server} to be mounted on {name}", interval_s=0.02)

    def reset(self) -> None:
        """Nodes as at the start: nothing mounted but their own disks, which are all alike, as `shared` is."""
        for serving in self.servings.values():
            serving.kill()
        self.servings = {}
        for server in self.servers.values():
            server.kill()
        for path in (self.directory / "disks", self.shared):
            shutil.rmtree(path, ignore_errors=True)
        self._prepare()
        self._start_all()
        self._launch()

    def deployment(self) -> dict[str, Any]:
        nodes = [{"name": m.name, "command": " ".join(self.inside(m.name))} for m in self.members]
        roots = {name: str(self.root / name) for name in ROOTS}
        more = {"cache_directory": str(self.directory / "cache"), "python": PYTHON, "system_packs": ["core"]}
        return {"name": "lab", "content": {"nodes": nodes, **roots, **more}}

    def wait_healthy(self, deadline_s: float = 30) -> None:
        for name in self.servers:
            wait_for(lambda name=name: self._apart(name), deadline_s, f"{name} to have its namespace", interval_s=0.01)  # type: ignore[misc]

    def _apart(self, name: str) -> bool:
        server = self.servers[name]
        server.check_alive()
        try:
            words = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        except OSError:
            return False
        return words.startswith(b"sleep")

    def _prepare(self) -> None:
        self.root.mkdir(exist_ok=True)
        fill(self.shared)
        for member in self.members:
            shutil.copytree(self.shared, self.disk(member.name), symlinks=True)

    def _launch(self) -> None:
        self.wait_healthy()
        for name in self.servers:
            self.mount(name, self.disk(name))

    def _runs_as(self, member: Member) -> int | None:
        return None

    def _command(self, member: Member) -> list[str]:
        return ["unshare", "--mount", "--propagation", "private", "sleep", "infinity"]


def fill(root: Path) -> None:
    """Two packs with their configuration and virtualenv, all made a while ago."""
    for pack in ("core", "jira"):
        actions = root / "packs" / pack / "actions"
        actions.mkdir(parents=True)
        (root / "packs" / pack / "pack.yaml").write_text(f"ref: {pack}\nname: {pack}\nversion: 1.0.0\n")
        (actions / "run.py").write_text("print('run')\n")
    (root / "packs" / "jira" / "requirements.txt").write_text("# none\njira\n")
    (root / "configs").mkdir()
    (root / "configs" / "jira.yaml").write_text("url: https://jira.example.com\n")
    made = f"python3.{sys.version_info[1]}"
    virtualenv = root / "virtualenvs" / "jira"
    (virtualenv / "lib" / made / "site-packages").mkdir(parents=True)
    (virtualenv / "bin").mkdir()
    (virtualenv / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    (virtualenv / "pyvenv.cfg").write_text("version = 3\n")
    for number, path in enumerate((root / "packs" / "jira" / "requirements.txt", virtualenv / "pyvenv.cfg")):
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))
    os.utime(virtualenv / "lib" / made / "site-packages", (1_700_000_001, 1_700_000_001))
