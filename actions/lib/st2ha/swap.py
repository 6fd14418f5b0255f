"""Replace a file inside a node, only if it still is what was read: whole or not at all, mode and owner kept.

The new text is written beside the file and its digest compared before it takes the file's place, so that a sender that
is killed half-way leaves the old file. Done once more it changes nothing.
"""

from __future__ import annotations

import hashlib
from typing import Optional

from st2ha.errors import CommandFailed, HaError, StepFailed, WorldChanged
from st2ha.hosts import Door

ABSENT = "absent"
CHANGED, TORN = 3, 4
SCRIPT = r"""
set -eu
umask 022
path=$(readlink -m -- "$1")
new="$path.st2ha-new"
sum() { if [ -e "$path" ]; then sha256sum <"$path" | cut -c1-64; else echo absent; fi; }
if [ "$(sum)" = "$3" ]; then cat >/dev/null; exit 0; fi
if [ "$3" != absent ]; then
  if [ -e "$path" ]; then cp -p -- "$path" "$new"; fi
  cat >"$new"
  [ "$(sha256sum <"$new" | cut -c1-64)" = "$3" ] || { rm -f -- "$new"; exit 4; }
  sync -- "$new"
fi
[ "$(sum)" = "$2" ] || { rm -f -- "$new"; exit 3; }
if [ "$3" = absent ]; then rm -f -- "$path"; else mv -f -- "$new" "$path"; fi
"""


def swap(door: Door, path: str, before: Optional[str], after: Optional[str], deadline_s: float) -> None:
    """Make the file `after` if it is `before` or already `after`; None: no file. WorldChanged if it is neither.

    Raises HostError where the node is not reached or does not let us. No text is ever part of a message.
    """
    text = b"" if after is None else after.encode()
    try:
        door.run(["sh", "-c", SCRIPT, "sh", path, digest(before), digest(after)], deadline_s, stdin=text)
    except CommandFailed as error:
        raise _told(error, path) from None


def digest(text: Optional[str]) -> str:
    """SHA-256 of a file's text; of no file the word absent."""
    return ABSENT if text is None else hashlib.sha256(text.encode()).hexdigest()


def _told(error: CommandFailed, path: str) -> HaError:
    if error.code == CHANGED:
        return WorldChanged(f"{path} has changed since it was read: it is left as it is; plan again")
    if error.code == TORN:
        return StepFailed(f"{path}: the new text did not arrive whole, the file is left as it is")
    return StepFailed(f"{path} cannot be written: {error}")
