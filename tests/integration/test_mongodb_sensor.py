"""The sensor as a process on a real set: with the newest pymongo, and with StackStorm's under eventlet.

The order of patching is the worst that StackStorm could have: pymongo is imported after the blocking poll() was put
back. How fast the sensor is, is not asserted here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.mongodb import MongoCluster
from lab.wait import wait_for

PACK = Path(__file__).resolve().parents[2]
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"
STACKSTORMS = PACK / ".venv-st2" / "bin" / "python"
WORLDS = {"newest": (sys.executable,), "stackstorm": (str(STACKSTORMS), "--eventlet")}


class Sensor:
    """Runs of the sensor, one after the other, with one datastore; `events` are those of all runs."""

    def __init__(self, world: str, config: Path, state: Path) -> None:
        self._python, *self._options = WORLDS[world]
        self._config, self._state = config, state
        self.events: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []

    def start(self) -> None:
        env = {**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib"), "ST2HA_STATE_DIR": str(self._state)}
        command = [self._python, "-c", MAIN, str(PACK), "sensor", "mongodb_sensor", "--json", "--config"]
        command += [str(self._config), *self._options]
        self._process = process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

        def read() -> None:
            assert process.stdout is not None
            self.events.extend(json.loads(line) for line in process.stdout)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self._readers.append(reader)
        wait_for(self.saved, 20, "the sensor's first look to be saved")

    def end(self, signum: int = signal.SIGTERM) -> None:
        """End it and wait until its observer is gone, too."""
        assert self._process is not None
        family = _descendants(self._process.pid)
        for pid in family[1:2] if signum == signal.SIGKILL else []:
            os.kill(pid, signum)  # the sensor's own process; st2ha, which started it, sees to it
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        finally:
            for pid in filter(_runs, family[:2]):  # leave nothing behind; an observer goes by itself
                os.kill(pid, signal.SIGKILL)
        self._process = None
        wait_for(lambda: not any(map(_runs, family)), 10, "the observer to go with its sensor")

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def saved(self) -> dict[str, Any] | None:
        """The state in the datastore."""
        command = [sys.executable, "-c", MAIN, str(PACK), "key", "get", "ha.MongodbSensor:watch.lab"]
        env = {**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib"), "ST2HA_STATE_DIR": str(self._state)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=20)
        state: dict[str, Any] | None = json.loads(done.stdout) if done.stdout.startswith("{") else None
        return state

    def primary(self) -> str:
        """The one in the saved state."""
        roles = (self.saved() or {}).get("roles", {})
        return str(roles.get("mongodb/rs0", {}).get("name"))

    def told(self, *codes: str) -> list[tuple[str, str]]:
        """(change, code) of all findings told so far; of these codes alone if some are given."""
        payloads = [event["payload"] for event in list(self.events) if event["trigger"] == "ha.finding_changed"]
        pairs = [(payload["change"], payload["code"]) for payload in payloads]
        return [pair for pair in pairs if not codes or pair[1] in codes]

    def moves(self) -> list[tuple[str, str]]:
        """(former, current) of all changes of the primary told so far."""
        payloads = [event["payload"] for event in list(self.events) if event["trigger"] == "ha.role_changed"]
        return [(payload["former"], payload["current"]) for payload in payloads]


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for each in found:
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text()
        except OSError:
            continue
        found += [int(child) for child in text.split()]
    return found


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=sorted(WORLDS))
def sensor(request: pytest.FixtureRequest, mongo: MongoCluster, tmp_path: Path) -> Iterator[Sensor]:
    if request.param == "stackstorm" and not STACKSTORMS.exists():
        pytest.skip("no .venv-st2: run make setup")
    one = Sensor(request.param, mongo.write_config(tmp_path / "ha.yaml"), tmp_path / "state")
    yield one
    if one.alive():
        one.end()


CRASH = ("NoPrimary", "OneFailureFromNoMajority", "MemberDown")
DOWN = [("appeared", "MemberDown"), ("appeared", "NoPrimary"), ("appeared", "OneFailureFromNoMajority")]


def test_a_crash_is_told_once_and_a_restart_repeats_nothing(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    before = mongo.primary()
    mongo.kill(before.name)
    wait_for(lambda: len(sensor.told(*CRASH)) >= 3 and sensor.moves(), 20, "what a crash tells")
    after = mongo.primary()
    assert sorted(sensor.told(*CRASH)[:3]) == DOWN
    assert sensor.moves() == [(before.address, after.address)]
    # A change that is dispatched and not yet saved may be told again, with the same id.
    wait_for(lambda: sensor.primary() == after.address, 10, "the new primary to be saved")
    sensor.end(signal.SIGKILL)

    sensor.start()
    wait_for(lambda: ("cleared", "NoPrimary") in sensor.told(), 40, "the election to be over")
    assert sorted(sensor.told(*CRASH)[:3]) == DOWN and sensor.told(*CRASH)[3:] == [("cleared", "NoPrimary")]
    sensor.end()

    mongo.start(before.name)  # while nobody watches
    mongo.wait_healthy()
    sensor.start()
    wait_for(lambda: len(sensor.told(*CRASH)) == 6, 40, "the member to be back")
    assert sorted(sensor.told(*CRASH)[4:]) == [("cleared", "MemberDown"), ("cleared", "OneFailureFromNoMajority")]
    assert sensor.moves() == [(before.address, after.address)]
    ids = [event["payload"]["id"] for event in sensor.events]
    assert len(ids) == len(set(ids))


def test_a_planned_switchover_alarms_nobody(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    before, other = mongo.primary(), mongo.secondaries()[0]
    command = [sys.executable, "-c", MAIN, str(PACK), "mongodb_switchover", f"member={other.address}"]
    env = {**os.environ, "PYTHONPATH": str(PACK / "actions" / "lib"), "ST2HA_STATE_DIR": str(sensor._state)}
    config = ["deployment=lab", "--config", str(sensor._config)]
    subprocess.run([*command, *config], env=env, check=False, timeout=120, stdout=subprocess.DEVNULL)
    assert mongo.primary() == other
    wait_for(lambda: sensor.moves() == [(before.address, other.address)], 10, "the new primary to be told")
    assert sensor.told(*CRASH) == []


def test_a_hung_primary_does_not_delay_the_word_of_the_next(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    before = mongo.primary()
    mongo.hang(before.name)
    wait_for(lambda: ("appeared", "MemberHung") in sensor.told(), 40, "the hang to be told")
    wait_for(sensor.moves, 20, "the new primary to be told")
    assert sensor.moves()[0][0] == before.address and len(sensor.moves()) == 1


def test_it_outlives_a_cluster_that_is_gone(mongo: MongoCluster, sensor: Sensor) -> None:
    sensor.start()
    for member in mongo.members:
        mongo.kill(member.name)
    wait_for(lambda: sensor.told("NoPrimary"), 20, "the loss to be told")
    wait_for(lambda: len(sensor.told("MemberDown")) == 3, 20, "the loss of each member to be told")
    for member in mongo.members:
        mongo.start(member.name)
    mongo.wait_healthy()
    wait_for(lambda: ("cleared", "NoPrimary") in sensor.told(), 60, "the end of it to be told")
    assert sensor.told("NoPrimary") == [("appeared", "NoPrimary"), ("cleared", "NoPrimary")]
    assert sensor.alive()


def test_a_password_that_is_wrong_at_first_needs_no_restart(
    mongo: MongoCluster, sensor: Sensor, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    text = sensor._config.read_text().replace(str(mongo.password_file), str(secret))
    sensor._config.write_text(text)
    sensor.start()
    wait_for(lambda: ("appeared", "AuthFailed") in sensor.told(), 20, "the refusal to be told")
    secret.write_text(mongo.password)
    wait_for(lambda: len([1 for pair in sensor.told() if pair == ("cleared", "AuthFailed")]) == 3, 60, "the end of it")


def test_started_before_the_cluster_it_waits_for_it(mongo: MongoCluster, sensor: Sensor) -> None:
    for member in mongo.members:
        mongo.kill(member.name)
    sensor.start()
    wait_for(lambda: len(sensor.told("MemberDown")) == 3, 20, "all members to be told as down")
    for member in mongo.members:
        mongo.start(member.name)
    mongo.wait_healthy()
    wait_for(lambda: len(sensor.told("MemberDown")) == 6, 60, "all members to be told as back")
    assert sensor.moves() == []
