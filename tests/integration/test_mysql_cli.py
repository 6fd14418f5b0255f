"""bin/st2ha on a real pair: exit codes as monitoring has them, and one sentence for every wrong input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.mysql import MysqlCluster
from tests.real_mysql import PACK, config_of

SECRET = "S3cret-never-shown"
WRONG_PASSWORD = {"password_file": None, "password": SECRET}
OK, WARNING, CRITICAL, REFUSED, UNKNOWN, USAGE = 0, 1, 2, 2, 3, 64


def st2ha(pair: MysqlCluster, tmp: Path, words: str, **mysql: Any) -> tuple[int, dict[str, Any]]:
    """(exit code, the JSON it printed) of a command, with other values of `mysql` in the configuration."""
    (tmp / "ha.yaml").write_text(yaml.safe_dump(config_of(pair, **mysql)))
    done = subprocess.run(
        [str(PACK / "bin" / "st2ha"), "--json", "--config", str(tmp / "ha.yaml"), *words.split()],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "ST2HA_STATE_DIR": str(tmp / "state")},
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, result


def codes(result: dict[str, Any]) -> set[str]:
    return {each["code"] for each in result["details"]}


# -- exit codes


def test_ok_is_0(mysql: MysqlCluster, tmp_path: Path) -> None:
    code, result = st2ha(mysql, tmp_path, "mysql_check canary=true")
    assert (code, result["severity"]) == (OK, "ok")


def test_a_certificate_that_ends_soon_is_1(tls_mysql: MysqlCluster, tmp_path: Path) -> None:
    """The lab's are good for a month."""
    code, result = st2ha(tls_mysql, tmp_path, "mysql_check", limits={"tls_days": 60})
    assert (code, codes(result)) == (WARNING, {"TlsExpiring"})


def test_without_a_primary_the_canary_is_lost_and_it_is_2(mysql: MysqlCluster, tmp_path: Path) -> None:
    mysql.kill("db1")
    code, result = st2ha(mysql, tmp_path, "mysql_check canary=true")
    assert (code, codes(result)) == (CRITICAL, {"NoPrimary", "CanaryLost", "MemberDown"})


def test_a_user_who_may_not_write_loses_the_canary(mysql: MysqlCluster, tmp_path: Path) -> None:
    user = mysql.logins["st2ha_check"]
    login = {"username": user.username, "password_file": str(user.password_file)}
    code, result = st2ha(mysql, tmp_path, "mysql_check canary=true", **login)
    assert (code, codes(result)) == (CRITICAL, {"CanaryLost"})
    assert "command denied to user" in result["details"][0]["message"]


def test_a_wrong_password_is_3_and_no_change_is_made(mysql: MysqlCluster, tmp_path: Path) -> None:
    code, result = st2ha(mysql, tmp_path, "mysql_check", **WRONG_PASSWORD)
    assert (code, codes(result)) == (UNKNOWN, {"AuthFailed", "PrimaryUnknown"})
    assert "correct mysql.username and password" in result["details"][0]["remedy"]
    code, result = st2ha(mysql, tmp_path, "mysql_switchover best lab force=true", **WRONG_PASSWORD)
    assert (code, result["kind"]) == (REFUSED, "refused")
    assert "does not let us in" in result["error"]


def test_only_a_replica_is_given(mysql: MysqlCluster, tmp_path: Path) -> None:
    """Its primary takes writes where nobody looks: a failover would make a second one."""
    first, second = (member.address for member in mysql.members)
    code, result = st2ha(mysql, tmp_path, "mysql_check", hosts=[second])
    assert (code, codes(result)) == (UNKNOWN, {"PrimaryUnknown", "ConfigDrift"})
    assert f"add {first} to mysql.hosts" in result["details"][0]["remedy"]
    code, result = st2ha(mysql, tmp_path, "mysql_failover best lab", hosts=[second])
    assert (code, result["kind"]) == (REFUSED, "refused")
    assert f"{second} is a replica of {first}, which may be taking writes" in result["error"]
    assert mysql.writable() == ["db1"]


# -- wrong input, each one sentence that names the parameter, its value and the remedy


@pytest.mark.parametrize(
    ("mysql_settings", "says"),
    [
        ({"hosts": ["mysql://db1:3306"]}, "mysql.hosts[0] is 'mysql://db1:3306': write it as host:port"),
        ({"hosts": [f"mysql://st2ha:{SECRET}@db1"]}, "mysql.hosts[0] is a text with @ in it (not shown"),
        ({"hosts": []}, "mysql.hosts is empty: list the members as host:port"),
        ({"password_file": None}, "mysql has no `password` or `password_file`: give the password"),
        ({"replication_username": None}, "mysql has no `replication_username`: give a replication user"),
        ({"canary_database": "a`b"}, "mysql.canary_database is 'a`b': use letters, digits and _ only"),
        ({"prefer": ["db9:3306"]}, "mysql.prefer names 'db9:3306', which is not in"),
        ({"timeout": 3}, "mysql.timeout is unknown: use hosts, cluster, username"),
    ],
)
def test_a_wrong_configuration(
    mysql_session: MysqlCluster, tmp_path: Path, mysql_settings: dict[str, Any], says: str
) -> None:
    code, result = st2ha(mysql_session, tmp_path, "mysql_check", **mysql_settings)
    assert (code, result["kind"]) == (USAGE, "bad_input")
    assert says in result["error"] and "\n" not in result["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("mysql_switchover member=db9", "parameter `member` is 'db9', no member of mysql/main: use one of"),
        ("mysql_rejoin member=mysql://db1:3306", "parameter `member` is 'mysql://db1:3306', no member of mysql/main"),
        ("mysql_failover member=", "parameter `member` is ''"),
        ("mysql_failover member=best after_promotion=rm", "parameter `after_promotion` is 'rm': name an action as"),
        ("mysql_switchover member=best deadline_s=0", "deadline_s must be at least 1"),
        ("mysql_check timeout_s=9999", "parameter `timeout_s` is 9999"),
    ],
)
def test_a_wrong_parameter(mysql_session: MysqlCluster, tmp_path: Path, words: str, says: str) -> None:
    code, result = st2ha(mysql_session, tmp_path, f"{words} deployment=lab")
    assert (code, result["kind"]) == (USAGE, "bad_input")
    assert says in result["error"] and "\n" not in result["error"]


@pytest.mark.mysql9
def test_mixed_dialects(mysql_session: MysqlCluster, mysql9_session: MysqlCluster, tmp_path: Path) -> None:
    """The lab's users have other passwords there: for once this one is given the same."""
    hosts = [mysql_session.members[0].address, mysql9_session.members[0].address]
    password = mysql_session.logins["st2ha"].password
    mysql9_session.query("db1", f"ALTER USER 'st2ha'@'127.0.0.1' IDENTIFIED BY '{password}'")
    code, result = st2ha(mysql_session, tmp_path, "mysql_check", hosts=hosts)
    mysql9_session.restore()
    assert (code, result["kind"]) == (USAGE, "bad_input")
    assert f"mysql.hosts mixes MariaDB ({hosts[0]}) and MySQL ({hosts[1]})" in result["error"]
