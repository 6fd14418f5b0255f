"""st2ha.watch: each change once, no flapping, nothing repeated or lost by a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.report import Finding, Severity
from st2ha.watch import REMEMBERED, Change, Patience, State, dump, load, update, update_role
from tests.examples import examples

DOWN = Finding("MemberDown", Severity.WARNING, "mongodb/rs0/m1", "refused", "start mongod on m1")
WORSE = replace(DOWN, severity=Severity.CRITICAL)
PATIENCE = Patience()


class Story:
    """Looks at given times, and what they told: (time, change, flapping)."""

    def __init__(self) -> None:
        self.state = State(born=1.0)
        self.changes: list[Change] = []

    def look(self, now: float, *findings: Finding) -> list[str]:
        self.state, changes = update(self.state, findings, now, PATIENCE)
        self.changes += changes
        return [change.change for change in changes]

    def steady(self, start: float, end: float, *findings: Finding) -> list[str]:
        """A look a second."""
        return [word for now in range(int(start), int(end)) for word in self.look(now, *findings)]


def test_a_finding_appears_when_a_second_look_confirms_it() -> None:
    story = Story()
    assert story.look(0, DOWN) == []
    assert story.look(0.1, DOWN) == []
    assert story.look(0.3, DOWN) == ["appeared"]
    assert story.look(9, DOWN) == []


def test_what_is_gone_at_the_second_look_is_never_told() -> None:
    story = Story()
    assert [*story.look(0, DOWN), *story.look(0.3), *story.look(0.6, DOWN), *story.look(0.7, DOWN)] == []


def test_it_clears_when_it_has_stayed_away() -> None:
    story = Story()
    story.steady(0, 2, DOWN)
    assert story.look(10) == [] and story.look(19.9) == []
    assert story.look(20) == ["cleared"] and story.look(30) == []


def test_a_short_absence_is_not_told() -> None:
    story = Story()
    story.steady(0, 2, DOWN)
    assert story.steady(2, 9) == [] and story.steady(9, 30, DOWN) == []


def test_a_code_may_need_longer() -> None:
    state, changes = update(State(0), [DOWN], 0, PATIENCE, {"MemberDown": 4})
    state, changes = update(state, [DOWN], 3.9, PATIENCE, {"MemberDown": 4})
    assert not changes
    assert update(state, [DOWN], 4, PATIENCE, {"MemberDown": 4})[1][0].change == "appeared"


def test_worse_is_told_at_once_and_better_when_it_lasts() -> None:
    story = Story()
    story.steady(0, 2, DOWN)
    assert story.look(2, WORSE) == [] and story.look(2.3, WORSE) == ["changed"]
    assert story.changes[-1].content["severity"] == "critical"
    assert story.steady(3, 13, DOWN) == [] and story.look(13, DOWN) == ["changed"]
    assert story.changes[-1].content["severity"] == "warning"


def test_a_flapping_finding_is_told_once_and_then_held_until_it_is_calm() -> None:
    story = Story()
    told = [
        word
        for start in range(0, 100, 10)
        for word in (*story.steady(start, start + 5, DOWN), *story.steady(start + 5, start + 10))
    ]
    assert told == ["appeared", "changed"]
    assert [change.content["flapping"] for change in story.changes] == [False, True]
    assert story.steady(100, 95 + 120) == [] and story.look(95 + 120) == ["cleared"]
    assert story.changes[-1].content["flapping"] is True


def test_appearing_and_clearing_too_often_is_flapping_as_well() -> None:
    story = Story()
    for start in range(0, 200, 40):
        story.steady(start, start + 5, DOWN)
        story.steady(start + 5, start + 40)
    words = [(change.change, change.content["flapping"]) for change in story.changes]
    assert words == [("appeared", False), ("cleared", False)] * 3 + [("appeared", True)]


def test_a_clock_set_back_does_not_stop_it() -> None:
    story = Story()
    story.steady(1000, 1002, DOWN)
    story.look(1003)
    assert story.steady(5, 16) == ["cleared"]


def test_ids_are_the_same_again_and_never_those_of_another_change() -> None:
    story = Story()
    story.steady(0, 2, DOWN)
    before = story.state
    story.steady(2, 20)
    first = story.changes[-1].payload(story.state, "lab", "mongodb")
    story.state = before
    story.steady(3, 30)
    again = story.changes[-1].payload(story.state, "lab", "mongodb")
    assert first["id"] == again["id"] and first["change"] == again["change"] == "cleared"
    story.steady(30, 60, DOWN)
    ids = [change.payload(story.state, "lab", "mongodb")["id"] for change in story.changes]
    assert len(set(ids)) == len(ids) - 1
    assert story.changes[-1].payload(story.state, "other", "mongodb")["id"] not in ids


def test_the_state_stays_small_and_ids_stay_unique() -> None:
    story, ids = Story(), []
    for number in range(3 * REMEMBERED):
        finding = replace(DOWN, subject=f"mongodb/rs0/m{number % (2 * REMEMBERED)}", message="x" * 5000)
        start = 100 * number
        story.steady(start, start + 3, finding)
        story.steady(start + 3, start + 20)
        ids += [change.payload(story.state, "lab", "mongodb")["id"] for change in story.changes]
        story.changes.clear()
    assert len(ids) == len(set(ids)) == 6 * REMEMBERED
    assert len(story.state.known) <= REMEMBERED + 1 and len(dump(story.state)) < 100_000


def test_the_first_primary_is_learned_and_the_next_is_told() -> None:
    state, changes = update_role(State(0), "mongodb/rs0", "primary", "m1", 4, 10)
    assert changes == ()
    state, changes = update_role(state, "mongodb/rs0", "primary", "m1", 5, 20)
    assert changes == ()
    state, (change,) = update_role(state, "mongodb/rs0", "primary", "m2", 6, 30)
    payload = change.payload(state, "lab", "mongodb")
    assert (payload["former"], payload["current"], payload["term"]) == ("m1", "m2", 6)
    assert update_role(state, "mongodb/rs0", "primary", "m2", 6, 31)[1] == ()


def test_an_old_primary_is_no_news_unless_it_stays() -> None:
    state, _ = update_role(State(0), "mongodb/rs0", "primary", "m2", 6, 0)
    state, changes = update_role(state, "mongodb/rs0", "primary", "m1", 5, 10)
    assert changes == ()
    state, changes = update_role(state, "mongodb/rs0", "primary", "m2", 6, 20)
    state, changes = update_role(state, "mongodb/rs0", "primary", "m1", 1, 30)
    state, changes = update_role(state, "mongodb/rs0", "primary", "m1", 1, 149)
    assert changes == ()
    state, (change,) = update_role(state, "mongodb/rs0", "primary", "m1", 1, 150)
    assert change.content["former"] == "m2"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version":2}', '{"version":1,"born":0,"floor":0,"known":{"a":{}},"roles":{}}']
)
def test_a_state_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        load(text)


SUBJECTS = ["a", "b"]
LOOKS = st.lists(
    st.tuples(
        st.sampled_from([0.1, 0.3, 1.0, 4.0, 11.0, 130.0]),
        st.dictionaries(st.sampled_from(SUBJECTS), st.sampled_from([Severity.WARNING, Severity.CRITICAL])),
        st.sampled_from([None, "m1", "m2"]),
    ),
    max_size=60,
)
Look = tuple[float, dict[str, Severity], Optional[str]]


def play(looks: list[Look], restarts: bool) -> tuple[State, list[Change]]:
    state, now, told, term = State(born=5.0), 100.0, [], 0
    for pause, found, primary in looks:
        now, term = now + pause, term + 1
        findings = [replace(DOWN, subject=subject, severity=severity) for subject, severity in found.items()]
        state, changes = update(state, findings, now, PATIENCE)
        told += changes
        if primary:
            state, changes = update_role(state, "mongodb/rs0", "primary", primary, term, now)
            told += changes
        if restarts:
            state = load(dump(state))
    return state, told


@examples(300)
@given(LOOKS)
def test_a_restart_at_any_time_repeats_and_loses_nothing(looks: list[Look]) -> None:
    assert play(looks, restarts=True) == play(looks, restarts=False)


@examples(300)
@given(LOOKS)
def test_appeared_and_cleared_take_turns_and_every_id_is_new(looks: list[Look]) -> None:
    state, told = play(looks, restarts=False)
    ids = [change.payload(state, "lab", "mongodb")["id"] for change in told]
    assert len(ids) == len(set(ids))
    for subject in SUBJECTS:
        words = [change.change for change in told if change.key == f"MemberDown {subject}"]
        turns = [word for word in words if word != "changed"]
        assert turns == ["appeared", "cleared"] * (len(turns) // 2) + ["appeared"] * (len(turns) % 2)
        assert not words or words[0] == "appeared"
        assert all(former != "cleared" for former, word in zip(words, words[1:]) if word == "changed")
    moves = [change.content for change in told if change.change == "moved"]
    assert all(move["former"] != move["current"] for move in moves)
    assert all(former["current"] == move["former"] for former, move in zip(moves, moves[1:]))


@examples(300)
@given(LOOKS, st.dictionaries(st.sampled_from(SUBJECTS), st.sampled_from([Severity.WARNING, Severity.CRITICAL])))
def test_what_is_told_in_the_end_is_what_is_there(looks: list[Look], last: dict[str, Severity]) -> None:
    """Whatever came before: after the longest wait of all, the standing findings are the ones seen."""
    quiet: list[Look] = [(1.0, last, None)] * 260
    state, _ = play([*looks, *quiet], restarts=False)
    assert {finding.subject: finding.severity for finding in state.standing} == last


@examples(200)
@given(LOOKS)
def test_it_tells_no_more_than_it_may(looks: list[Look]) -> None:
    """At the most, in any flap window: `flaps` whole rounds, and the word that it flaps."""
    _, told = play([(min(pause, 4.0), found, None) for pause, found, _ in looks], restarts=False)
    for subject in SUBJECTS:
        words = [change.change for change in told if change.key == f"MemberDown {subject}"]
        assert words.count("appeared") <= PATIENCE.flaps + 1
