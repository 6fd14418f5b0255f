"""bin/st2ha on a real cluster: exit codes as monitoring has them, and one sentence for every wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.rabbitmq import RabbitCluster
from tests.rabbit_real import st2ha

DRAIN = ("rabbitmq_drain_node", "node=rabbit2", "deployment=lab")
SECRET = "S3cret-never-shown"
WRONG_PASSWORD = {"password_file": None, "password": SECRET}
USAGE, REFUSED, UNKNOWN = 64, 2, 3


def run(rabbit: RabbitCluster, tmp: Path, *words: str, **layer: Any) -> tuple[int, dict[str, Any]]:
    done = st2ha(rabbit, tmp, *words, **layer)
    assert "Traceback" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def test_ok_is_0(rabbit: RabbitCluster, tmp_path: Path) -> None:
    code, result = run(rabbit, tmp_path, "rabbitmq_check", "canary=true")
    assert (code, result["severity"]) == (0, "ok")


def test_a_plan_is_shown(rabbit: RabbitCluster, tmp_path: Path) -> None:
    code, result = run(rabbit, tmp_path, "--dry-run", *DRAIN)
    assert (code, [step["verb"] for step in result["plan"]["steps"]]) == (0, ["drain", "leaderless", "safe"])


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"hosts": ["http://mq1:15672"]}, "rabbitmq.hosts[0] is 'http://mq1:15672': write it as host:port"),
        ({"partition_handling": "hope"}, "rabbitmq.partition_handling is 'hope': use one of pause_minority"),
        ({"username": None}, "rabbitmq.username is required: give it"),
        ({"command": "ssh {machine}"}, "rabbitmq.command cannot be read"),
        ({"amqp_hosts": ["one:5672"]}, "rabbitmq.amqp_hosts has 1 entries"),
    ],
)
def test_wrong_configuration_is_one_sentence(
    rabbit: RabbitCluster, tmp_path: Path, layer: dict[str, Any], says: str
) -> None:
    code, result = run(rabbit, tmp_path, "rabbitmq_check", **layer)
    assert (code, result["kind"]) == (USAGE, "bad_input")
    assert says in result["error"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("rabbitmq_drain_node node=rabbit9", "`node` is 'rabbit9', no node of this cluster: use one of rabbit1@"),
        ("rabbitmq_drain_node node=http://mq1:15672", "`node` is 'http://mq1:15672', no node of this cluster"),
        ("rabbitmq_forget_node node=", "`node` is"),
        ("rabbitmq_vhost_create vhost=%2Fst2 user=st2", "`vhost` is '%2Fst2': write the name itself, not as in a URL"),
        ("rabbitmq_vhost_create vhost=new user=nobody", "`user` is 'nobody': there is no such user, use one of"),
        ("rabbitmq_sync_queues vhost=/st2%", "`vhost` is '/st2%': there is no such vhost: use one of /, st2"),
        ("rabbitmq_quorum_plan vhost=nowhere", "`vhost` is 'nowhere': there is no such vhost: use one of /, st2"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_one_sentence(rabbit: RabbitCluster, tmp_path: Path, words: str, says: str) -> None:
    code, result = run(rabbit, tmp_path, *words.split(), "deployment=lab")
    assert (code, result["kind"]) == (USAGE, "bad_input")
    assert f"parameter {says}" in result["error"]


@pytest.mark.parametrize(
    ("layer", "code", "found", "remedy"),
    [
        (WRONG_PASSWORD, UNKNOWN, "AuthFailed", "correct rabbitmq.username and password"),
        ({"vhost": "nowhere"}, 2, "VhostMissing", "rabbitmq_vhost_create vhost=nowhere, or correct rabbitmq.vhost"),
    ],
)
def test_what_only_the_servers_know_is_a_finding(
    rabbit: RabbitCluster, tmp_path: Path, layer: dict[str, Any], code: int, found: str, remedy: str
) -> None:
    exit_code, result = run(rabbit, tmp_path, "rabbitmq_check", **layer)
    assert (exit_code, {each["code"] for each in result["details"]}) == (code, {found})
    assert remedy in result["details"][0]["remedy"]


def test_a_change_with_a_wrong_password_is_refused(rabbit: RabbitCluster, tmp_path: Path) -> None:
    code, result = run(rabbit, tmp_path, *DRAIN, **WRONG_PASSWORD)
    assert (code, result["kind"]) == (REFUSED, "refused")
    assert "does not let us in" in result["error"]


def test_without_the_management_plugin(rabbit: RabbitCluster, tmp_path: Path) -> None:
    """On one node it is a finding, and changes are refused where nobody tells what they would do."""
    rabbit.tool("rabbit3", "eval", "application:stop(rabbitmq_management).")
    try:
        code, result = run(rabbit, tmp_path, "rabbitmq_check")
        (detail,) = result["details"]
        assert (code, detail["code"], detail["subject"]) == (UNKNOWN, "ManagementClosed", "rabbitmq/rabbit3@localhost")
        assert "rabbitmq-plugins enable rabbitmq_management" in detail["remedy"]
        only = {"hosts": rabbit.hosts[2:], "amqp_hosts": rabbit.amqp_hosts[2:]}
        code, result = run(rabbit, tmp_path, *DRAIN, **only)
        assert (code, result["kind"]) == (REFUSED, "refused")
        assert "no node tells the state of the cluster" in result["error"]
    finally:
        rabbit.tool("rabbit3", "eval", "application:start(rabbitmq_management).")
