"""st2ha.watcher: what a sensor does when StackStorm's services, its observer or its configuration fail."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Callable, ClassVar, Optional

import pytest

from st2ha import keeper, watcher
from st2ha.keeper import Keeper
from st2ha.observer import Gone
from st2ha.stackstorm import Sensor
from st2ha.watch import State, load
from st2ha.watcher import MOST_WAITING, Story, Watcher, deployments

CONFIG = {"deployments": [{"name": "lab", "mongodb": {"hosts": ["m1:1"], "replica_set": "rs0"}}]}
ROW = {
    "code": "MemberDown",
    "severity": "warning",
    "subject": "mongodb/rs0/m1",
    "message": "down",
    "remedy": "start it",
}
KEY = "watch.lab"


class Service:
    """StackStorm's SensorService as far as it is used; what is set to an exception is raised."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.values: dict[str, str] = {}
        self.broken: Optional[Exception] = None
        self.unreadable: Optional[Exception] = None
        self.unwritable: Optional[Exception] = None
        self.without_a_role = False
        self.log = logging.getLogger("test_watcher")

    def get_logger(self, name: str) -> logging.Logger:
        return self.log

    def dispatch(self, trigger: str, payload: dict[str, Any]) -> None:
        if self.broken:
            raise self.broken
        self.told.append({"trigger": trigger, **payload})

    def get_value(self, name: str, local: bool) -> Optional[str]:
        return None if self.unreadable else self.values.get(name)

    def list_values(self, local: bool, prefix: str) -> list[Any]:
        if self.unreadable:
            raise self.unreadable
        if self.without_a_role:
            return []
        foreign = SimpleNamespace(name=f"ha.OtherSensor:{prefix}", value="not ours")
        named = ((f"ha.Example:{name}", value) for name, value in self.values.items() if name.startswith(prefix))
        return [foreign, *(SimpleNamespace(name=name, value=value) for name, value in named)]

    def set_value(self, name: str, value: str, local: bool) -> None:
        if self.unwritable:
            raise self.unwritable
        self.values[name] = value


class FakeObserver:
    """Tells the looks it is given, then nothing."""

    looks: ClassVar[list[dict[str, Any]]] = []
    pid = 1

    def __init__(self, module: str, request: Any) -> None:
        self.request = request

    def read(self, timeout_s: float) -> Optional[dict[str, Any]]:
        time.sleep(0.01)
        return FakeObserver.looks.pop(0) if FakeObserver.looks else None

    def close(self) -> None:
        pass


class Example(Watcher):
    service = "mongodb"
    observer = "nothing"


