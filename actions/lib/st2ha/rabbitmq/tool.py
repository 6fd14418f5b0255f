"""The few things that the management API cannot do: rabbitmqctl and rabbitmq-upgrade by the configured command.

`rabbitmq.command` is what stands before the tool's name, for example `ssh {host} sudo`: see st2ha.hosts.
"""

from __future__ import annotations

import re

from st2ha.config import Host
from st2ha.errors import CommandTimedOut, HostError, StepFailed
from st2ha.hosts import door
from st2ha.rabbitmq.settings import Rabbitmq

WORD = re.compile(r"[A-Za-z0-9_.@:/-]{1,255}")


def run_tool(settings: Rabbitmq, host: Host, node: str, words: tuple[str, ...], deadline_s: float = 120.0) -> str:
    """Run `words` (the tool first) for `node`; its output. StepFailed with the tool's own last words."""
    if settings.command is None:
        raise StepFailed("rabbitmq.command is not set")
    for word in (*words, node):
        if WORD.fullmatch(word) is None:
            raise StepFailed(f"{word!r} is not handed to a command line")
    way = door(settings.command, {"host": host.name, "node": node})
    try:
        return way.run([words[0], "-n", node, *words[1:]], deadline_s).decode("utf-8", "replace")
    except CommandTimedOut:
        raise StepFailed(f"`{' '.join(words)}` took longer than {deadline_s:g} s") from None
    except HostError as error:
        raise StepFailed(f"rabbitmq.command: {error}") from None
