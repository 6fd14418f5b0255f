"""`st2ha sensor`: a sensor's life in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "actions" / "lib"
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"

SENSOR = """
import time

class PollingSensor:
    def __init__(self, sensor_service, config=None, poll_interval=5):
        self.service, self.config, self.poll_interval = sensor_service, config, poll_interval

    def run(self):
        while True:
            self.poll()
            time.sleep(0.05)

class ThingSensor(PollingSensor):
    def setup(self):
        self.count = int(self.service.get_value("count") or 0)
        self.service.get_logger("x").info("quiet")
        print("noise")

    def poll(self):
        self.count += 1
        self.service.set_value("count", self.count)
        self.service.dispatch(trigger="ha.thing", payload={"summary": f"poll {self.count}", "every_s": self.poll_interval})
        BODY

    def cleanup(self):
        self.service.dispatch("ha.gone", {"limit": self.config["limit"]}, trace_tag="t")
"""
META = "class_name: ThingSensor\nentry_point: thing_sensor.py\npoll_interval: 7\ndescription: Watches a thing.\n"


class Lab:
    def __init__(self, path: Path) -> None:
        self.pack = path / "pack"
        (self.pack / "sensors").mkdir(parents=True)
        (self.pack / "pack.yaml").write_text("name: ha\nref: ha\nversion: 1.2.3\n")
        (self.pack / "config.schema.yaml").write_text("limit: {default: 3, type: integer}\n")
        self.sensor("")
        (self.pack / "sensors" / "thing_sensor.yaml").write_text(META)
        self.env = {**os.environ, "PYTHONPATH": str(LIBRARY), "ST2HA_STATE_DIR": str(path / "state")}

    def sensor(self, body: str) -> None:
        text = SENSOR.replace("BODY", textwrap.indent(body, " " * 8).strip())
        (self.pack / "sensors" / "thing_sensor.py").write_text(text)

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MAIN, str(self.pack), "sensor", *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.env, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_dispatches_are_json_lines_and_a_signal_runs_cleanup(lab: Lab, signum: int) -> None:
    process = lab.start("thing_sensor", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    last = json.loads(out.splitlines()[-1])
    assert abs(first["at"] - time.time()) < 60 and first["trigger"] == "ha.thing"
    assert first["payload"] == {"summary": "poll 1", "every_s": 7}
    assert (last["trigger"], last["payload"], last["trace_tag"]) == ("ha.gone", {"limit": 3}, "t")
    assert process.returncode == 0 and "Traceback" not in err and "noise" in err


def test_seconds_and_plain_text_and_the_datastore_over_two_lives(lab: Lab) -> None:
    process = lab.start("ThingSensor", "--seconds", "2")
    out, _ = process.communicate(timeout=20)
    lines = out.splitlines()
    assert process.returncode == 0 and lines[0].endswith(" ha.thing poll 1") and lines[-1].endswith(" ha.gone limit=3")
    out, _ = lab.start("ha.ThingSensor", "--seconds", "2").communicate(timeout=20)
    assert not out.splitlines()[0].endswith(" poll 1")


def test_a_finding_is_told_whole(lab: Lab) -> None:
    finding = {"code": "VhostDown", "subject": "vhost/st2", "severity": "critical", "message": "does not work"}
    lab.sensor(f"self.service.dispatch('ha.finding_changed', {dict(finding, change='appeared')})")
    out, _ = lab.start("thing_sensor", "--seconds", "2").communicate(timeout=20)
    assert out.splitlines()[1].endswith(" ha.finding_changed appeared CRITICAL VhostDown vhost/st2: does not work")


def test_a_sensor_that_breaks_ends_with_a_sentence_after_its_cleanup(lab: Lab) -> None:
    lab.sensor("raise RuntimeError('broke')")
    process = lab.start("thing_sensor")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 3 and "ha.gone" in out
    assert "ha.ThingSensor ended: RuntimeError: broke" in err and "Traceback" not in err


def test_eventlet(lab: Lab) -> None:
    lab.sensor("import threading, eventlet.patcher as p; print('patched', p.is_monkey_patched('thread'), flush=True)")
    process = lab.start("thing_sensor", "--eventlet", "--seconds", "3")
    out, err = process.communicate(timeout=20)
    if importlib.util.find_spec("eventlet") is None:
        assert process.returncode == 64 and "eventlet cannot be imported" in err
    else:
        assert process.returncode == 0 and "patched True" in err and "ha.gone" in out
