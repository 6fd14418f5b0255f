"""The pack's actions on a real replica set, called as StackStorm calls them, their results checked."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path
from typing import Any

from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from lab.mongodb import MongoCluster
from metadata.results import check_result
from st2ha.config import Mongodb, select

PACK = Path(__file__).resolve().parents[1]
REVIEWED = 1_000_000  # the set is shared: every member that an earlier test killed has a higher rollback id


def config_of(rs: MongoCluster, **mongodb: Any) -> dict[str, Any]:
    """The pack's configuration for a set, with other values of `mongodb`; None takes one away."""
    deployment = rs.deployment()
    values = {**deployment["mongodb"], "reviewed_rollbacks": dict.fromkeys(rs.hosts, REVIEWED), **mongodb}
    deployment["mongodb"] = {name: value for name, value in values.items() if value is not None}
    return {"deployments": [deployment]}


def settings_of(rs: MongoCluster, **mongodb: Any) -> Mongodb:
    return select(config_of(rs, **mongodb)).require_mongodb()


def run(config: dict[str, Any], action: str, **parameters: Any) -> tuple[bool, dict[str, Any]]:
    """An action's (status, result); the result fits its output_schema."""
    spec = importlib.util.spec_from_file_location(action, PACK / "actions" / f"{action}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entry = getattr(module, "".join(part.capitalize() for part in action.split("_")))
    passed, result = entry(config=config).run(**parameters)
    assert check_result(action, result) == []
    return passed, result


def codes(result: dict[str, Any]) -> set[tuple[str, str]]:
    """(severity Code, subject's last part) of each finding."""
    return {(f"{each['severity']} {each['code']}", each["subject"].split("/")[-1]) for each in result["details"]}


def primaries(rs: MongoCluster) -> list[str]:
    """The addresses of all that call themselves primary."""
    return [m.address for m in rs.members if rs.command(m.name, "hello").get("isWritablePrimary")]


class Writer:
    """Writes with majority concern all the time; knows which writes were acknowledged."""

    def __init__(self, rs: MongoCluster) -> None:
        self.client = rs.client()
        concern = WriteConcern("majority", wtimeout=5000)
        self.collection = self.client.st2ha_canary.get_collection("writer", write_concern=concern)
        self.acknowledged: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        number = 0
        while not self._end.is_set():
            number += 1
            try:
                self.collection.insert_one({"_id": number})
            except PyMongoError:
                continue
            self.acknowledged.append(number)
            time.sleep(0.002)

    def lost(self) -> list[int]:
        """Acknowledged writes that are not there."""
        there = {each["_id"] for each in self.collection.find({}, {"_id": 1})}
        return [number for number in self.acknowledged if number not in there]
