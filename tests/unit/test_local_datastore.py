"""The stand-in datastore keeps StackStorm's names, types and TTL, and survives several writers."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from st2ha.local.datastore import DatastoreService, Store

LIBRARY = Path(__file__).resolve().parents[2] / "actions" / "lib"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "datastore.sqlite3"


def test_names_are_local_to_the_class_and_values_are_strings(path: Path) -> None:
    service = DatastoreService(Store(path), "ha", "MongodbCheck")
    assert service.get_value("n") is None
    assert service.set_value("n", {"a": 1}) is True
    assert service.get_value("n") == "{'a': 1}"
    assert service.get_value("ha.MongodbCheck:n", local=False) == "{'a': 1}"
    assert DatastoreService(Store(path), "ha", "Other").get_value("n") is None
    assert service.delete_value("n") is True
    assert service.delete_value("n") is False
    with pytest.raises(ValueError, match="unsupported"):
        service.get_value("n", scope="user")


def test_list_values(path: Path) -> None:
    service = DatastoreService(Store(path), "ha", "C")
    for name in ("b_1", "b%2", "a"):
        service.set_value(name, name)
    service.set_value("b_x", "other", local=False)
    assert [(p.name, p.value) for p in service.list_values(prefix="b")] == [("ha.C:b%2", "b%2"), ("ha.C:b_1", "b_1")]
    assert [p.name for p in service.list_values(prefix="b_", local=True)] == ["ha.C:b_1"]
    assert len(service.list_values(local=False)) == 4
    assert [p.name for p in service.list_values(local=False, limit=1, offset=3)] == ["ha.C:b_1"]


def test_a_value_past_its_ttl_is_gone(path: Path) -> None:
    clock = Clock()
    store = Store(path, clock)
    store.set("a", "1", ttl=10)
    store.set("b", "1")
    clock.now += 9
    assert [pair.name for pair in store.list()] == ["a", "b"]
    clock.now += 2
    assert store.get("a") is None and store.delete("a") is False
    assert [pair.name for pair in store.list()] == ["b"]


def test_a_secret_needs_decrypt_and_the_file_is_the_owners_alone(path: Path) -> None:
    service = DatastoreService(Store(path), "ha", "C")
    service.set_value("password", "hunter2", encrypt=True)
    assert service.get_value("password") == "********"
    assert service.get_value("password", decrypt=True) == "hunter2"
    assert "hunter2" not in repr(service.list_values())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_reading_makes_no_file(path: Path) -> None:
    assert Store(path).get("a") is None and Store(path).list() == [] and not path.exists()


def test_four_processes_write_at_once(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from st2ha.local.datastore import Store\n"
        "for n in range(25): Store(Path(sys.argv[1])).set(f'{sys.argv[2]}-{n}', 'x')"
    )
    command = [sys.executable, "-c", code, str(path)]
    writers = [subprocess.Popen([*command, str(n)], env={"PYTHONPATH": str(LIBRARY)}) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    assert len(Store(path).list(limit=1000)) == 100
