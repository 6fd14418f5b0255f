"""What is known of haproxy on the balancers at one moment: frozen, parsed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

from st2ha.edge.content import Reply
from st2ha.probe import Silent


@dataclass(frozen=True)
class Slot:
    """A server of a backend as it runs. `address` is `node:port`, None in maintenance."""

    backend: str
    name: str
    address: Optional[str]


@dataclass(frozen=True)
class Server:
    """More of a slot. `node` is its address even in maintenance; `ill` what its health check says, `checked` if it has
    one; `fqdn` the name that its address was made of."""

    slot: Slot
    node: str
    drained: bool = False
    ill: Optional[str] = None
    checked: bool = True
    fqdn: Optional[str] = None

    @property
    def takes_clients(self) -> bool:
        return self.slot.address is not None and not self.drained and self.ill is None


@dataclass(frozen=True)
class Line:
    """A `server` line of a file: `node:port` as written, None where it cannot be told; `off` if it is `disabled`."""

    address: Optional[str]
    off: bool = False


@dataclass(frozen=True)
class Seen:
    """A balancer: the slots of our backends, and those from before the last switch.

    `backends` are all that haproxy has; `refusal` what haproxy has against the file on disk; `conf` the servers of that
    file by backend, None where it could not be read.
    """

    slots: tuple[Slot, ...]
    former: tuple[Slot, ...]
    has_vip: bool
    servers: tuple[Server, ...] = ()
    backends: frozenset[str] = frozenset()
    refusal: Optional[str] = None
    conf: Optional[Mapping[str, Mapping[str, Line]]] = None


@dataclass(frozen=True)
class Unread:
    """A balancer that told nothing, and why. `inside`: we were let in, and its runtime socket did not answer."""

    why: str
    inside: bool = False


@dataclass(frozen=True)
class World:
    """All balancers, what clients are told at each address, nodes that were asked directly; `at` in epoch seconds."""

    seen: Mapping[str, Union[Seen, Unread]]
    public: Mapping[tuple[str, str], Union[Reply, Silent]]
    nodes: Mapping[tuple[str, str], Union[Reply, Silent]]
    at: float = 0.0

    @property
    def read(self) -> dict[str, Seen]:
        return {name: each for name, each in self.seen.items() if isinstance(each, Seen)}

    @property
    def holders(self) -> tuple[str, ...]:
        """The balancers that have the VIP."""
        return tuple(name for name, each in self.read.items() if each.has_vip)

    def rows(self) -> list[dict[str, Any]]:
        """The topology as a table."""
        return [_row(name, each) for name, each in self.seen.items()]


def _row(name: str, seen: Union[Seen, Unread]) -> dict[str, Any]:
    if isinstance(seen, Unread):
        return {"balancer": name, "vip": None, "servers": None}
    servers = [f"{each.slot.backend}/{each.slot.name} {each.slot.address}" for each in seen.servers]
    return {"balancer": name, "vip": seen.has_vip, "servers": servers}
