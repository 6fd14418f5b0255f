"""From facts to findings about StackStorm's own services. Pure: time and limits are arguments."""

from __future__ import annotations

from st2ha.naming import count
from st2ha.platform import assess_nodes, assess_services, assess_work
from st2ha.platform.facts import Answer, Backlog
from st2ha.platform.scene import Scene
from st2ha.report import Finding

RULES = (*assess_services.RULES, *assess_work.RULES, *assess_nodes.RULES)


def assess(scene: Scene) -> tuple[Finding, ...]:
    """Every finding of every rule, in the rules' order."""
    return tuple(finding for rule in RULES for finding in rule(scene))


def healthy_words(scene: Scene) -> str:
    """What holds when nothing was found."""
    snapshot = scene.snapshot
    running = snapshot.backlogs.get("running")
    words = [f"{count(assess_services.registered(scene), 'member')} registered"]
    answering = sum(isinstance(asked, Answer) for asked in snapshot.endpoints.values())
    looked_into = sum(1 for _ in scene.insides())
    if answering:
        words.append(f"{count(answering, 'endpoint')} answer")
    if looked_into:
        words.append(f"{count(looked_into, 'node')} looked into")
    if isinstance(running, Backlog):
        words.append(f"{count(running.total, 'execution')} running")
    return ", ".join(words)
