"""bin/st2ha on a real set: exit codes as monitoring has them, and one sentence for every wrong input."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.mongodb import MongoCluster
from metadata.results import check_result
from tests.real import PACK, config_of, primaries
from tests.sensor_real import NEWEST

SECRET = "S3cret-never-shown"


def st2ha(tmp_path: Path, config: Any, *words: str) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON it printed, stderr); `config` is a mapping, a text or a path."""
    path = config if isinstance(config, Path) else tmp_path / "ha.yaml"
    if not isinstance(config, Path):
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    process = subprocess.run(
        [str(PACK / "bin" / "st2ha"), "--json", "--config", str(path), *words],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "ST2HA_STATE_DIR": str(tmp_path / "state")},
    )  # fmt: skip
    shown = process.stdout + process.stderr
    assert "Traceback" not in shown and SECRET not in shown
    return process.returncode, json.loads(process.stdout), process.stderr


def last_driver(mongo: MongoCluster, name: str) -> str:
    """The version of the driver with which the pack came to a member last, as the member tells."""
    entries = [
        json.loads(line) for line in mongo.command(name, {"getLog": "global"})["log"] if "client metadata" in line
    ]
    documents = [entry["attr"]["doc"] for entry in entries]
    ours = [each for each in documents if each.get("application", {}).get("name") == "st2ha"]
    return str(ours[-1]["driver"]["version"])


# -- exit codes


def test_ok_is_0(mongo: MongoCluster, tmp_path: Path) -> None:
    code, result, _ = st2ha(tmp_path, config_of(mongo), "check")
    assert (code, result["severity"]) == (0, "ok")
    assert check_result("check", result) == []


def test_warning_is_1(mongo: MongoCluster, tmp_path: Path) -> None:
    code, result, _ = st2ha(tmp_path, config_of(mongo, limits={"client_patience_s": 1}), "mongodb_check")
    assert (code, result["severity"]) == (1, "warning")


def test_critical_is_2(mongo: MongoCluster, tmp_path: Path) -> None:
    for member in mongo.members:
        mongo.kill(member.name)
    code, result, _ = st2ha(tmp_path, config_of(mongo), "check")
    assert (code, result["severity"]) == (2, "critical")
    assert result["summary"].startswith("CRITICAL lab: NoPrimary, 0 of 3 members answer")


def test_unknown_is_3(mongo: MongoCluster, tmp_path: Path) -> None:
    config = config_of(mongo, password_file=None, password=SECRET)
    code, result, _ = st2ha(tmp_path, config, "mongodb_check")
    assert (code, result["severity"]) == (3, "unknown")
    assert {each["code"] for each in result["details"]} == {"AuthFailed"}


def test_a_refusal_is_2_and_says_why(mongo: MongoCluster, tmp_path: Path) -> None:
    target = mongo.secondaries()[0]
    mongo.kill(target.name)
    code, result, stderr = st2ha(tmp_path, config_of(mongo), "mongodb_switchover", target.address, "deployment=lab")
    assert (code, result["kind"]) == (2, "refused")
    assert "does not answer" in result["error"] and result["error"] in stderr


