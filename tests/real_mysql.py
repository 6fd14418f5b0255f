"""The pack's MySQL actions on real servers, called as StackStorm calls them, their results checked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from lab.mysql import MysqlCluster
from metadata.results import check_result
from st2ha.config import select
from st2ha.mysql.settings import Mysql

PACK = Path(__file__).resolve().parents[1]


def config_of(pair: MysqlCluster, **mysql: Any) -> dict[str, Any]:
    """The pack's configuration for a cluster, with other values of `mysql`; None takes one away."""
    deployment = pair.deployment()
    values = {**deployment["mysql"], **mysql}
    deployment["mysql"] = {name: value for name, value in values.items() if value is not None}
    return {"deployments": [deployment]}


def settings_of(pair: MysqlCluster, **mysql: Any) -> Mysql:
    settings: Mysql = select(config_of(pair, **mysql)).require("mysql")
    return settings


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


def change(pair: MysqlCluster, verb: str, member: str = "best", **parameters: Any) -> dict[str, Any]:
    """The result of mysql_<verb>; `member` may be the lab's name of a server."""
    mysql = parameters.pop("mysql", {})
    named = pair.member(member).address if member in pair.servers else member
    return run(config_of(pair, **mysql), f"mysql_{verb}", member=named, deployment="lab", **parameters)[1]


def codes(result: dict[str, Any]) -> set[tuple[str, str]]:
    """(severity Code, subject's last part) of each finding."""
    return {(f"{each['severity']} {each['code']}", each["subject"].split("/")[-1]) for each in result["details"]}


def found(pair: MysqlCluster, timeout_s: float = 1.0, **mysql: Any) -> set[tuple[str, str]]:
    """What mysql_check finds, with the lab's names of the servers."""
    names = {member.address: member.name for member in pair.members}
    result = run(config_of(pair, **mysql), "mysql_check", timeout_s=timeout_s)[1]
    return {(code, names.get(subject, subject)) for code, subject in codes(result)}
