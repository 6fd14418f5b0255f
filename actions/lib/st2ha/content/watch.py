"""Watch the content of all nodes: a look a minute, soon again after a change. Run as a child by st2ha.observer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from st2ha.config import Deployment, select
from st2ha.content.assess import assess
from st2ha.content.facts import Snapshot
from st2ha.content.gather import gather
from st2ha.content.settings import Content
from st2ha.observer import Tell, serve
from st2ha.rounds import Look, Rounds, told, weights
from st2ha.tempo import Tempo

PERIOD_S = 60.0
CONFIRM_S = {
    **dict.fromkeys(("ContentDrift", "PackVersionsDiffer", "NotRegistered", "PacksUnknown", "NodeUnread"), 10.0),
    **dict.fromkeys(("VirtualenvBroken", "VirtualenvStale"), 60.0),
}
"""What every installation of a pack, and every copy to the nodes, shows for a while: told only if it stays."""


def watch(config: Mapping[str, Any], deployment: str, tell: Tell) -> None:
    """Tell looks at the content of `deployment`, for ever. The configuration is read for each look: secrets rotate."""
    Watch(lambda: select(config, deployment), tell).run()


class Watch(Rounds[Snapshot]):
    """One deployment's content being watched."""

    def __init__(self, deployment: Callable[[], Deployment], tell: Tell) -> None:
        super().__init__(tell)
        self._tempo = Tempo(PERIOD_S)
        self._deployment = deployment

    def look(self) -> Look:
        """See Rounds.look."""
        deployment = self._deployment()
        settings: Content = deployment.require("content")
        snapshot = gather(settings, deployment)
        findings = assess(snapshot, settings)
        return Look({**told(snapshot, findings, CONFIRM_S, []), "at": time.time()}, weights(findings))


if __name__ == "__main__":
    serve(watch)
