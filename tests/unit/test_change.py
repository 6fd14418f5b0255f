"""What a change looks at, and when: pure, with a world of its own."""

from __future__ import annotations

from typing import Any

import pytest

from st2ha.change import change
from st2ha.errors import StepFailed
from st2ha.plan import Plan, Step


class World:
    """The looks at it, and what was done to it."""

    def __init__(self, breaks: bool = False) -> None:
        self.looks, self.done, self._breaks = 0, list[str](), breaks

    def gather(self) -> World:
        self.looks += 1
        return self

    def rows(self) -> list[dict[str, Any]]:
        return [{"looks": self.looks}]

    def write(self, step: Step) -> str:
        if self._breaks and step.verb == "write":
            raise StepFailed("the disk is full")
        self.done.append(step.verb)
        return "written"

    def changed(self, **more: Any) -> dict[str, Any]:
        plan = Plan("a file there", (Step("write", "lb1", "it is not there"),))
        verbs = {"write": self.write, "back": self.write}
        return change(self.gather, lambda _: plan, lambda _: verbs, lambda _: (), False, 10, **more)


def test_what_was_done_is_looked_at_once_more_unless_its_proofs_are_enough() -> None:
    world = World()
    assert world.changed()["after"] == [{"looks": 2}]
    result = world.changed(last_look=False)
    assert world.looks == 3 and "after" not in result
    assert result["outcome"] == "done" and result["summary"].startswith("OK a file there: done and proved")


@pytest.mark.parametrize("last_look", [True, False])
def test_what_failed_is_always_looked_at_and_undone(last_look: bool) -> None:
    world = World(breaks=True)
    back = Plan("former file back", (Step("back", "lb1", "it is not whole"),))
    result = world.changed(undo=lambda before, after: back, last_look=last_look)
    assert world.looks == 3 and world.done == ["back"]
    assert "the disk is full" in result["error"] and result["undo"]["outcome"] == "done"