class End(BaseException):
    """Ends a watcher, as a signal does."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(watcher, "Observer", FakeObserver)
    monkeypatch.setattr(watcher, "RETRY_S", 0.02)
    monkeypatch.setattr(keeper, "RETRY_S", 0.02)
    FakeObserver.looks = []
    yield


def looks(*found: list[dict[str, str]], start: float = 1000.0, primary: str = "") -> list[dict[str, Any]]:
    """A look a second."""
    roles = [{"subject": "mongodb/rs0", "role": "primary", "name": primary, "term": 1}] if primary else []
    return [{"deployment": "lab", "at": start + n, "findings": rows, "roles": roles} for n, rows in enumerate(found)]


def run(service: Service, seen: list[dict[str, Any]], until: Callable[[], bool], config: Any = CONFIG) -> Watcher:
    """Run a watcher in a thread of its own until `until()`."""
    FakeObserver.looks = list(seen)
    sensor = Example(service, config)
    over = threading.Event()
    real = sensor._deliver

    def deliver(keeper: Keeper) -> None:
        real(keeper)
        if over.is_set():
            raise End

    sensor._deliver = deliver  # type: ignore[method-assign]

    def live() -> None:
        with contextlib.suppress(End):
            sensor.run()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    try:
        while not until():
            assert time.monotonic() < deadline, service.told
            assert thread.is_alive(), "the watcher ended"
            time.sleep(0.01)
    finally:  # one that goes on would eat the next run's looks
        over.set()
        thread.join(30)
    assert not thread.is_alive()
    return sensor


def saved_as_told(service: Service) -> bool:
    """Whether the datastore has the state in which a finding was told: saving comes after telling."""
    return KEY in service.values and bool(load(service.values[KEY]).standing)


def words(service: Service) -> list[str]:
    return [each.get("change", "moved") for each in service.told]


def test_a_change_is_told_and_then_saved() -> None:
    service = Service()
    run(service, looks([ROW], [ROW], primary="m1"), lambda: saved_as_told(service))
    assert words(service) == ["appeared"]
    told = service.told[0]
    assert told["trigger"] == "ha.finding_changed" and told["deployment"] == "lab" and told["service"] == "mongodb"
    assert load(service.values[KEY]).roles["mongodb/rs0"].name == "m1"


@pytest.mark.parametrize("without_a_role", [False, True])
def test_a_restart_repeats_nothing_and_tells_what_happened_in_between(without_a_role: bool) -> None:
    service = Service()
    service.without_a_role = without_a_role
    run(service, looks([ROW], [ROW], primary="m1"), lambda: saved_as_told(service))
    moved = looks([ROW], [ROW], [ROW], start=2000, primary="m2")
    run(service, moved, lambda: words(service)[1:] == ["moved"] and '"m2"' in service.values[KEY])
    gone = looks(*[[]] * 12, start=3000, primary="m2")
    run(service, gone, lambda: words(service)[2:] == ["cleared"])
    assert words(service) == ["appeared", "moved", "cleared"]


def test_what_another_sensor_saved_is_not_ours() -> None:
    assert Example(Service(), CONFIG).stored(KEY) is None


def test_what_cannot_be_dispatched_waits_in_order_and_is_saved_last() -> None:
    service = Service()
    service.broken = ValueError("Trigger type ha.finding_changed does not exist in the database")
    seen = looks([ROW], [ROW], primary="m1") + looks([ROW], start=1010, primary="m2")

    def until() -> bool:
        if not FakeObserver.looks and service.broken and KEY in service.values:
            saved = load(service.values[KEY])  # from before the first change
            assert not saved.standing and saved.roles["mongodb/rs0"].name == "m1" and not service.told
            service.broken = None
        return len(service.told) == 2 and '"m2"' in service.values.get(KEY, "")

    run(service, seen, until)
    assert words(service) == ["appeared", "moved"]


def test_a_datastore_that_cannot_be_written_delays_no_change() -> None:
    service = Service()
    service.unwritable = OSError("no primary")
    run(service, looks([ROW], [ROW], *[[]] * 12), lambda: words(service) == ["appeared", "cleared"])
    assert not service.values


def test_changes_wait_for_the_datastore_at_the_start() -> None:
    service = Service()
    run(service, looks([ROW], [ROW]), lambda: saved_as_told(service))
    service.unreadable = OSError("no primary")
    seen = looks(*[[ROW]] * 30, start=2000) + looks(*[[]] * 12, start=3000)

    def until() -> bool:
        if len(FakeObserver.looks) < 30:
            service.unreadable = None
        return "cleared" in words(service)

    run(service, seen, until)
    assert words(service) == ["appeared", "cleared"]


def test_it_does_not_wait_for_the_datastore_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LOAD_PATIENCE_S", 0.1)
    service = Service()
    service.unreadable = OSError("no primary")
    run(service, looks(*[[ROW]] * 100), lambda: words(service) == ["appeared"])


def test_a_saved_state_that_is_none_is_told_and_passed_over() -> None:
    service = Service()
    service.values[KEY] = "nonsense"
    run(service, looks([ROW], [ROW]), lambda: words(service) == ["appeared"])


def test_a_blind_look_is_a_finding_and_clears_nothing() -> None:
    service = Service()
    blind = [{"deployment": "lab", "at": 2000.0 + n, "blind": "mongodb.replica_set is wrong"} for n in range(30)]
    run(service, looks([ROW], [ROW]) + blind, lambda: not FakeObserver.looks and len(service.told) == 2)
    assert [(each["change"], each["code"]) for each in service.told] == [
        ("appeared", "MemberDown"),
        ("appeared", "WatchFailed"),
    ]
    assert service.told[1]["severity"] == "unknown"


def test_a_look_at_roles_alone_says_nothing_of_findings() -> None:
    service = Service()
    role = {"subject": "mongodb/rs0", "role": "primary", "name": "m2", "term": 2}
    alone = [{"deployment": "lab", "at": 1100.0 + 20 * n, "roles": [role]} for n in range(3)]
    run(service, looks([ROW], [ROW], primary="m1") + alone, lambda: not FakeObserver.looks and len(service.told) == 2)
    assert words(service) == ["appeared", "moved"]


@pytest.mark.parametrize(
    "config", [None, {}, {"deployments": []}, {"deployments": "x"}, {"deployments": [None, {"name": "a"}]}]
)
def test_without_anything_to_watch_it_says_so_once_and_stays(config: Any, caplog: pytest.LogCaptureFixture) -> None:
    service, began = Service(), time.monotonic()
    thread = threading.Thread(target=Example(service, config).run, daemon=True)
    thread.start()
    while time.monotonic() - began < 0.5:
        assert thread.is_alive()
        time.sleep(0.05)
    assert [record.getMessage().count("no deployment with the layer `mongodb`") for record in caplog.records] == [1]


def test_an_observer_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    service, started = Service(), []

    class Dying(FakeObserver):
        def __init__(self, module: str, request: Any) -> None:
            super().__init__(module, request)
            started.append(1)

        def read(self, timeout_s: float) -> Optional[dict[str, Any]]:
            if len(FakeObserver.looks) == 2 and len(started) < 4:
                raise Gone("it ended")
            return super().read(timeout_s)

    monkeypatch.setattr(watcher, "Observer", Dying)
    run(service, looks([ROW], [ROW], [ROW], [ROW]), lambda: len(started) == 4 and not FakeObserver.looks)
    assert words(service) == ["appeared"]


def test_too_much_that_waits_is_replaced_by_the_difference() -> None:
    story, now = Story("lab", "mongodb"), 0.0
    story.begin(State(0.0), 0.0)
    for number in range(3 * MOST_WAITING):
        primary = {"subject": "mongodb/rs0", "role": "primary", "name": f"m{number % 2}", "term": number}
        now += 1
        story.take({"at": now, "findings": [], "roles": [primary]}, Watcher.patience)
        if number == 0:
            assert story.to_save()
        assert len(story.waiting) <= MOST_WAITING
    assert story.waiting


def test_several_deployments_and_odd_names() -> None:
    made_up = {"hosts": [], "tls": {}, "limits": {}}  # by StackStorm, for a layer that is in the schema
    rows = [("a b/c", {"x": 1}), ("none", made_up), ("d", {"x": 1})]
    config = {"deployments": [{"name": name, "mongodb": layer} for name, layer in rows] + [{"name": "nothing"}]}
    assert deployments(config, "mongodb") == ["a b/c", "d"]
    assert watcher._key("a b/c") == "watch.a_20_b_2f_c"


def test_behind_stackstorms_service_is_one_that_raises() -> None:
    class Dispatcher:
        def dispatch(self, trigger: str, payload: Any, throw_on_validation_error: bool = False) -> None:
            assert throw_on_validation_error
            raise ValueError("not dispatching")

    service = Service()
    service._trigger_dispatcher_service = Dispatcher()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="not dispatching"):
        Sensor(service, {}).dispatch("ha.finding_changed", {})
