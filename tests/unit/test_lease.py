"""Leases around the rule: their configuration, the clerk, the mixin, and watchers that take turns."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from st2ha import keeper, watcher
from st2ha.errors import BadInput, HaError
from st2ha.partition.lease import Leased, LeaseLost
from st2ha.partition.lease import leased as mixin
from st2ha.partition.lease.clerk import Clerk
from st2ha.partition.lease.rule import FREE, Record, Terms
from st2ha.partition.lease.settings import configured
from tests.unit.test_watcher import CONFIG, ROW, End, Example, FakeObserver, Service, looks, words

REDIS = {"hosts": ["r1", "r2", "r3"], "sentinels": ["r1", "r2", "r3"], "password": "hunter2"}
MONGODB = {"hosts": ["m1"], "replica_set": "rs0"}
DEPLOYMENTS = [{"name": "prod", "redis": REDIS, "mongodb": MONGODB}]


# -- configuration


@pytest.mark.parametrize("lease", [None, {}, {"backend": None, "deployment": None, "ttl_s": None}])
def test_without_a_section_there_are_no_leases(lease: Any) -> None:
    assert configured({"deployments": DEPLOYMENTS, "lease": lease}) is None
    assert configured({}) is None


@pytest.mark.parametrize(
    ("config", "backend", "terms"),
    [
        ({"deployments": DEPLOYMENTS, "lease": {"backend": "redis"}}, "redis", Terms(10, 5)),
        ({"deployments": DEPLOYMENTS, "lease": {"backend": "mongodb", "ttl_s": 4}}, "mongodb", Terms(4, 0)),
        ({"lease": {"redis": REDIS, "ttl_s": 20}}, "redis", Terms(20, 5)),
        ({"lease": {"backend": "mongodb", "mongodb": MONGODB}}, "mongodb", Terms(10, 0)),
    ],
)
def test_a_backend_is_a_deployments_layer_or_is_given_in_place(config: Any, backend: str, terms: Terms) -> None:
    settings = configured(config)
    assert settings is not None and (settings.backend, settings.terms) == (backend, terms)
    assert len(settings.layer.hosts) in (1, 3) and "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("lease", "sentence"),
    [
        ({"backend": "etcd"}, "lease.backend is 'etcd': use one of redis, mongodb"),
        ({"ttl_s": 5}, "lease.backend is missing: use one of redis, mongodb"),
        ({"backend": "redis", "ttl_s": 0.5}, "lease.ttl_s is 0.5: it must be between 1 and 300"),
        ({"backend": "redis", "deployment": "dev"}, "deployment 'dev' is not configured: use one of 'prod'"),
        ({"backend": "redis", "ttl": 5}, "lease.ttl is not a setting: did you mean `ttl_s`?"),
        ({"backend": "redis", "mongodb": MONGODB}, "lease has `mongodb` beside the backend redis: keep one"),
        ("redis", "lease is 'redis': it must be a mapping of names to values"),
    ],
)
def test_what_is_wrong_is_one_sentence(lease: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        configured({"deployments": DEPLOYMENTS, "lease": lease})
    assert str(caught.value) == sentence


def test_many_questions_fit_into_a_lease() -> None:
    for ttl_s, timeout_s in ((1, 0.5), (10, 2), (300, 3)):
        settings = configured({"lease": {"redis": REDIS, "ttl_s": ttl_s}})
        assert settings is not None and settings.timeout_s == timeout_s


# -- the clerk


class Memory:
    """A store in this process."""

    def __init__(self) -> None:
        self.record: Optional[Record] = None
        self.broken: Optional[Exception] = None

    def look(self) -> tuple[Optional[Record], str]:
        if self.broken:
            raise self.broken
        return self.record, "here"

    def replace(self, old: Optional[Record], new: Record, place: str) -> bool:
        if self.record != old:
            return False
        self.record = new
        return True


@pytest.fixture
def clerk() -> Clerk:
    clerk = Clerk({}, "x")
    clerk._made = Memory()
    return clerk


def test_a_clerk_looks_and_writes_and_gives_back_what_is_held(clerk: Clerk) -> None:
    assert clerk.obey({"do": "look"}) == {"record": None, "place": "here"}
    write = {"do": "write", "old": None, "new": ["a", 5, 0], "place": "here"}
    assert clerk.obey(write) == {"done": True}
    assert clerk.obey({"do": "look"}) == {"record": ["a", 5, 0], "place": "here"}
    clerk.give_back()
    assert clerk.obey({"do": "look"}) == {"record": [FREE, 5, 1], "place": "here"}


def test_a_clerk_gives_nothing_back_that_may_be_anothers(clerk: Clerk) -> None:
    clerk.obey({"do": "write", "old": None, "new": ["a", 5, 0], "place": "here"})
    assert clerk.obey({"do": "write", "old": ["a", 4, 0], "new": ["a", 4, 1], "place": "here"}) == {"done": False}
    clerk.give_back()
    assert clerk.obey({"do": "look"}) == {"record": ["a", 5, 0], "place": "here"}


def test_a_clerks_failures_are_sentences_without_what_they_met(clerk: Clerk) -> None:
    assert isinstance(clerk._made, Memory)
    clerk._made.broken = HaError("redis1: no answer in time")
    assert clerk.obey({"do": "look"}) == {"error": "redis1: no answer in time"}
    clerk._made.broken = ValueError("password hunter2")
    error = clerk.obey({"do": "look"})["error"]
    assert error.startswith("internal error ValueError at test_lease.py:") and "hunter2" not in error


# -- the mixin


class FakeLease:
    """A lease in a test's hand."""

    def __init__(self, *_: Any) -> None:
        self.held: Optional[int] = None
        self.last: Optional[int] = None
        self.over = False

    def hold(self, token: Optional[int]) -> None:
        self.held, self.last = token, token or self.last

    @property
    def token(self) -> Optional[int]:
        return self.held

    @property
    def last_token(self) -> Optional[int]:
        return self.last

    def check(self) -> int:
        if self.held is None:
            raise LeaseLost("over")
        return self.held

    def wait(self, seconds: Optional[float] = None) -> bool:
        while self.held is None and not self.over:
            time.sleep(0.005)
        if self.over:
            raise End
        return True

    def end(self) -> None:
        self.held, self.over = None, True


