"""st2.conf of the new side's nodes: rendered from an old node's, shown as a diff, written through the node's door."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.errors import BadInput, StepFailed, WorldChanged
from st2ha.hosts import read_file
from st2ha.mongodb.copy.decide import checked_name
from st2ha.plan import Decision, Plan, Refused, Step, Verb
from st2ha.rabbitmq.decide_vhost import checked_vhost
from st2ha.report import Finding
from st2ha.st2conf import Edited, Options, edit, read
from st2ha.swap import swap
from st2ha.upgrade import conf
from st2ha.upgrade.names import named
from st2ha.upgrade.settings import Node, Upgrade

RESTORE = """
set -eu
if [ -e "$1" ]; then mv -f -- "$1" "$2"; echo restored; else echo was not changed; fi
"""


@dataclass(frozen=True)
class Files:
    """The node's st2.conf and that of the old node whose logins it gets; `edited` is how the first is to be."""

    node: Node
    text: str
    edited: Edited

    def rows(self) -> list[dict[str, Any]]:
        where = f"{self.node.name}:{self.node.conf}"
        return [{"node": self.node.name, **conf.summary_of(read(self.text, where))}]


def names_of(upgrade: Upgrade, old_options: Mapping[str, Any]) -> conf.Names:
    """The new side's database and vhost: configured, else the old ones with the new version."""
    version, old = upgrade.new.version, dict(old_options)
    vhosts = {conf.vhost_of(url) for url in conf.broker_urls(old, "st2.conf")}
    if len(vhosts) > 1:
        raise BadInput(f"[messaging] cluster_urls names the vhosts {', '.join(sorted(vhosts))}: they must be one")
    vhost = next(iter(vhosts))
    database = upgrade.database or named(conf.database_of(old), version)
    names = conf.Names(database, upgrade.vhost or named("st2" if vhost == "/" else vhost, version))
    if names.database.lower() == conf.database_of(old).lower():
        raise BadInput(f"the database of both sides would be {names.database!r}: set upgrade.database to another one")
    if names.vhost == vhost:
        raise BadInput(f"the vhost of both sides would be {vhost!r}: set upgrade.vhost to another one")
    return names


def gather(upgrade: Upgrade, node: Node, names: Optional[conf.Names] = None, old: Optional[Options] = None) -> Files:
    """Read both files, the old one unless it is given. HostError where one cannot be read, BadInput for no sense."""
    reference = upgrade.old.nodes[0]
    if old is None:
        old = read(text_of(upgrade, reference), f"{reference.name}:{reference.conf}")
    text, where = text_of(upgrade, node), f"{node.name}:{node.conf}"
    apis = conf.Apis(upgrade.hosts_of_old, upgrade.new.api_url)
    names = names or names_of(upgrade, old)
    wanted = conf.changes(old, read(text, where), names, f"{reference.name}:{reference.conf}", apis)
    return Files(node, text, edit(text, wanted, where))


def text_of(upgrade: Upgrade, node: Node) -> str:
    """A node's st2.conf."""
    data = read_file(upgrade.door(node), node.conf, upgrade.timeout_s)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadInput(f"{node.name}:{node.conf} is not UTF-8 text: correct the file") from None


def decide(files: Files) -> Decision:
    """Write the file if it is not as it is to be."""
    goal = f"st2.conf of {files.node.name}"
    if files.node.side != "new":
        return Refused(goal, ("it is a node of the old side, whose st2.conf stays as it is",))
    if not files.edited.changed:
        return Plan(f"{goal}: all is as wanted", ())
    because = ", ".join(files.edited.changed)
    return Plan(goal, (Step("write_conf", files.node.name, because, {"files": files}),))


def backup_of(node: Node) -> str:
    """Where the file is kept as it was before the first write."""
    return f"{node.conf}.st2ha-before"


def write_conf(upgrade: Upgrade, files: Files) -> str:
    """Keep the file as it was, once; replace it; read it back."""
    door, node = upgrade.door(files.node), files.node
    now = text_of(upgrade, node)
    if now == files.edited.text:
        return "was written already"
    if now != files.text:
        raise WorldChanged(f"{node.name}:{node.conf} was changed since it was read: run this again")
    door.run(["cp", "-p", "-n", "--", node.conf, backup_of(node)], upgrade.timeout_s)
    swap(door, node.conf, files.text, files.edited.text, upgrade.timeout_s)
    if text_of(upgrade, node) != files.edited.text:
        raise StepFailed(f"{node.name}:{node.conf} does not read back as it was written")
    return f"sha256 {hashlib.sha256(files.edited.text.encode()).hexdigest()[:12]}, before: {backup_of(node)}"


def restore_conf(upgrade: Upgrade, node: Node) -> str:
    """The file as it was before the first write, if there was one. HostError where the node does not let us."""
    text = upgrade.door(node).run(["sh", "-c", RESTORE, "sh", backup_of(node), node.conf], upgrade.timeout_s)
    return text.decode().strip()


def render(
    deployment: Deployment,
    node: Any,
    database: Any = None,
    vhost: Any = None,
    dry_run: bool = False,
    deadline_s: float = 60.0,
) -> dict[str, Any]:
    """The action st2conf_render; `database` and `vhost` empty: as the upgrade would name them."""
    upgrade: Upgrade = deployment.require("upgrade")
    number_in("parameter `deadline_s`", deadline_s, 1, 3600)
    target = upgrade.node(node)
    names = None
    if database or vhost:
        if not (database and vhost):
            raise BadInput("parameters `database` and `vhost` go together: give both, or neither")
        names = conf.Names(checked_name(database, "database"), checked_vhost(vhost))
    diffs: list[str] = []

    def look() -> Files:
        files = gather(upgrade, target, names)
        diffs.append(files.edited.diff)
        return files

    def verbs(files: Files) -> Mapping[str, Verb]:
        return {"write_conf": lambda step: write_conf(upgrade, step.expect["files"])}

    def assess(_: Files) -> tuple[Finding, ...]:
        return ()

    result = change(look, decide, verbs, assess, dry_run, deadline_s)
    return {**result, "diff": diffs[0].splitlines()}
