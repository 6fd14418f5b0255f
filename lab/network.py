"""Cut servers off the network of one machine, with nft, as a cable would: packets vanish, nobody is told.

Every server runs under a uid of its own. A connection is marked in conntrack with the uid that opened it, so a rule can
name both directions of it. Matching ``meta skuid`` in the output hook alone is not enough: replies and pushed data to
the server's outgoing connections would still arrive, and in the input hook loopback packets have no socket yet.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from lab.errors import LabError


@dataclass(frozen=True)
class Endpoint:
    """A server as the network sees it: the uid it runs as and the ports it listens on."""

    name: str
    uid: int
    ports: tuple[int, ...]


class Network:
    """The rules of one cluster, in a table ``inet st2ha_lab_<id>`` of its own, so that clusters never meet."""

    def __init__(self, ident: int, endpoints: Iterable[Endpoint]) -> None:
        self.table = f"inet st2ha_lab_{ident}"
        self.endpoints = {e.name: e for e in endpoints}
        # Those that this process cut off from everybody: not worth asking.
        self.silent: set[str] = set()

    @staticmethod
    @functools.cache
    def limitation() -> str | None:
        """Why servers cannot be cut off here, None if they can."""
        if os.geteuid() != 0:
            return "cutting off needs root (a uid for each server, nft)"
        if not shutil.which("nft"):
            return "cutting off needs nft (apt install nftables)"
        tried = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10, check=False)
        return f"nft does not work here: {tried.stderr.strip()}" if tried.returncode else None

    def up(self) -> None:
        """Create the table; must run before the servers connect to each other. Does nothing without root."""
        if self.limitation() is None:
            marks = "".join(
                f"add rule {self.table} owner ct direction original meta skuid {e.uid} ct mark set {e.uid}\n"
                for e in self.endpoints.values()
            )
            chain = f"add chain {self.table} owner {{ type filter hook output priority mangle; policy accept; }}\n"
            _nft(f"add table {self.table}\n{chain}{marks}")

    def down(self) -> None:
        """Delete the table with everything in it; harmless if there is none."""
        if self.limitation() is None:
            _nft(f"add table {self.table}\ndelete table {self.table}\n")

    def cut_off(self, name: str, *, keep_clients: bool = False) -> None:
        """Drop all TCP from and to a server, both directions. Does nothing if that is so already.

        With ``keep_clients`` only between it and the other servers: clients still reach both sides.
        Raises LabError where limitation() has something to say.
        """
        why = self.limitation()
        if why:
            raise LabError(f"cannot cut off {name}: {why}")
        me = self.endpoints[name]
        others = [e for e in self.endpoints.values() if e.name != name]
        rules = _between(me, others) if keep_clients else _everything(me)
        if not keep_clients:
            self.silent.add(name)
        chain = f"{self.table} cut_{name}"
        head = f"add chain {chain} {{ type filter hook output priority filter; policy accept; }}\nflush chain {chain}\n"
        _nft(head + "".join(f"add rule {chain} meta l4proto tcp {rule} drop\n" for rule in rules))

    def heal(self, name: str) -> None:
        """Undo ``cut_off``; harmless if there was none."""
        self.silent.discard(name)
        if self.limitation() is None:
            chain = f"{self.table} cut_{name}"
            _nft(f"add table {self.table}\nadd chain {chain}\nflush chain {chain}\ndelete chain {chain}\n")

    def is_cut_off(self, name: str) -> bool:
        """Whether a cut is in force."""
        if self.limitation() is not None:
            return False
        reply = subprocess.run(
            ["nft", "list", "chain", *self.table.split(), f"cut_{name}"], capture_output=True, timeout=10, check=False
        )
        return reply.returncode == 0


def _everything(me: Endpoint) -> list[str]:
    ports = _set(me.ports)
    # The plain rules also hold for packets that conntrack calls invalid and therefore does not mark.
    return [f"ct mark {me.uid}", f"meta skuid {me.uid}", f"tcp dport {ports}", f"tcp sport {ports}"]


def _between(me: Endpoint, others: list[Endpoint]) -> list[str]:
    if not others:
        return []
    theirs = _set(port for e in others for port in e.ports)
    return [
        f"ct mark {me.uid} ct original proto-dst {theirs}",
        f"ct mark {_set(e.uid for e in others)} ct original proto-dst {_set(me.ports)}",
        f"meta skuid {me.uid} tcp dport {theirs}",
    ]


def _set(numbers: Iterable[int]) -> str:
    return "{ " + ", ".join(map(str, numbers)) + " }"


def _nft(script: str) -> None:
    """Run an nft script; it is one transaction: all of it or nothing."""
    result = subprocess.run(["nft", "-f", "-"], input=script, text=True, capture_output=True, timeout=10, check=False)
    if result.returncode != 0:
        raise LabError(f"nft refused:\n{script}{result.stderr}")
