"""Our own process is killed after each statement that changes something: never two writable servers, and a way on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.mysql import MysqlCluster
from lab.wait import wait_for
from tests.real_mysql import change, found

MOST = 40


def die(pair: MysqlCluster, config: Path, verb: str, number: int) -> str:
    """Run a plan that dies after a statement; that statement, or `done`."""
    command = [sys.executable, "-m", "tests.killed_mysql", str(config), verb, str(number)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if ended.returncode == 0:
        assert ended.stdout.startswith("done"), ended.stdout
        return "done"
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return ended.stdout.strip()


def mend(pair: MysqlCluster) -> None:
    """What a person would do: the switchover again; a failover if nobody is writable; then bring the other one back."""
    if "error" in change(pair, "switchover") and not pair.writable():
        result = change(pair, "failover", acknowledge=True)
        assert "error" not in result, result
    (primary,) = pair.writable()
    (other,) = (member.name for member in pair.members if member.name != primary)
    result = change(pair, "rejoin", other)
    assert "error" not in result, result


def settle(pair: MysqlCluster) -> None:
    """Nothing is found any more; semi-sync comes back only with the next write."""
    pair.query(pair.writable()[0], "CREATE TABLE app.settled (n INT)")
    wait_for(lambda: found(pair) == set(), 10, "a healthy pair")


@pytest.mark.timeout(600)
def test_a_switchover_killed_anywhere_leaves_at_most_one_writable_server(pair: MysqlCluster, tmp_path: Path) -> None:
    config = pair.write_config(tmp_path / "ha.yaml")
    told = []
    for number in range(1, MOST):
        pair.query("db1", "CREATE TABLE app.kept (n INT)", "INSERT INTO app.kept VALUES (1)")
        statement = die(pair, config, "switchover", number)
        writable = pair.writable()
        told.append(f"{number:>2} {statement:<60} writable: {', '.join(writable) or 'nobody'}")
        assert len(writable) <= 1, told
        if statement == "done":
            break
        mend(pair)
        assert len(pair.writable()) == 1, told
        settle(pair)
        assert all(pair.value(m.name, "(SELECT COUNT(*) FROM app.kept)") == 1 for m in pair.members), told
        pair.restore()
    else:
        pytest.fail(f"a switchover has more than {MOST} statements")
    print("\n".join(told))


@pytest.mark.timeout(600)
def test_a_failover_killed_anywhere_can_be_finished(mysql: MysqlCluster, tmp_path: Path) -> None:
    config = mysql.write_config(tmp_path / "ha.yaml")
    told = []
    for number in range(1, MOST):
        mysql.kill("db1")
        time.sleep(0.2)
        statement = die(mysql, config, "failover", number)
        told.append(f"{number:>2} {statement:<60} writable: {', '.join(mysql.writable()) or 'nobody'}")
        assert len(mysql.writable()) <= 1, told
        if statement == "done":
            break
        result = change(mysql, "failover", "db2")
        assert "error" not in result, (told, result)
        mysql.start("db1")
        assert mysql.writable() == ["db2"]
        result = change(mysql, "rejoin", "db1")
        assert "error" not in result, (told, result)
        settle(mysql)
        mysql.restore()
    else:
        pytest.fail(f"a failover has more than {MOST} statements")
    print("\n".join(told))
