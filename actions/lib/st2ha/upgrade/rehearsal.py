"""The way back, gone before the way there: what an upgrade changes is changed and given back on copies.

Each new node's st2.conf is copied to a directory of its own beside it, rendered and restored there by the steps of the
upgrade, and compared with the live file: bytes, mode and owner. The balancers' switch to each side is planned and not
begun, which has nginx test the files as they are. Nothing live is written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from st2ha.config import Deployment
from st2ha.edge import operations as edge
from st2ha.errors import HaError
from st2ha.upgrade import render
from st2ha.upgrade.settings import Upgrade

COPY = """
set -eu
place=$(mktemp -d -- "$(dirname -- "$(readlink -f -- "$1")")/.st2ha-rehearsal.XXXXXX")
cp -p -- "$1" "$place/st2.conf"
echo "$place"
"""
COMPARE = """
set -eu
stamp() { stat -L -c '%a %u %g %s' -- "$1"; sha256sum <"$1"; }
[ "$(stamp "$1")" = "$(stamp "$2/st2.conf")" ] || { echo "the restored file is not the former one" >&2; exit 1; }
"""


def of_conf(upgrade: Upgrade, files: render.Files) -> str:
    """Empty, or why this node's st2.conf would not come back as it was."""
    door, node = upgrade.door(files.node), files.node
    try:
        place = door.run(["sh", "-c", COPY, "sh", node.conf], upgrade.timeout_s).decode().strip()
    except HaError as error:
        return f"its directory cannot be written: {error}"
    copied = replace(files, node=replace(node, conf=f"{place}/st2.conf"))
    try:
        render.write_conf(upgrade, copied)
        render.restore_conf(upgrade, copied.node)
        door.run(["sh", "-c", COMPARE, "sh", node.conf, place], upgrade.timeout_s)
    except HaError as error:
        return str(error)
    finally:
        door.run(["rm", "-rf", "--", place], upgrade.timeout_s)
    return ""


def of_balancers(deployment: Deployment, upgrade: Upgrade) -> tuple[str, ...]:
    """Why the balancers could not be switched there or back; a new node that does not run yet is no reason."""
    found: dict[str, None] = {}
    for side in (upgrade.new, upgrade.old):
        if side.group:
            result: dict[str, Any] = edge.switch(deployment, side.group, force=True, dry_run=True)
            found.update(dict.fromkeys(str(each) for each in result.get("reasons", ())))
    if upgrade.old.group:
        found.update(dict.fromkeys(edge.unfit(deployment, upgrade.old.group)))
    return tuple(found)
