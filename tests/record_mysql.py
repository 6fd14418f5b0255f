"""Record tests/facts/mysql anew: each situation is made on real servers, each server's raw replies are kept.

`python -m tests.record_mysql [CASE ...]` writes <case>/facts.json; the expect.yaml beside it is written by hand. db1
was the primary before the fault. Addresses are renamed to db1:3306 and db2:3306. `altered` in a facts.json says
what was changed in a recording.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from lab.mysql import MysqlCluster
from lab.mysql_flavors import Mysql9
from lab.wait import wait_for
from st2ha.config import Host, select
from st2ha.mysql.facts import Denied, Member
from st2ha.mysql.gather import gather
from tests.situations_mysql import ALTERED, HELD, MARIADB, MYSQL9, TWO_LOOKS, Looks, Situation

FACTS = Path(__file__).parent / "facts" / "mysql"
TIMEOUT_S = 0.8


def record(pair: MysqlCluster, case: str, situation: Situation) -> None:
    """Make the situation, wait until it shows, write it down, build the pair anew."""
    wanted = situation(pair)
    settings = replace(select({"deployments": [pair.deployment()]}).require("mysql"), timeout_s=TIMEOUT_S)
    looks: Looks = []

    def look() -> bool:
        replies: dict[Host, dict[str, Any]] = {}
        snapshot = gather(settings, record=replies.__setitem__)
        if not wanted(snapshot):
            return False
        answers = {str(host): _answer(answer, replies.get(host)) for host, answer in snapshot.answers.items()}
        looks.append({"at": snapshot.at, "answers": answers})
        return True

    wait_for(look, 30, case, interval_s=0.1)
    if situation.__name__ in TWO_LOOKS:
        time.sleep(1.1)
        wait_for(look, 30, case)
    _write(case, _renamed(pair, json.dumps({"looks": looks})))
    while HELD:
        HELD.pop().close()
    pair.restore()


def alter(case: str, change: Callable[[Looks], str]) -> None:
    """A case from the recording of healthy servers, and what was changed in it."""
    facts = json.loads((FACTS / "mariadb_healthy" / "facts.json").read_text())
    _write(case, {"altered": change(facts["looks"]), **facts})


def _write(case: str, facts: dict[str, Any]) -> None:
    directory = FACTS / case
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    print(case, flush=True)


def _answer(answer: Any, replies: Any) -> dict[str, Any]:
    if isinstance(answer, Member):
        return {"kind": "member", "replies": replies}
    if isinstance(answer, Denied):
        return {"kind": "denied", "reason": answer.reason}
    return {
        "kind": "silent",
        "silence": answer.kind.value,
        "reason": answer.reason,
        "after_s": round(answer.after_s, 3),
    }


def _renamed(pair: MysqlCluster, text: str) -> dict[str, Any]:
    for member in pair.members:
        text = text.replace(member.address, f"{member.name}:3306").replace(f"@{member.host}", f"@{member.name}")
    document: dict[str, Any] = json.loads(text.replace(str(pair.directory), "/srv"))
    names = {str(member.port): member.name for member in pair.members}
    for look in document["looks"]:
        for answer in look["answers"].values():
            for row in answer.get("replies", {}).get("replica", ()):
                for word in ("Master", "Source"):
                    if f"{word}_Port" in row:
                        name = names.get(str(row[f"{word}_Port"]), "db9")
                        row[f"{word}_Host"], row[f"{word}_Port"] = name, 3306
    return document


def main(wanted: list[str]) -> None:
    plans = [("mariadb", MARIADB)] + ([] if Mysql9().limitation() else [("mysql9", MYSQL9)])
    for flavor, situations in plans:
        cases = {f"{flavor}_{each.__name__}": each for each in situations}
        chosen = {case: each for case, each in cases.items() if not wanted or case in wanted}
        if chosen:
            with MysqlCluster(flavor=flavor) as pair:
                for case, situation in chosen.items():
                    record(pair, case, situation)
    for change in ALTERED:
        case = f"mariadb_{change.__name__}"
        if not wanted or case in wanted:
            alter(case, change)


if __name__ == "__main__":
    main(sys.argv[1:])
