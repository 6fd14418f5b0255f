"""The few things that the management API cannot do: rabbitmqctl and rabbitmq-upgrade by the configured command.

`rabbitmq.command` is what stands before the tool's name, for example `ssh -o BatchMode=yes {host} sudo`. It runs
without a shell here; ssh gives it to one there, so every word that we add is checked.
"""

from __future__ import annotations

import re
import subprocess

from st2ha.config import Host
from st2ha.errors import StepFailed
from st2ha.rabbitmq.settings import Rabbitmq

WORD = re.compile(r"[A-Za-z0-9_.@:/-]{1,255}")
MOST_WORDS = 300


def run_tool(settings: Rabbitmq, host: Host, node: str, words: tuple[str, ...], deadline_s: float = 120.0) -> str:
    """Run `words` (the tool first) for `node`; its output. StepFailed with the tool's own last words."""
    if settings.command is None:
        raise StepFailed("rabbitmq.command is not set")
    for word in (*words, node):
        if WORD.fullmatch(word) is None:
            raise StepFailed(f"{word!r} is not handed to a command line")
    prefix = [part.format(host=host.name, node=node) for part in settings.command]
    command = [*prefix, words[0], "-n", node, *words[1:]]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=deadline_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"`{' '.join(words)}` took longer than {deadline_s:g} s") from None
    except OSError as error:
        raise StepFailed(
            f"rabbitmq.command cannot be run: {error.strerror}: {prefix[0] if prefix else words[0]}"
        ) from None
    if done.returncode != 0:
        text = " ".join((done.stderr or done.stdout).split())[:MOST_WORDS]
        raise StepFailed(f"`{' '.join(words)}` ended with {done.returncode}: {text}")
    return done.stdout
