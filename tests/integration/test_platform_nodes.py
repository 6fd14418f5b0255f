"""What lies inside nodes: a real program of ours, run by a real python3, on st2.conf, keys and packs of this test."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from st2ha.platform.facts import Broker, Database, Inside
from st2ha.platform.inside import PROGRAM, inside_from
from st2ha.platform.operations import check
from st2ha.report import Finding
from tests.recorded_platform import deployment
from tests.replay import Replay, replaying

KEY = {"aesKeyString": "c2VjcmV0LW9mLXRoZS10ZXN0", "hmacKey": {"hmacKeyString": "aG1hYy1vZi10aGUtdGVzdA", "size": 256}}
SERVERS = "mongo1:27017,mongo2:27017,mongo3"
BROKERS = "amqp://st2:hunter2@mq1:5672/st2,amqp://st2:hunter2@mq2/st2"
CONF = f"""
[database]
host = mongodb://st2:hunter2@{SERVERS}/?replicaSet=rs0
connection_timeout = 15000
[messaging]
cluster_urls = {BROKERS}
[coordination]
url = redis://:hunter2@redis1:6379
"""
MONGODB = {"hosts": ["mongo1:27017", "mongo2:27017", "mongo3:27017"], "replica_set": "rs0"}
RABBITMQ = {"hosts": ["mq1", "mq2"], "username": "u", "password": "hunter3"}


@dataclass
class Site:
    """Nodes of one StackStorm, each a directory; all are `local`."""

    root: Path
    replay: Replay
    nodes: list[dict[str, Any]] = field(default_factory=list)

    def node(
        self, name: str, conf: str = CONF, key: Any = KEY, packs: dict[str, str] | None = None, **more: Any
    ) -> Path:
        place = self.root / name
        (place / "packs").mkdir(parents=True)
        text = f"{conf}\n[keyvalue]\nencryption_key_path = {place}/key.json\n"
        text += f"[system]\nbase_path = {place}\n"
        (place / "st2.conf").write_text(text)
        if key is not None:
            (place / "key.json").write_text(key if isinstance(key, str) else json.dumps(key))
        for pack, version in (packs or {"core": "1.0.0"}).items():
            (place / "packs" / pack / "actions").mkdir(parents=True)
            (place / "packs" / pack / "pack.yaml").write_text(f"---\nref: {pack}\nversion: {version}  # so\n")
            (place / "packs" / pack / "actions" / "a.py").write_text("print(1)\n")
        first = not self.nodes
        services = ["actionrunner"] if first else ["timer_engine"]
        node = {"name": name, "hostname": "vm" if first else name, "services": services, "command": "local"}
        self.nodes.append({**node, "st2_conf": f"{place}/st2.conf", **more})
        return place

    def findings(self, timeout_s: float = 30.0, **layers: Any) -> tuple[Finding, ...]:
        found = check(deployment(self.replay, {"nodes": self.nodes}, **layers), timeout_s)
        told = json.dumps(found.result())
        for secret in ("hunter2", KEY["aesKeyString"], KEY["hmacKey"]["hmacKeyString"]):  # type: ignore[index]
            assert secret not in told
        return tuple(finding for finding in found.findings if finding.code not in ("NodeGone", "SensorNotRunning"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with replaying(Replay()) as replay:
        yield Site(tmp_path, replay)


def codes(found: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(f.code, f.severity.word, f.subject) for f in found]


def test_nodes_that_are_alike_are_no_finding(site: Site) -> None:
    site.node("one")
    site.node("two", key=json.dumps(KEY, indent=4))  # the same key, laid out otherwise
    assert site.findings(mongodb=MONGODB, rabbitmq=RABBITMQ) == ()


def test_another_key(site: Site) -> None:
    for name in ("one", "two"):
        site.node(name)
    site.node("three", key={**KEY, "aesKeyString": "YW5vdGhlcg"})
    (found,) = site.findings()
    assert codes((found,)) == [("CryptoKeysDiffer", "critical", "stackstorm")]
    assert "three has another one" in found.message


def test_no_key_on_one_node(site: Site) -> None:
    for name in ("one", "two"):
        site.node(name)
    site.node("three", key=None)
    (found,) = site.findings()
    assert "three has none" in found.message


def test_no_keys_anywhere_are_alike(site: Site) -> None:
    for name in ("one", "two"):
        site.node(name, key=None)
    assert site.findings() == ()


def test_a_key_that_cannot_be_read(site: Site) -> None:
    site.node("one")
    place = site.node("two", key=None)
    (place / "key.json").mkdir()  # root may read any file
    assert codes(site.findings()) == [("CryptoKeyUnreadable", "unknown", "stackstorm/two")]


def test_what_is_installed(site: Site) -> None:
    for name, version in (("one", "3.9.0"), ("two", "3.9.0"), ("three", "3.10.0")):
        package = site.node(name) / "st2" / "lib" / "python3.8" / "site-packages" / "st2common"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f'# (c)\n__version__ = "{version}"\n')
    (found,) = site.findings()
    assert codes((found,)) == [("VersionsDiffer", "warning", "stackstorm")]
    assert "3.10.0 on three; 3.9.0 on one, two" in found.message


def test_packs_of_other_places_and_links(site: Site, tmp_path: Path) -> None:
    """[content] names the places; a link is compared by where it leads."""
    for name, target in (("one", "a.py"), ("two", "b.py")):
        base = tmp_path / f"{name}-more" / "mine"
        base.mkdir(parents=True)
        (base / "pack.yaml").write_text("version: '1.2.3'\n")
        (base / "link.py").symlink_to(target)
        place = site.node(name)
        with (place / "st2.conf").open("a") as file:
            file.write(f"[content]\npacks_base_paths = {tmp_path}/{name}-more:/nonexistent\n")
    (found,) = site.findings()
    assert found.code == "PacksDiffer" and "mine has other files on two" in found.message


def test_packs(site: Site) -> None:
    same = {"core": "1.0.0", "ha": "0.4.0", "old": "1.0.0", "lone": "2.0.0"}
    site.node("one", packs=same)
    place = site.node("two", packs={**same, "old": "1.1.0"})
    (place / "packs" / "ha" / "actions" / "a.py").write_text("print(2)\n")
    (place / "packs" / "core" / "actions" / "a.cpython-311.pyc").write_text("not compared")
    (place / "packs" / "lone" / "pack.yaml").unlink()
    (found,) = site.findings()
    assert codes((found,)) == [("PacksDiffer", "warning", "stackstorm/packs")]
    assert "3 packs differ between nodes" in found.message
    assert "ha has other files on two" in found.message
    assert "lone none on two, 2.0.0 elsewhere, old 1.1.0 on two, 1.0.0 elsewhere" in found.message


OFF = CONF.replace("url = redis", "# url = redis")


@pytest.mark.parametrize("conf", [OFF, CONF.replace("redis://:hunter2@redis1:6379", "file:///tmp/locks")])
def test_no_coordination_service(site: Site, conf: str) -> None:
    site.node("one")
    site.node("two", conf=conf)
    assert codes(site.findings()) == [("CoordinationMissing", "critical", "stackstorm/coordination")]


def test_one_node_without_coordination_is_a_warning(site: Site) -> None:
    site.node("one", conf=OFF)
    assert codes(site.findings()) == [("CoordinationMissing", "warning", "stackstorm/coordination")]


@pytest.mark.parametrize(
    ("before", "after", "expected", "words"),
    [
        ("connection_timeout = 15000", "", "DatabaseImpatient", "connection_timeout is 3 s, an election takes 10 s"),
        ("= 15000", "= 10000", "DatabaseImpatient", "connection_timeout is 10 s"),
        (SERVERS, "mongo2", "DatabaseHostsMissing", "1 of 3 members, not mongo1:27017, mongo3"),
        (f"mongodb://st2:hunter2@{SERVERS}/?replicaSet=rs0", "localhost", "DatabaseHostsMissing", "1 of 3"),
        (",amqp://st2:hunter2@mq2/st2", "", "OneBrokerUrl", "names one broker (mq1:5672) of 2"),
        (f"cluster_urls = {BROKERS}", "", "OneBrokerUrl", "names one broker (127.0.0.1:5672) of 2"),
    ],
)  # fmt: skip
def test_settings_against_the_clusters(site: Site, before: str, after: str, expected: str, words: str) -> None:
    assert before in CONF
    site.node("one", conf=CONF.replace(before, after))
    (found,) = site.findings(mongodb=MONGODB, rabbitmq=RABBITMQ)
    assert codes((found,)) == [(expected, "warning", "stackstorm/one")]
    assert words in found.message


def test_brokers_missing_of_three(site: Site) -> None:
    site.node("one")
    (found,) = site.findings(rabbitmq={**RABBITMQ, "hosts": ["mq1", "mq2", "mq3"]})
    assert found.code == "BrokersMissing" and "names 2 of 3 brokers, not mq3:5672" in found.message


def test_a_name_that_no_member_has_is_a_load_balancer(site: Site) -> None:
    site.node("one", conf=CONF.replace("mq1:5672/st2,amqp://st2:hunter2@mq2/st2", "brokers.example.com/st2"))
    assert site.findings(rabbitmq=RABBITMQ) == ()


def test_without_the_layers_of_the_clusters_nothing_is_compared(site: Site) -> None:
    site.node("one", conf="[database]\nhost = localhost\n[coordination]\nurl = redis://r\n")
    assert site.findings() == ()


def test_without_a_command_nobody_is_nagged(site: Site) -> None:
    site.node("one", conf=OFF, command=None)
    assert site.findings(mongodb=MONGODB, rabbitmq=RABBITMQ) == ()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/nonexistent/ssh", "cannot be run here"),
        ("sh -c 'echo no route >&2; exit 3'", "`python3` ended with 3: no route"),
        ("sh -c 'echo hello'", "what its python3 told makes no sense"),
        ("sh -c 'echo {{}}'", "what its python3 told makes no sense (KeyError)"),
        ("sh -c 'sleep 30'", "`python3` did not end within"),
    ],
)
def test_a_door_that_fails(site: Site, command: str, words: str) -> None:
    site.node("one", command=command)
    (found,) = site.findings(timeout_s=3.0)
    assert codes((found,)) == [("NodeUnreadable", "unknown", "stackstorm/one")]
    assert words in found.message


@pytest.mark.parametrize(("text", "words"), [(None, "No such file"), ("no section\n", "line 1 comes before any")])
def test_a_conf_that_cannot_be_read(site: Site, text: str | None, words: str) -> None:
    conf = site.node("one") / "st2.conf"
    conf.unlink() if text is None else conf.write_text(text)
    (found,) = site.findings()
    assert found.code == "NodeUnreadable" and words in found.message


def test_sensors_that_run_nowhere(site: Site, tmp_path: Path) -> None:
    """A process that looks like a sensor's: only its arguments count."""
    site.node("one", services=["actionrunner", "sensorcontainer"])
    wrapper = tmp_path / "sensor_wrapper.py"
    wrapper.write_text("import time; time.sleep(60)\n")
    options = ["--pack=linux", "--file-path=/x", "--class-name=FileWatchSensor", "--parent-args=[]"]
    process = subprocess.Popen([sys.executable, str(wrapper), *options])
    try:
        report = check(deployment(site.replay, {"nodes": site.nodes}))
    finally:
        process.kill()
        process.wait()
    lost = [finding for finding in report.findings if finding.code == "SensorNotRunning"]
    assert [f.severity.word for f in lost] == ["critical"]
    assert "1 enabled sensor run on no node (probe.ProbeSensor)" in lost[0].message


