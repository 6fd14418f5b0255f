"""The MySQL actions on real pairs: MariaDB always, MySQL 9 by `make test-mysql9`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.mysql import MysqlCluster
from lab.mysql_writer import MysqlWriter
from tests.real_mysql import PACK, change, config_of, found, run

HOOK = """
import json
class Move:
    def __init__(self, config=None, action_service=None):
        pass
    def run(self, **parameters):
        with open({path!r}, "w") as file:
            json.dump(parameters, file)
        return {passed}, {{"summary": "moved"}}
"""
HOOK_METADATA = """---
name: move
pack: mine
runner_type: python-script
enabled: true
entry_point: move.py
parameters:
  cluster: {type: string}
  primary: {type: string}
  former: {type: string}
"""


def roles(pair: MysqlCluster) -> dict[str, str]:
    """What each server is by its own word."""
    return {m.name: "primary" if m.name in pair.writable() else "replica" for m in pair.members}


def verbs(result: dict[str, Any]) -> list[str]:
    return [f"{step['verb']} {step['target']}" for step in result["steps_done"]]


def lost(writer: MysqlWriter, pair: MysqlCluster, *names: str) -> set[int]:
    """Acknowledged writes that one of the servers has not, a moment after the writer has ended."""
    time.sleep(0.3)
    return {number for name in names for number in set(writer.acknowledged()) - writer.present_on(name)}


# -- checking


def test_a_healthy_pair_is_ok(pair: MysqlCluster) -> None:
    passed, result = run(config_of(pair), "mysql_check", canary=True)
    assert passed and result["severity"] == "ok", result["findings"]
    assert result["summary"] == f"OK MySQL: 2 servers, primary {pair.members[0].address}"
    assert [row["state"] for row in result["facts"]["members"]] == ["PRIMARY", "REPLICA"]
    assert "same checksum" in result["facts"]["canary"]


def test_a_user_who_may_only_read_is_enough_for_a_check(pair: MysqlCluster) -> None:
    user = pair.logins["st2ha_check"]
    config = config_of(pair, username=user.username, password_file=str(user.password_file))
    assert run(config, "mysql_check")[1]["severity"] == "ok"


def test_what_a_user_may_not_read_is_told_and_all_else_is_read(pair: MysqlCluster) -> None:
    user = pair.logins["app"]
    config = config_of(pair, username=user.username, password_file=str(user.password_file))
    result = run(config, "mysql_check")[1]
    missing = [each["message"] for each in result["details"] if each["code"] == "PrivilegeMissing"]
    assert len(missing) == 2 and all("failovers" in each and "replication status" in each for each in missing)
    states = [row["state"] for row in result["facts"]["members"]]
    assert states == ["PRIMARY", "READ ONLY"], "what they may read was read"


def test_tls(tls_mysql: MysqlCluster) -> None:
    assert found(tls_mysql) == set()
    result = change(tls_mysql, "switchover")
    assert result["outcome"] == "done", result
    assert found(tls_mysql) == set()


def test_tls_with_a_wrong_authority(tls_mysql: MysqlCluster, tmp_path: Path) -> None:
    from lab.certs import Authority

    other = Authority(tmp_path / "other")
    assert {code for code, _ in found(tls_mysql, tls={"enabled": True, "ca_file": str(other.ca_file)})} == {
        "unknown TlsFailed",
        "critical NoPrimary",
    }


# -- the planned switchover


def test_a_switchover_under_load_loses_nothing(pair: MysqlCluster) -> None:
    with MysqlWriter(pair) as writer:
        result = change(pair, "switchover")
        time.sleep(0.3)
    assert result["outcome"] == "done", result
    assert roles(pair) == {"db1": "replica", "db2": "primary"}
    assert lost(writer, pair, "db1", "db2") == set()
    assert writer.largest_gap() < 1.0
    assert found(pair) == set()


def test_a_busy_replica_is_never_taken_for_errant(mysql: MysqlCluster) -> None:
    """It is read a moment after its primary, and may be ahead of what was read there."""
    with MysqlWriter(mysql, pause_s=0.0005):
        codes = [found(mysql) for _ in range(10)]
    assert not any("ErrantTransactions" in code for each in codes for code, _ in each), codes


def test_a_dry_run_changes_nothing(pair: MysqlCluster) -> None:
    result = change(pair, "switchover", dry_run=True)
    assert [step["verb"] for step in result["plan"]["steps"]] == [
        "freeze", "catch_up", "promote", "release", "forget_source", "attach", "prove",
    ]  # fmt: skip
    assert roles(pair) == {"db1": "primary", "db2": "replica"}


def test_a_switchover_to_the_primary_has_nothing_to_do(pair: MysqlCluster) -> None:
    assert change(pair, "switchover", "db1")["plan"]["steps"] == []


def test_a_switchover_that_cannot_catch_up_is_undone(mysql: MysqlCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from st2ha.mysql import act

    monkeypatch.setattr(act, "CATCH_UP_S", 1.0)
    mysql.query("db1", "CREATE TABLE app.t (n INT) ENGINE=InnoDB")
    time.sleep(0.2)
    with mysql.client("db2") as locking:
        locking.cursor().execute("LOCK TABLES app.t READ")  # its SQL thread has to wait
        mysql.query("db1", "INSERT INTO app.t VALUES (1)")
        result = change(mysql, "switchover", "db2")
    assert result["outcome"] == "failed" and "has not applied everything" in result["error"], result
    assert result["undo"]["outcome"] == "done"
    assert roles(mysql) == {"db1": "primary", "db2": "replica"}
    mysql.query("db1", "INSERT INTO app.t VALUES (2)", login="app")


def test_a_statement_that_does_not_end_keeps_the_switchover_out(
    mysql: MysqlCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from st2ha.mysql import act

    monkeypatch.setattr(act, "FREEZE_S", 1)
    mysql.query("db1", "CREATE TABLE app.t (n INT) ENGINE=InnoDB", "INSERT INTO app.t VALUES (1)")
    busy = threading.Thread(target=mysql.query, args=("db1", "UPDATE app.t SET n = n + SLEEP(3)"))
    busy.start()
    time.sleep(0.2)
    result = change(mysql, "switchover", "db2")
    assert "a statement has been running for more than 1 s" in result["error"]
    assert mysql.writable() == ["db1"]
    busy.join()


def test_three_servers(three_mysql: MysqlCluster) -> None:
    result = change(three_mysql, "switchover", "db3")
    assert result["outcome"] == "done", result
    assert three_mysql.writable() == ["db3"] and found(three_mysql) == set()
    three_mysql.kill("db3")
    result = change(three_mysql, "failover", "best")
    assert result["outcome"] == "done", result
    assert len(three_mysql.writable()) == 1
    assert {code for code, _ in found(three_mysql)} == {"warning MemberDown"}
    three_mysql.start("db3")
    assert change(three_mysql, "rejoin", "db3")["outcome"] == "done"
    assert found(three_mysql) == set()


# -- the forced failover and the way back


def test_a_killed_primary_is_replaced_at_once_and_comes_back_as_a_replica(pair: MysqlCluster) -> None:
    with MysqlWriter(pair) as writer:
        pair.kill("db1")
        result = change(pair, "failover")
        time.sleep(0.3)
    assert result["outcome"] == "done", result
    assert lost(writer, pair, "db2") == set()
    refused = change(pair, "failover", "db2")
    assert refused["plan"]["steps"] == []
    pair.start("db1")
    assert pair.writable() == ["db2"], "a server that comes back must not take writes"
    assert ("warning NotReplicating", "db1") in found(pair)
    result = change(pair, "rejoin", "db1")
    if "error" in result:  # what the crash left in db1's binary log only
        assert "db1" not in pair.writable() and "transaction" in result["error"]
        return
    assert result["outcome"] == "done", result
    assert found(pair) == set()


def test_a_dead_primary_is_known_to_its_replica_by_its_ip(mysql: MysqlCluster) -> None:
    """And to the configuration by its name."""
    hosts = [f"localhost:{member.port}" for member in mysql.members]
    mysql.kill("db1")
    assert ("critical NoPrimary", "main") in found(mysql, hosts=hosts)
    result = change(mysql, "failover", "best", mysql={"hosts": hosts})
    assert result["outcome"] == "done", result
    assert mysql.writable() == ["db2"]


def test_a_primary_that_answers_is_no_case_for_a_failover(pair: MysqlCluster) -> None:
    result = change(pair, "failover", "db2")
    assert result["kind"] == "refused" and "use mysql_switchover" in result["error"]
    result = change(pair, "failover", "db2", force=True)
    assert result["outcome"] == "done", result
    assert roles(pair) == {"db1": "replica", "db2": "primary"}
    assert change(pair, "rejoin", "db1")["outcome"] == "done"


def test_a_hung_primary_is_not_replaced_unless_forced(mysql: MysqlCluster) -> None:
    mysql.hang("db1")
    result = change(mysql, "failover", mysql={"timeout_s": 1})
    assert result["kind"] == "refused" and "cannot be fenced" in result["error"]
    result = change(mysql, "failover", mysql={"timeout_s": 1}, force=True)
    assert result["outcome"] == "done", result
    assert "could not reach it again" in json.dumps(result["steps_done"])


def test_a_second_failover_is_blocked_until_acknowledged(pair: MysqlCluster) -> None:
    pair.kill("db1")
    assert change(pair, "failover")["outcome"] == "done"
    pair.start("db1")
    assert change(pair, "rejoin", "db1")["outcome"] == "done"
    pair.kill("db2")
    refused = change(pair, "failover")
    assert refused["kind"] == "refused" and "acknowledge=true" in refused["error"]
    assert change(pair, "failover", mysql={"block_s": 0}, dry_run=True)["severity"] == "ok"
    assert change(pair, "failover", acknowledge=True)["outcome"] == "done"


def test_errant_transactions_keep_a_server_out(pair: MysqlCluster) -> None:
    pair.kill("db1")
    assert change(pair, "failover")["outcome"] == "done"
    pair.start("db1")
    pair.errant("db1", 5)
    result = change(pair, "rejoin", "db1")
    assert result["kind"] == "refused"
    assert "5 transactions that" in result["error"] or "6 transactions that" in result["error"], result["error"]
    assert pair.replica_status("db1") == {}


def test_a_frozen_primary_is_opened_again(pair: MysqlCluster) -> None:
    pair.query("db1", "SET GLOBAL read_only=1")
    assert ("critical NoPrimary", "main") in found(pair)
    assert change(pair, "failover", "db1")["outcome"] == "done"
    assert found(pair) == set()


# -- the hook


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack `mine` with an action `move` that writes its parameters to a file."""
    actions = tmp_path / "packs" / "mine" / "actions"
    actions.mkdir(parents=True)
    (actions.parent / "pack.yaml").write_text("---\nref: mine\nname: mine\nversion: 1.0.0\n")
    (actions / "move.yaml").write_text(HOOK_METADATA)
    (actions / "move.py").write_text(HOOK.format(path=str(tmp_path / "moved"), passed=True))
    monkeypatch.setenv("ST2HA_PACKS", str(tmp_path / "packs"))
    monkeypatch.setenv("ST2HA_STATE_DIR", str(tmp_path / "state"))
    return actions / "move.py"


