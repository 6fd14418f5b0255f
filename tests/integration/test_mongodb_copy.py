"""A database copied on a real replica set while it is written to: equal, resumable, refused where wrong."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS
from pymongo.errors import PyMongoError

from lab.mongodb import MongoCluster
from lab.stackstorm_database import execution, fill
from lab.wait import wait_for
from st2ha.mongodb.copy import operations
from st2ha.mongodb.copy.act import Copying
from st2ha.mongodb.copy.facts import LEDGER
from tests.real import PACK, config_of, run, settings_of

SOURCE, TARGET = "st2", "st2_v2_5"


def config(mongo: MongoCluster, login: str = "st2ha_upgrade") -> dict[str, Any]:
    who = mongo.logins[login]
    return config_of(mongo, username=who.username, password_file=str(who.password_file))


def copy(mongo: MongoCluster, **parameters: Any) -> tuple[bool, dict[str, Any]]:
    wanted = {"source": SOURCE, "target": TARGET, "deployment": "lab", **parameters}
    return run(config(mongo), "mongodb_copy_database", **wanted)


def content(mongo: MongoCluster, name: str) -> dict[str, Any]:
    """All of a database, read by us and not by the code under test: options, indexes, raw documents by _id."""
    database = mongo.client(login="lab_root").get_database(name, codec_options=DEFAULT_RAW_BSON_OPTIONS)
    found: dict[str, Any] = {}
    for row in mongo.client(login="lab_root")[name].list_collections():
        if row["name"].startswith("system."):
            continue
        indexes, documents = [], []
        if row["type"] == "collection":
            indexes = sorted(json.dumps(each, default=str) for each in map(dict, database[row["name"]].list_indexes()))
            documents = sorted(document.raw for document in database[row["name"]].find())
        found[row["name"]] = (row["type"], row["options"], indexes, documents)
    return found


def special(mongo: MongoCluster) -> None:
    """Collections with all that a naive copy loses."""
    database = mongo.client(login="lab_root")[SOURCE]
    database.create_collection("capped", capped=True, size=100_000, max=50)
    database.capped.insert_many([{"_id": number} for number in range(60)])
    database.create_collection("german", collation={"locale": "de"})
    database.german.insert_many([{"name": word} for word in ("Ärger", "Zorn", "ähnlich")])
    database.create_collection("checked", validator={"size": {"$type": "int"}})
    database.checked.insert_one({"size": 1})
    database.command("insert", "checked", documents=[{"size": "wrong"}], bypassDocumentValidation=True)
    database.checked.create_index("size", partialFilterExpression={"size": {"$gt": 5}}, name="partial")
    database.checked.create_index([("$**", 1)], name="wildcard")
    database.create_collection("german_view", viewOn="german", pipeline=[{"$match": {"name": {"$gte": "Z"}}}])


class Changes:
    """Inserts, updates, replacements and deletions, about 100 a second, with majority concern."""

    def __init__(self, mongo: MongoCluster) -> None:
        self.collection = mongo.client(login="lab_root")[SOURCE].action_execution_d_b
        self.count, self.failed = 0, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Changes:
        self._thread.start()
        wait_for(lambda: self.count > 5, 20, "the first writes")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        ids: list[Any] = []
        for number in itertools.count():
            if self._end.wait(0.01):
                return
            try:
                document = execution(number)
                ids.append(document["_id"])
                self.collection.insert_one(document)
                self.collection.update_one({"_id": ids[number // 2]}, {"$set": {"log": [number], "status": "running"}})
                if number % 3 == 0:
                    self.collection.delete_one({"_id": ids[number // 3]})
                if number % 5 == 0:
                    self.collection.replace_one({"_id": ids[-1]}, {"status": "failed", "number": number})
                self.count += 1
            except PyMongoError:
                self.failed += 1


def test_a_copy_under_writes_is_equal_and_keeps_all_that_a_collection_has(mongo: MongoCluster) -> None:
    fill(mongo.client(login="lab_root"), SOURCE, 3000)
    special(mongo)
    with Changes(mongo) as changes:
        passed, result = copy(mongo)
        assert passed and result["outcome"] == "done", result
        assert "equal by the sums of hashes at one cluster time" in result["steps_done"][-1]["note"]
        wait_for(lambda: changes.count > 100, 30, "more writes")
    before = content(mongo, TARGET)
    passed, result = copy(mongo)
    assert passed and [step["verb"] for step in result["plan"]["steps"]] == ["catch_up", "verify"], result
    assert "equal by dbHash" in result["steps_done"][-1]["note"]
    after = content(mongo, TARGET)
    assert after == content(mongo, SOURCE) and after != before
    assert result["after"] and {row["state"] for row in result["after"]} == {"copied"}


def test_a_dry_run_shows_the_plan_and_writes_nothing(mongo: MongoCluster) -> None:
    fill(mongo.client(login="lab_root"), SOURCE, 10)
    passed, result = copy(mongo, dry_run=True)
    assert passed and result["plan"]["steps"][0]["verb"] == "begin"
    names = mongo.client(login="lab_root").list_database_names()
    assert TARGET not in names and LEDGER not in names


@pytest.mark.parametrize("parameters, words", [
    ({"target": SOURCE}, "as is `source`"),
    ({"target": "ST2"}, "as is `source`"),
    ({"target": ""}, "name the database"),
    ({"target": "st2/x"}, "letters, digits"),
    ({"target": "admin"}, "no StackStorm's"),
    ({"max_mb_per_s": -1}, "max_mb_per_s"),
    ({"verify": "md5"}, "use one of auto, dbhash, snapshot"),
    ({"deadline_s": 0}, "deadline_s"),
])  # fmt: skip
def test_bad_input_is_one_sentence(mongo: MongoCluster, parameters: dict[str, Any], words: str) -> None:
    passed, result = copy(mongo, **parameters)
    assert not passed and result["kind"] == "bad_input" and words in result["error"]


def test_a_target_that_we_did_not_make_is_refused(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root")
    fill(root, SOURCE, 10)
    root[TARGET].user_d_b.insert_one({"name": "somebody"})
    passed, result = copy(mongo)
    assert not passed and result["kind"] == "refused" and "user_d_b" in result["error"]
    assert root[TARGET].user_d_b.count_documents({}) == 1


def test_a_source_that_is_not_there_is_refused(mongo: MongoCluster) -> None:
    passed, result = copy(mongo)
    assert not passed and result["kind"] == "refused" and "there is no database st2" in result["error"]


def test_missing_rights_are_named(mongo: MongoCluster) -> None:
    passed, result = run(
        config(mongo, "st2ha"), "mongodb_copy_database", source=SOURCE, target=TARGET, deployment="lab"
    )
    assert not passed and result["kind"] == "refused"
    assert "read and dbAdmin on st2 (find" in result["error"] and "readWrite on st2ha_upgrade" in result["error"]


def test_a_copy_that_was_handed_over_is_never_written_again(mongo: MongoCluster) -> None:
    fill(mongo.client(login="lab_root"), SOURCE, 10)
    assert copy(mongo)[0]
    settings = settings_of(mongo, **config(mongo)["deployments"][0]["mongodb"])
    with operations.connected(settings, 30) as clients:
        Copying(clients, SOURCE, TARGET, 0, 30).hand_over()
    passed, result = copy(mongo)
    assert not passed and result["kind"] == "refused" and "handed over" in result["error"]


def test_a_throttled_copy_is_slow_and_equal(mongo: MongoCluster) -> None:
    fill(mongo.client(login="lab_root"), SOURCE, 2500)
    passed, result = copy(mongo, max_mb_per_s=2.0)
    assert passed, result
    took = {step["target"]: step["took_s"] for step in result["steps_done"] if step["verb"] == "copy_collection"}
    assert took["action_execution_d_b"] > 0.9  # 2.4 MB at 2 MB/s
    assert content(mongo, TARGET) == content(mongo, SOURCE)


def test_documents_that_exchange_a_unique_value_reach_the_copy(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root")
    fill(root, SOURCE, 10)
    users = root[SOURCE].user_d_b
    users.insert_many([{"_id": number, "name": name} for number, name in enumerate("abc")])
    assert copy(mongo)[0]
    for number, name in ((0, "x"), (1, "a"), (2, "b"), (0, "c")):
        users.update_one({"_id": number}, {"$set": {"name": name}})
    root[SOURCE].fresh.create_index("late", unique=True)
    root[SOURCE].fresh.insert_one({"late": 1})
    root[SOURCE].rule_d_b.drop()
    assert copy(mongo)[0]
    assert content(mongo, TARGET) == content(mongo, SOURCE)


def test_a_difference_is_found(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root")
    fill(root, SOURCE, 10)
    assert copy(mongo)[0]
    root[TARGET].action_execution_d_b.update_one({}, {"$set": {"status": "forged"}})
    passed, result = copy(mongo)
    assert not passed and "action_execution_d_b: other documents" in result["error"]
    passed, result = copy(mongo, verify="snapshot")
    assert not passed and "action_execution_d_b: other documents" in result["error"]


def test_a_step_down_in_the_copy_costs_a_pause(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root")
    fill(root, SOURCE, 20_000)
    results: list[tuple[bool, dict[str, Any]]] = []
    with Changes(mongo):
        thread = threading.Thread(target=lambda: results.append(copy(mongo)))
        thread.start()
        wait_for(lambda: root[LEDGER].copies.count_documents({}), 30, "the copy to begin", retry_on=(PyMongoError,))
        mongo.command(mongo.primary().name, {"replSetStepDown": 10, "force": True})
        thread.join(120)
    passed, result = results[0]
    assert passed, result
    assert copy(mongo)[0]
    assert content(mongo, TARGET) == content(mongo, SOURCE)


KILLS = 12 if os.environ.get("ST2HA_TEST_LONG") else 2


def test_a_killed_copy_goes_on_where_it_was(mongo: MongoCluster, tmp_path: Path) -> None:
    """SIGKILL after 1, 4, ... copied collections; the last run finishes, and nothing of the killed ones is left."""
    root = mongo.client(login="lab_root")
    fill(root, SOURCE, 5000)
    path = tmp_path / "ha.yaml"
    path.write_text(json.dumps(config(mongo)))
    command = [sys.executable, "bin/st2ha", "--config", str(path), "mongodb_copy_database"]
    words = [f"source={SOURCE}", f"target={TARGET}", "deployment=lab"]
    with Changes(mongo):
        for kill in range(KILLS):
            process = subprocess.Popen([*command, *words], cwd=PACK, start_new_session=True, stdout=subprocess.DEVNULL)
            wanted = min(1 + 3 * kill, 10)
            wait_for(
                lambda n=wanted, p=process: root[LEDGER].copied_parts.count_documents({}) >= n or p.poll() is not None,
                60, "collections to be copied", interval_s=0.005,
            )  # fmt: skip
            _kill_all(process)
        passed, result = copy(mongo)
        assert passed and result["outcome"] == "done", result
    passed, result = copy(mongo)
    assert passed and content(mongo, TARGET) == content(mongo, SOURCE)
    assert not [name for name in root[TARGET].list_collection_names() if name.startswith("tmp.")]


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """The action is a child in a session of its own."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in [*children, process.pid]:
        os.kill(int(pid), signal.SIGKILL)
    process.wait(10)


def test_ids_of_any_type_are_followed(mongo: MongoCluster) -> None:
    root = mongo.client(login="lab_root")
    fill(root, SOURCE, 10)
    assert copy(mongo)[0]
    ids = [1, "1", 1.5, {"a": 1}, bson.ObjectId(), b"1", True, None]
    root[SOURCE].odd.insert_many([{"_id": each, "at": time.time()} for each in ids])
    root[SOURCE].odd.delete_one({"_id": {"a": 1}})
    assert copy(mongo)[0]
    assert content(mongo, TARGET) == content(mongo, SOURCE)
