"""What an upgrade's rules and steps look at: both sides' settings, the ledger's word, the new nodes' files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from st2ha.mongodb.copy.gather import in_parallel
from st2ha.st2conf import Options, read
from st2ha.upgrade import conf, render
from st2ha.upgrade.ledger import Entry, Ledger
from st2ha.upgrade.settings import Upgrade


@dataclass(frozen=True)
class Scene:
    """One look. `old_options` hold logins: they are in no repr and no result."""

    upgrade: Upgrade
    names: conf.Names
    old_database: str
    old_vhost: str
    entry: Entry
    holder: Optional[str]
    old_options: Options = field(repr=False)
    files: tuple[render.Files, ...] = field(repr=False)
    configured_vhost: Optional[str] = None

    def rows(self) -> list[dict[str, Any]]:
        """A row a side."""
        rows = []
        for side, database, vhost in (
            (self.upgrade.old, self.old_database, self.old_vhost),
            (self.upgrade.new, self.names.database, self.names.vhost),
        ):
            nodes = ", ".join(node.name for node in side.nodes)
            version = ".".join(map(str, side.version))
            row = {"side": side.name, "version": version, "database": database, "vhost": vhost, "nodes": nodes}
            rows.append({**row, "state": self.entry.state})
        return rows

    @property
    def old_urls(self) -> list[str]:
        return conf.broker_urls(self.old_options, "st2.conf")


def sides(upgrade: Upgrade) -> tuple[Options, conf.Names]:
    """The old side's settings, and the new side's names."""
    reference = upgrade.old.nodes[0]
    options = read(render.text_of(upgrade, reference), f"{reference.name}:{reference.conf}")
    return options, render.names_of(upgrade, options)


def gather(
    upgrade: Upgrade,
    ledger: Ledger,
    options: Options,
    names: conf.Names,
    configured_vhost: Optional[str] = None,
    files: bool = True,
) -> Scene:
    """Read the ledger, and the new nodes' `files` where they are wanted."""
    vhost = conf.vhost_of(conf.broker_urls(options, "st2.conf")[0])
    nodes = upgrade.new.nodes if files else ()
    found = tuple(in_parallel(lambda node: render.gather(upgrade, node, names, options), nodes, len(nodes) or 1))
    pair = conf.database_of(options), vhost
    return Scene(upgrade, names, *pair, ledger.read(), ledger.holder(), options, found, configured_vhost)