class Polling:
    """As StackStorm's PollingSensor begins."""

    def __init__(self, sensor_service: Any, config: Any = None, poll_interval: float = 0.005) -> None:
        self.sensor_service, self.config, self._poll_interval = sensor_service, config, poll_interval

    def run(self) -> None:
        self.poll()  # type: ignore[attr-defined]
        raise End

    def cleanup(self) -> None:
        pass


class Polite(Leased, Polling):
    polled = 0

    def poll(self) -> None:
        self.polled += 1
        self.sensor_service.dispatch("t", {"n": self.polled})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixin, "Lease", FakeLease)
    monkeypatch.setattr(watcher, "Lease", FakeLease)


def started(sensor: Any) -> threading.Thread:
    def live() -> None:
        with contextlib.suppress(End):
            sensor.run()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    return thread


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_polling_sensor_polls_and_dispatches_only_while_it_holds(fake: None) -> None:
    service = Service()
    sensor = Polite(service, {"lease": {"redis": REDIS}})
    lease: Any = sensor.lease
    thread = started(sensor)
    time.sleep(0.05)
    assert sensor.polled == 0 and service.told == []
    lease.hold(7)
    until(lambda: len(service.told) > 3)
    lease.hold(None)
    time.sleep(0.05)
    polled = sensor.polled
    time.sleep(0.05)
    assert (sensor.polled, len(service.told)) == (polled, polled) or sensor.polled == len(service.told) + 1
    with pytest.raises(LeaseLost):
        sensor.sensor_service.dispatch_with_context("t")
    assert sensor.sensor_service.get_logger("x") is service.log
    lease.hold(8)
    until(lambda: sensor.polled > polled)
    sensor.cleanup()
    thread.join(5)
    assert not thread.is_alive()


def test_without_the_section_the_mixin_changes_nothing() -> None:
    service = Service()
    sensor = Polite(service, {})
    with pytest.raises(End):
        sensor.run()
    sensor.cleanup()
    assert sensor.lease is None and len(service.told) == 1


# -- watchers


@pytest.fixture
def turns(fake: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Service, Example, FakeLease]]:
    monkeypatch.setattr(watcher, "Observer", FakeObserver)
    monkeypatch.setattr(watcher, "RETRY_S", 0.02)
    monkeypatch.setattr(keeper, "RETRY_S", 0.02)
    FakeObserver.looks = []
    service = Service()
    sensor = Example(service, {**CONFIG, "lease": {"redis": REDIS}})
    thread = started(sensor)
    until(lambda: sensor.lease is not None)
    lease: Any = sensor.lease
    yield service, sensor, lease
    lease.hold(99)
    sensor._keeper = None
    lease.last = 98
    lease.end()
    thread.join(5)


def test_a_watcher_looks_only_when_it_is_its_turn(turns: tuple[Service, Example, FakeLease]) -> None:
    service, _, lease = turns
    FakeObserver.looks = looks([ROW], [ROW])
    time.sleep(0.1)
    assert len(FakeObserver.looks) == 2 and service.told == []
    lease.hold(1)
    until(lambda: words(service) == ["appeared"])


def test_what_is_seen_while_the_lease_is_over_is_told_when_it_is_renewed(
    turns: tuple[Service, Example, FakeLease],
) -> None:
    service, _, lease = turns
    lease.hold(1)
    FakeObserver.looks = looks([], [])
    until(lambda: service.values)
    saved = dict(service.values)
    lease.held = None
    FakeObserver.looks = looks([ROW], [ROW], start=1010.0)
    until(lambda: not FakeObserver.looks)
    time.sleep(0.1)
    assert service.told == [] and service.values == saved
    lease.hold(1)
    until(lambda: words(service) == ["appeared"])
    until(lambda: service.values != saved)


def test_what_is_seen_while_another_takes_over_is_left_to_that_one(
    turns: tuple[Service, Example, FakeLease],
) -> None:
    service, _, lease = turns
    lease.hold(1)
    FakeObserver.looks = looks([], [])
    until(lambda: service.values)
    lease.held = None
    FakeObserver.looks = looks([ROW], [ROW], start=1010.0)
    until(lambda: not FakeObserver.looks)
    lease.last = None  # another one has it
    time.sleep(0.1)
    lease.hold(3)  # and gave it back
    FakeObserver.looks = looks([], [], start=1020.0)
    until(lambda: not FakeObserver.looks)
    time.sleep(0.1)
    assert service.told == []
