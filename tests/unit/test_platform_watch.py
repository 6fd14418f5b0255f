"""What the watch of StackStorm's services asks anew in each round, and what only now and then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from st2ha.platform.watch import CONFIRM_S, Eye, Unsettled
from tests.recorded_platform import deployment, replay_of
from tests.replay import Replay, replaying

SELDOM = ("/v1/rules", "/v1/actions", "/v1/triggertypes")


def test_it_is_unsettled_until_nothing_has_changed_for_as_long_as_the_longest_confirmation() -> None:
    longest = max(CONFIRM_S.values())
    watch = Unsettled()
    assert watch.note("a", 1000.0)
    assert watch.note("a", 1000.0 + longest)
    assert not watch.note("a", 1000.0 + longest + 5)
    assert watch.note("b", 1000.0 + longest + 6)


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


def asked(replay: Replay) -> set[str]:
    paths = {path.partition("?")[0] for path in replay.asked}
    replay.asked.clear()
    return paths


def test_what_costs_much_is_read_seldom(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unsettled, "note", lambda *_: False)
    eye = Eye(lambda: deployment(replay, {}))
    assert eye.look()[1] == ()
    assert asked(replay).issuperset(SELDOM)
    replay.answers.update(replay_of("stuck_requested").answers)
    assert [finding.code for finding in eye.look()[1]] == ["ExecutionsStuck"]
    assert not asked(replay).intersection(SELDOM)


def test_after_a_change_all_is_read_until_it_is_sure(replay: Replay) -> None:
    eye = Eye(lambda: deployment(replay, {}))
    for _ in range(3):
        eye.look()
        assert asked(replay).issuperset(SELDOM)


def test_what_could_not_be_read_is_asked_again(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unsettled, "note", lambda *_: False)
    replay.answers["/v1/actions"] = 500
    eye = Eye(lambda: deployment(replay, {}))
    assert [finding.code for finding in eye.look()[1]] == ["ApiIncomplete"]
    del replay.answers["/v1/actions"]
    assert eye.look()[1] == ()