def test_the_hook_runs_under_bin_st2ha(mysql: MysqlCluster, hook: Path, tmp_path: Path) -> None:
    config = mysql.write_config(tmp_path / "ha.yaml")
    command = [str(PACK / "bin" / "st2ha"), "--json", "mysql_switchover", "best", "lab", "after_promotion=mine.move"]
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, "ST2HA_CONFIG": str(config)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (member.address for member in mysql.members)
    expected = {"cluster": "main", "primary": second, "former": first}
    assert json.loads((tmp_path / "moved").read_text()) == expected


def test_a_hook_that_fails_is_told_and_the_plan_goes_on(
    mysql: MysqlCluster, hook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST2HA_LOCAL", "1")
    hook.write_text(HOOK.format(path=str(tmp_path / "moved"), passed=False))
    result = change(mysql, "switchover", after_promotion="mine.move")
    assert result["outcome"] == "done", result
    assert any(each["code"] == "HookFailed" for each in result["details"])
    assert roles(mysql) == {"db1": "replica", "db2": "primary"}


class Api(BaseHTTPRequestHandler):
    """The two calls of StackStorm's API that a hook makes, as the API answers them."""

    asked: list[tuple[str, Any, str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer("POST", body, 201, {"id": "1", "status": "requested"})

    def do_GET(self) -> None:
        self._answer("GET", None, 200, {"id": "1", "status": "succeeded"})

    def _answer(self, method: str, body: Any, code: int, answer: dict[str, str]) -> None:
        type(self).asked.append((f"{method} {self.path}", body, self.headers["X-Auth-Token"]))
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_the_hook_runs_under_stackstorm(mysql: MysqlCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    Api.asked = []
    server = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("ST2HA_LOCAL", raising=False)
    monkeypatch.setenv("ST2_ACTION_API_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("ST2_ACTION_AUTH_TOKEN", "token")
    result = change(mysql, "switchover", after_promotion="mine.move")
    server.shutdown()
    assert result["outcome"] == "done" and result["findings"] == [], result
    parameters = {"cluster": "main", "primary": mysql.members[1].address, "former": mysql.members[0].address}
    assert Api.asked == [
        ("POST /v1/executions", {"action": "mine.move", "parameters": parameters}, "token"),
        ("GET /v1/executions/1?include_attributes=status", None, "token"),
    ]
