"""The rule of the lease, against time that passes as it likes: never two holders, and somebody holds soon."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from random import Random
from typing import Callable, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.partition.lease.rule import (
    FREE,
    Look,
    Record,
    Terms,
    View,
    Write,
    failed,
    given_back,
    looked,
    next_move,
    refused,
    wrote,
)
from tests.examples import examples

DURABLE = Terms(ttl_s=10.0)
FORGETFUL = Terms(ttl_s=10.0, settle_s=5.0)
R = Record


def seen(record: Optional[Record], at: float = 100.0, place: str = "p", terms: Terms = DURABLE) -> View:
    return looked(View("a", terms), record, place, at)


def test_a_record_of_another_is_taken_when_it_was_seen_unchanged_for_the_ttl() -> None:
    view = seen(R("b", 5, 1))
    assert next_move(view, 100, 0) == Look(100.5)
    view = looked(view, R("b", 5, 1), "p", 109.8)
    assert next_move(view, 109.8, 0) == Write(R("b", 5, 1), R("a", 6), "p", 110.0)
    assert next_move(looked(view, R("b", 5, 2), "p", 109.9), 109.9, 0) == Look(110.4)


def test_a_record_that_is_missing_may_have_been_lost_and_is_waited_for_as_well() -> None:
    view = looked(seen(None), None, "p", 109.9)
    assert next_move(view, 109.9, 77) == Write(None, R("a", 77), "p", 110.0)


def test_what_was_given_back_is_taken_at_once() -> None:
    assert given_back(R("b", 5, 7)) == R(FREE, 5, 8)
    assert next_move(seen(R(FREE, 5, 8)), 100, 0) == Write(R(FREE, 5, 8), R("a", 6), "p", 100.0)


def test_a_holder_counts_from_when_it_sent_and_renews_three_times_before_the_end() -> None:
    write = Write(R("b", 5, 1), R("a", 6), "p", 110.0)
    view = wrote(seen(R("b", 5, 1)), write, 110.0, 110.3)
    assert (view.token, view.until) == (6, 119.0)
    renewal = next_move(view, 110.3, 0)
    assert renewal == Write(R("a", 6), R("a", 6, 1), "p", pytest.approx(112.8))
    for at in (113.0, 115.0, 117.0):
        view = failed(view, at)
        assert next_move(view, at, 0) == Look(at + 0.5)
        assert (view.token, view.until) == (6, 119.0)


def test_a_holder_whose_lease_is_over_goes_on_with_its_token_if_nobody_took_it() -> None:
    view = wrote(seen(None), Write(None, R("a", 6), "p", 100.0), 100.0, 100.1)
    view = looked(failed(view, 150.0), R("a", 6, 1), "p", 160.0)
    assert next_move(view, 160.0, 0) == Write(R("a", 6, 1), R("a", 6, 2), "p", pytest.approx(102.8))
    assert looked(view, R("b", 7), "p", 161.0).token is None


def test_a_write_whose_answer_was_lost_is_confirmed() -> None:
    view = looked(failed(seen(R("b", 5, 1)), 110.0), R("a", 6), "p", 110.5)
    assert (view.token, view.until) == (None, float("-inf"))
    assert next_move(view, 110.5, 0) == Write(R("a", 6), R("a", 6, 1), "p", 110.5)


def test_after_a_refusal_it_looks_at_once() -> None:
    assert next_move(refused(seen(R("b", 5, 1)), 110.0), 110.0, 0) == Look(110.0)


@pytest.mark.parametrize("record", [R("b", 5, 1), R(FREE, 5, 1), None, R("a", 5, 1)])
def test_a_place_that_may_have_forgotten_is_not_believed_for_a_ttl_and_more(record: Optional[Record]) -> None:
    view = seen(record, terms=FORGETFUL)
    while isinstance(move := next_move(view, view.again_at, 0), Look):
        view = looked(view, record, "p", move.at)
    assert move.at == 115.0 and move.new.token > (record.token if record else 0)
    moved = looked(view, record, "elsewhere", 114.0)
    assert next_move(moved, 114.0, 0) == Look(114.5)


def test_a_holder_follows_to_another_place_while_its_lease_lasts() -> None:
    view = wrote(seen(None, terms=FORGETFUL), Write(None, R("a", 6), "p", 120.0), 120.0, 120.1)
    view = looked(view, R("a", 6), "elsewhere", 123.0)
    assert isinstance(next_move(view, 123.0, 0), Write)
    assert isinstance(next_move(view, 129.5, 0), Look)


# -- many contenders, one backend, and anything that can go wrong in between


@dataclass
class Backend:
    """What all share. It may forget what was written last; then its place changes."""

    record: Optional[Record] = None
    generation: int = 0
    former: list[Optional[Record]] = field(default_factory=list)
    known_at: dict[int, float] = field(default_factory=dict)

    def replace(self, write: Write) -> bool:
        if self.record != write.old or write.place != f"p{self.generation}":
            return False
        self.former.append(self.record)
        self.record = write.new
        return True

    def forget(self, steps: int) -> None:
        if self.former:
            self.record = self.former[max(0, len(self.former) - steps)]
            del self.former[max(0, len(self.former) - steps) :]
        self.generation += 1


@dataclass
class Contender:
    """One process: its clock runs at `rate` from `offset`, its wall clock is wrong by `skew` seconds; it is asleep
    until `stopped_until` (real time)."""

    view: View
    rate: float
    offset: float
    skew: float
    stopped_until: float = 0.0

    def clock(self, real: float) -> float:
        return self.offset + real * self.rate

    def real(self, clock: float) -> float:
        return (clock - self.offset) / self.rate


@dataclass
class World:
    """Events in real time; each operation is sent, done and answered at different times, or lost on the way."""

    terms: Terms
    draw: Callable[[float, float], float]
    chance: Callable[[float], bool]
    contenders: list[Contender]
    backend: Backend = field(default_factory=Backend)
    now: float = 0.0
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    held: list[tuple[float, float, int, str]] = field(default_factory=list)  # from, until (real), token, who

    def at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self.events, (max(when, self.now), next(self.numbers), event))

    def run(self, seconds: float) -> None:
        for one in self.contenders:
            self.step(one)
        while self.events and self.events[0][0] <= seconds:
            self.now, _, event = heapq.heappop(self.events)
            event()

    def delay(self) -> float:
        """Mostly none worth speaking of: then a taker is as early as can be."""
        return self.draw(0, 4) if self.chance(0.2) else self.draw(0, 0.01)

    def step(self, one: Contender) -> None:
        clock = one.clock(self.now)
        move = next_move(one.view, clock, int(1e12 + 1000 * (self.now + one.skew)))
        self.at(max(self.now, one.real(move.at), one.stopped_until), lambda: self.send(one, move))

    def send(self, one: Contender, move: object) -> None:
        if self.now < one.stopped_until:
            self.at(one.stopped_until, lambda: self.send(one, move))
            return
        sent_at = one.clock(self.now)
        if self.chance(0.05):  # it is stopped between reading its clock and sending
            one.stopped_until = self.now + self.draw(0, 3 * self.terms.ttl_s)
        lost = self.chance(0.1)
        done_at = max(self.now, one.stopped_until) + self.delay()
        self.at(done_at, lambda: self.done(one, move, sent_at, lost))

    def done(self, one: Contender, move: object, sent_at: float, lost: bool) -> None:
        place, record = f"p{self.backend.generation}", self.backend.record
        done = self.backend.replace(move) if isinstance(move, Write) and not (lost and self.chance(0.5)) else False
        answer_at = max(self.now + self.delay(), one.stopped_until)
        self.at(answer_at, lambda: self.answered(one, move, sent_at, lost, done, record, place))

    def answered(
        self, one: Contender, move: object, sent_at: float, lost: bool, done: bool, record: Optional[Record], place: str
    ) -> None:
        clock = one.clock(self.now)
        if lost:
            one.view = failed(one.view, clock)
        elif isinstance(move, Look):
            one.view = looked(one.view, record, place, clock)
        elif isinstance(move, Write):
            one.view = wrote(one.view, move, sent_at, clock) if done else refused(one.view, clock)
        self.note(one)
        if self.chance(0.05):
            one.stopped_until = self.now + self.draw(0, 3 * self.terms.ttl_s)
        self.step(one)

    def note(self, one: Contender) -> None:
        """It holds from now on until its lease is over by its own clock."""
        until = one.real(one.view.until)
        if one.view.token is not None and until > self.now:
            self.held.append((self.now, until, one.view.token, one.view.me))


def check(world: World) -> None:
    """Holders never overlap in real time; tokens rise with the time of their first use."""
    spans: dict[tuple[int, str], tuple[float, float]] = {}
    for start, until, token, who in world.held:
        first, last = spans.get((token, who), (start, until))
        spans[token, who] = (min(first, start), max(last, until))
    ordered = sorted((start, until, token, who) for (token, who), (start, until) in spans.items())
    for before, after in itertools.pairwise(ordered):
        assert before[1] <= after[0], (before, after)
        assert before[2] < after[2], (before, after)


def world_of(seed: int, terms: Terms, size: int) -> World:
    random = Random(seed)
    contenders = [
        Contender(View(f"c{n}", terms), random.uniform(0.96, 1.04), random.uniform(-1e6, 1e6), random.uniform(-4, 4))
        for n in range(size)
    ]
    return World(terms, random.uniform, lambda share: random.random() < share, contenders)


@examples(60)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_never_two_holders(seed: int, size: int) -> None:
    world = world_of(seed, DURABLE, size)
    world.run(400)
    check(world)
    assert world.held


@examples(60)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_never_two_holders_where_the_last_writes_are_forgotten(seed: int, size: int) -> None:
    world = world_of(seed, FORGETFUL, size)

    def forget() -> None:
        world.backend.forget(int(world.draw(1, 4)))
        world.at(world.now + world.draw(5, 60), forget)

    world.at(world.draw(5, 60), forget)
    world.run(600)
    check(world)


@examples(30)
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_when_all_is_well_one_holds_all_the_time_and_a_successor_comes_in_time(seed: int, size: int) -> None:
    world = world_of(seed, DURABLE, size)
    world.chance = lambda share: False
    world.run(50)
    assert len({who for _, _, _, who in world.held}) == 1
    last = max(world.held)
    dead = next(one for one in world.contenders if one.view.me == last[3])
    died_at = world.now
    dead.stopped_until = 1e9
    world.run(died_at + 12)
    check(world)
    successor = min(start for start, _, _, who in world.held if who != last[3])
    # By the slowest clock, which runs at 0.96.
    assert successor - died_at <= (DURABLE.ttl_s + DURABLE.look_s) / 0.96 + 0.2
