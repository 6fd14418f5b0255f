"""Record tests/facts/mysql anew: each situation is made on real servers, each server's raw replies are kept.

`python -m tests.record_mysql [CASE ...]` writes <case>/facts.json; the expect.yaml beside it is written by hand. db1
was the primary before the fault. Addresses are renamed to db1:3306 and db2:3306.
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
from st2ha.mysql.facts import Denied, Member, Snapshot
from st2ha.mysql.gather import gather

FACTS = Path(__file__).parent / "facts" / "mysql"
TIMEOUT_S = 0.8
Situation = Callable[[MysqlCluster], Callable[[Snapshot], object]]


def _any(snapshot: Snapshot) -> bool:
    return True


def healthy(pair: MysqlCluster) -> Any:
    return _any


def primary_killed(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    return lambda snapshot: all(m.channels[0].io != "Yes" for m in snapshot.members)


def primary_hung(pair: MysqlCluster) -> Any:
    pair.hang("db1")
    return _any


def primary_cut_off(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET GLOBAL slave_net_timeout=1", "STOP SLAVE", "START SLAVE")
    pair.cut_off("db1")
    return lambda snapshot: all(m.channels[0].io != "Yes" for m in snapshot.members)


def replica_killed(pair: MysqlCluster) -> Any:
    """The primary does not notice: the first write waits for the whole time-out, then semi-sync is given up."""
    pair.kill("db2")
    pair.query("db1", *[f"CREATE TABLE app.t{number} (n INT)" for number in range(3)])
    return lambda snapshot: snapshot.primary and not snapshot.primary.semi_sync.source_active


def replica_hung(pair: MysqlCluster) -> Any:
    pair.hang("db2")
    return _any


def both_killed(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    pair.kill("db2")
    return _any


def primary_restarted(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    pair.start("db1")
    return lambda snapshot: all(m.channels[0].io == "Yes" for m in snapshot.members if m.channels)


def old_primary_back(pair: MysqlCluster) -> Any:
    pair.kill("db1")
    stop = ("STOP SLAVE", "RESET SLAVE ALL") if pair.flavor.name == "mariadb" else ("STOP REPLICA", "RESET REPLICA ALL")
    pair.query("db2", *stop, "SET GLOBAL read_only=0", "CREATE TABLE app.later (n INT)")
    pair.start("db1")
    return _any


def errant(pair: MysqlCluster) -> Any:
    pair.errant("db2", 5)
    return _any


def two_writable(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET GLOBAL read_only=0")
    return _any


def sql_stopped(pair: MysqlCluster) -> Any:
    pair.query("db1", "CREATE TABLE app.t (n INT PRIMARY KEY)")
    time.sleep(0.3)
    pair.query("db2", "SET sql_log_bin=0", "INSERT INTO app.t VALUES (1)")
    pair.query("db1", "INSERT INTO app.t VALUES (1)")
    return lambda snapshot: snapshot.members[1].channels[0].sql_error


def io_stopped(pair: MysqlCluster) -> Any:
    pair.query("db2", "STOP SLAVE IO_THREAD" if pair.flavor.name == "mariadb" else "STOP REPLICA IO_THREAD")
    return _any


def stream_hangs(pair: MysqlCluster) -> Any:
    pair.cut_off("db1", keep_clients=True)
    statements = ("CREATE TABLE app.t (n INT)", "INSERT INTO app.t VALUES (1)")
    pair.query("db1", "SET GLOBAL rpl_semi_sync_master_timeout=100", *statements)
    return lambda snapshot: snapshot.behind(snapshot.members[1])


def semi_sync_off(pair: MysqlCluster) -> Any:
    word = "master" if pair.flavor.name == "mariadb" else "source"
    pair.query("db1", f"SET GLOBAL rpl_semi_sync_{word}_enabled=0")
    return _any


def switchover_interrupted(pair: MysqlCluster) -> Any:
    pair.query("db1", "SET GLOBAL read_only=1")
    return _any


def purged_needed(pair: MysqlCluster) -> Any:
    pair.kill("db2")
    pair.query(
        "db1", "CREATE TABLE app.a (n INT)", "FLUSH BINARY LOGS", "CREATE TABLE app.b (n INT)", "FLUSH BINARY LOGS"
    )
    last = pair.query("db1", "SHOW BINARY LOGS")[-1]["Log_name"]
    pair.query("db1", f"PURGE BINARY LOGS TO '{last}'")
    pair.start("db2")
    first = pair.members[0]
    pair.query("db2", *pair.flavor.change_source(first.host, first.port, pair.logins["repl"].password))
    return lambda snapshot: any(m.channels and m.channels[0].io_errno for m in snapshot.members)


def filtered(pair: MysqlCluster) -> Any:
    pair.query("db2", "STOP SLAVE", "SET GLOBAL replicate_do_db='app'", "START SLAVE")
    return lambda snapshot: snapshot.members[1].channels[0].running


def user_missing(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET sql_log_bin=0", "DROP USER 'repl'@'127.0.0.1'")
    return _any


def drifted(pair: MysqlCluster) -> Any:
    pair.query("db2", "SET GLOBAL sync_binlog=0", "SET GLOBAL max_connections=30")
    return _any


def check_user_weak(pair: MysqlCluster) -> Any:
    pair.query("db1", "REVOKE SLAVE MONITOR ON *.* FROM 'st2ha'@'127.0.0.1'")
    time.sleep(0.3)
    return _any


def wrong_password(pair: MysqlCluster) -> Any:
    pair.query("db1", "SET PASSWORD FOR 'st2ha'@'127.0.0.1' = PASSWORD('another')")
    time.sleep(0.3)
    return _any


BOTH = (
    healthy, primary_killed, replica_killed, errant, two_writable, io_stopped, semi_sync_off, switchover_interrupted,
    old_primary_back, purged_needed,
)  # fmt: skip
MARIADB = (
    *BOTH, primary_hung, primary_cut_off, replica_hung, both_killed, primary_restarted, sql_stopped, stream_hangs,
    filtered, user_missing, drifted, check_user_weak, wrong_password,
)  # fmt: skip
TWO_LOOKS = ("stream_hangs",)


def record(pair: MysqlCluster, case: str, situation: Situation) -> None:
    """Make the situation, wait until it shows, write it down, build the pair anew."""
    wanted = situation(pair)
    settings = replace(select({"deployments": [pair.deployment()]}).require("mysql"), timeout_s=TIMEOUT_S)
    looks: list[dict[str, Any]] = []

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
    directory = FACTS / case
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "facts.json").write_text(_renamed(pair, json.dumps({"looks": looks}, indent=1, sort_keys=True)) + "\n")
    pair.restore()
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


def _renamed(pair: MysqlCluster, text: str) -> str:
    for member in pair.members:
        text = text.replace(member.address, f"{member.name}:3306").replace(f"@{member.host}", f"@{member.name}")
    document = json.loads(text.replace(str(pair.directory), "/srv"))
    names = {str(member.port): member.name for member in pair.members}
    for look in document["looks"]:
        for answer in look["answers"].values():
            for row in answer.get("replies", {}).get("replica", ()):
                for word in ("Master", "Source"):
                    if f"{word}_Port" in row:
                        row[f"{word}_Host"], row[f"{word}_Port"] = names[str(row[f"{word}_Port"])], 3306
    return json.dumps(document, indent=1, sort_keys=True)


def main(wanted: list[str]) -> None:
    plans = [("mariadb", MARIADB)] + ([] if Mysql9().limitation() else [("mysql9", BOTH)])
    for flavor, situations in plans:
        cases = {f"{flavor}_{each.__name__}": each for each in situations}
        chosen = {case: each for case, each in cases.items() if not wanted or case in wanted}
        if chosen:
            with MysqlCluster(flavor=flavor) as pair:
                for case, situation in chosen.items():
                    record(pair, case, situation)


if __name__ == "__main__":
    main(sys.argv[1:])
