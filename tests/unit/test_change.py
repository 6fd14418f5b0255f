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


def test_what_was_done_is_looked_at_once_more_unless_the_caller_has_looked() -> None:
    world = World()
    assert world.changed()["after"] == [{"looks": 2}]
    result = world.changed(seen=world)
    assert world.looks == 2 and result["before"] == [{"looks": 2}] and "after" not in result
    assert result["outcome"] == "done" and result["summary"].startswith("OK a file there: done and proved")


@pytest.mark.parametrize("hurried, looks", [(False, 3), (True, 2)])
def test_what_failed_is_always_looked_at_and_undone(hurried: bool, looks: int) -> None:
    world = World(breaks=True)
    back = Plan("former file back", (Step("back", "lb1", "it is not whole"),))
    result = world.changed(undo=lambda before, after: back, seen=world if hurried else None)
    assert world.looks == looks and world.done == ["back"]
    assert "the disk is full" in result["error"] and result["undo"]["outcome"] == "done"