@pytest.mark.parametrize("driver", ["usual", "newest"])
def test_a_switchover_and_its_history(
    mongo: MongoCluster, tmp_path: Path, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driver == "newest":
        assert (NEWEST / "pymongo").is_dir(), "run make setup"
        monkeypatch.setenv("PYTHONPATH", str(NEWEST))
    member = mongo.secondaries()[0]
    target = member.address
    words = ("mongodb_switchover", target, "--deployment", "lab")
    code, planned, _ = st2ha(tmp_path, config_of(mongo), "--dry-run", *words)
    assert code == 0 and primaries(mongo) != [target]
    code, result, _ = st2ha(tmp_path, config_of(mongo), *words)
    assert (code, result["outcome"]) == (0, "done") and primaries(mongo) == [target]
    assert check_result("mongodb_switchover", result) == []
    assert [s["target"] for s in planned["plan"]["steps"] if s["verb"] != "follow"] == [
        s["target"] for s in result["plan"]["steps"] if s["verb"] != "follow"
    ]
    journal = (tmp_path / "state" / "journal.jsonl").read_text()
    told = [json.loads(line) for line in journal.splitlines()]
    steps = [each["verb"] for each in told if each["event"] == "step" and each["state"] == "done"]
    assert steps == [step["verb"] for step in result["steps_done"]]
    major, minor, *_ = last_driver(mongo, member.name).split(".")
    assert ((int(major), int(minor)) >= (4, 9)) == (driver == "newest" or sys.version_info >= (3, 13))


# -- wrong input: exit code 64, one sentence

GOOD: dict[str, Any] = {
    "deployments": [
        {
            "name": "lab",
            "mongodb": {
                "hosts": ["127.0.0.1:1", "127.0.0.1:2"], "replica_set": "rs0", "username": "st2ha", "password": SECRET,
            },
        },
        {"name": "empty"},
    ],
    "default_deployment": "lab",
}  # fmt: skip


def changed(**mongodb: Any) -> dict[str, Any]:
    config = copy.deepcopy(GOOD)
    config["deployments"][0]["mongodb"].update(mongodb)
    return config


CHECK = ("mongodb_check",)
WRONG: dict[str, tuple[Any, tuple[str, ...], tuple[str, ...]]] = {
    "unknown deployment": (GOOD, (*CHECK, "deployment=prod"), ("deployment 'prod'", "use one of 'lab', 'empty'")),
    "missing layer": (GOOD, (*CHECK, "deployment=empty"), ("'empty' has no layer `mongodb`", "add it")),
    "host that does not parse": (changed(hosts=["mongo1:x"]), CHECK, ("hosts[0] is 'mongo1:x'", "host:port")),
    "a URL as host": (changed(hosts=[f"mongodb://a:{SECRET}@b:1"]), CHECK, ("hosts[0]", "host:port")),
    "duplicate hosts": (changed(hosts=["a:1", "a:1"]), CHECK, ("hosts[1] is 'a:1'", "listed twice")),
    "port out of range": (changed(hosts=["a:65536"]), CHECK, ("hosts[0] is 'a:65536'", "between 1 and 65535")),
    "wrong type of a setting": (changed(timeout_s="fast"), CHECK, ("timeout_s", "fast", "number")),
    "wrong type of a layer": ({"deployments": [{"name": "lab", "mongodb": 5}]}, CHECK, ("mongodb", "5")),
    "wrong type of a password": (changed(password=12), CHECK, ("password",)),
    "misspelt setting": (changed(replicaset="rs0"), CHECK, ("replicaset",)),
    "unreachable configuration": (Path("/no/such/ha.yaml"), CHECK, ("/no/such/ha.yaml",)),
    "malformed YAML": ("deployments: [\n  - {", CHECK, ("ha.yaml", "line")),
    "YAML that is no mapping": ("- a\n", CHECK, ("ha.yaml", "mapping")),
    "no configuration at all": ("", CHECK, ("no `deployments`", "copy ha.yaml.example")),
    "password file missing": (
        changed(password=None, password_file="/no/such/password"), CHECK,
        ("password_file is '/no/such/password'", "No such file"),
    ),
    "wrong type of a parameter": (GOOD, (*CHECK, "timeout_s=soon"), ("timeout_s", "soon")),
    "number out of range": (GOOD, (*CHECK, "timeout_s=9999"), ("timeout_s", "9999", "between 0.05 and 600")),
    "value that is not offered": (GOOD, (*CHECK, "fail_on=often"), ("fail_on", "often", "never")),
    "unknown parameter": (GOOD, (*CHECK, "timeuot_s=3"), ("timeuot_s", "timeout_s")),
    "member missing": (GOOD, ("mongodb_switchover", "deployment=lab"), ("member",)),
    "empty member": (GOOD, ("mongodb_switchover", "member=", "deployment=lab"), ("member",)),
    "seconds out of range": (GOOD, ("mongodb_freeze", "a", "lab", "seconds=0"), ("seconds", "0")),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_64_and_one_sentence(tmp_path: Path, name: str) -> None:
    config, words, parts = WRONG[name]
    code, result, stderr = st2ha(tmp_path, config, *words)
    assert (code, result["kind"]) == (64, "bad_input")
    assert len(result["error"].splitlines()) == 1 and result["error"] in stderr
    for part in parts:
        assert part in result["error"]


def test_an_empty_password_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("\n")
    config = changed(password=None, password_file=str(tmp_path / "password"))
    code, result, _ = st2ha(tmp_path, config, *CHECK)
    assert code == 64 and "the file is empty; put the secret on its first line" in result["error"]


def test_a_replica_set_of_another_name(mongo: MongoCluster, tmp_path: Path) -> None:
    code, result, _ = st2ha(tmp_path, config_of(mongo, replica_set="rs9"), *CHECK)
    assert code == 64
    assert result["error"] == (
        "mongodb.replica_set is 'rs9', the servers belong to 'rs0': correct the name, or the hosts"
    )


def test_a_target_that_is_no_member(mongo: MongoCluster, tmp_path: Path) -> None:
    code, result, _ = st2ha(tmp_path, config_of(mongo), "mongodb_switchover", "mongo9", "lab")
    assert code == 64 and result["error"].startswith("parameter `member` is 'mongo9', no member of rs0: use one of ")