def test_the_time_of_a_node_is_as_sure_as_its_answer_was_quick() -> None:
    def inside(time_there: float, took_s: float) -> Inside:
        return inside_from({"time": time_there, "configs": [], "key": "", "running": None}, "st2.conf", 1000.0, took_s)

    assert (inside(1004.0, 2.0).clock_offset_s, inside(1004.0, 2.0).clock_error_s) == (3.0, 1.0)
    assert inside(1000.5, 1.0).clock_offset_s == 0.0


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("host = mongodb://u:p%40@a,b:1,[::1]:2/st2?replicaSet=x", Database(("a:27017", "b:1", "[::1]:2"), 3.0)),
        ("host = mongodb+srv://u:p@cluster.example.com/st2", Database((), 3.0)),
        ("host = db1\nport = 27018\nconnection_timeout = 20000", Database(("db1:27018",), 20.0)),
        ("port = what", Database(("127.0.0.1:27017",), 3.0)),
    ],
)
def test_the_database_as_st2_conf_names_it(section: str, expected: Database) -> None:
    assert inside_from(_told(f"[database]\n{section}\n"), "st2.conf", 0, 0).database == expected


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("url = amqps://u:p@a//", ("a:5671",)),
        ("url = amqp://u:p@a:1\ncluster_urls = amqp://u:p@b:2/v?ssl=1, amqp://u:p@c", ("b:2", "c:5672")),
        ("", ("127.0.0.1:5672",)),
    ],
)
def test_the_brokers_as_st2_conf_names_them(section: str, expected: tuple[str, ...]) -> None:
    assert inside_from(_told(f"[messaging]\n{section}\n"), "st2.conf", 0, 0).broker == Broker(expected)


def _told(conf: str) -> dict[str, Any]:
    return {"time": 0.0, "configs": [conf], "key": None, "running": None, "packs": None}


def test_the_program_keeps_its_time(tmp_path: Path) -> None:
    """Packs that take longer than there is are not known, all else is."""
    (tmp_path / "packs" / "a").mkdir(parents=True)
    (tmp_path / "packs" / "a" / "pack.yaml").write_text("version: 1\n")
    (tmp_path / "st2.conf").write_text(f"[content]\nsystem_packs_base_path = {tmp_path}/packs\n")
    words = [sys.executable, "-", "0", "packs", str(tmp_path / "st2.conf")]
    began = time.time()
    done = subprocess.run(words, input=PROGRAM.read_bytes(), capture_output=True, check=True, timeout=30)
    told = json.loads(done.stdout)
    assert told["packs"] is None and began - 1 <= told["time"] <= time.time()
