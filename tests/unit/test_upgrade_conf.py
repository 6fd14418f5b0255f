"""The new side's names and st2.conf, from the old side's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from st2ha.config import select
from st2ha.errors import BadInput
from st2ha.st2conf import edit, read
from st2ha.upgrade import conf, rehearsal
from st2ha.upgrade import render as rendering
from st2ha.upgrade.names import is_downgrade, named, parse_version
from tests.real import run

OLD = """\
# the old side
[messaging]
url = amqp://st2:se$$cret@mq1:5672/st2
cluster_urls = amqp://st2:se$$cret@mq1:5672/st2, amqp://st2:se$$cret@mq2:5672/st2
[database]
host = mongodb://st2:p%40ss@mongo1,mongo2/st2?replicaSet=rs0
db_name = ignored
[coordination]
url = redis://:pw@redis:6379?db=1
[auth]
mode = standalone
backend = ldap3
backend_kwargs = {"bind_password": "x"}
"""
NEW = """\
# the new side; this comment stays
[database]
host = 127.0.0.1
db_name = st2   ; local

[messaging]
url = amqp://guest:guest@127.0.0.1:5672/

[timer]
local_timezone = Europe/Berlin
"""
NAMES = conf.Names("st2_v3_9", "st2_v3_9")


def test_a_new_nodes_file_gets_the_old_sides_servers_and_logins_and_its_own_names() -> None:
    edited = edit(NEW, conf.changes(read(OLD), read(NEW), NAMES))
    options = read(edited.text)
    assert options["messaging"]["url"] == "amqp://st2:se$cret@mq1:5672/st2_v3_9"
    assert options["messaging"]["cluster_urls"].split(",")[1] == "amqp://st2:se$cret@mq2:5672/st2_v3_9"
    assert options["database"]["db_name"] == "st2_v3_9"
    assert options["database"]["host"] == "mongodb://st2:p%40ss@mongo1,mongo2/?replicaSet=rs0&authSource=st2"
    assert options["coordination"]["url"] == "redis://:pw@redis:6379?db=1&namespace=st2_v3_9"
    assert options["auth"]["backend_kwargs"] == '{"bind_password": "x"}'
    assert "# the new side; this comment stays" in edited.text and options["timer"]
    assert "cret" not in edited.diff and "p%40ss" not in edited.diff and "********" in edited.diff
    assert (
        conf.changes(read(OLD), options, NAMES)
        == {name: {} for name in ("messaging", "database", "coordination", "auth")} | {}
    )


BALANCER, OLD_NODE, OWN = "https://st2.example.com/api", "http://st2-1:9101", "http://st2-3:9101"
LOCAL, BESIDE = "http://127.0.0.1:9101", "http://127.0.0.1:9201"


@pytest.mark.parametrize("theirs, mine, own, wanted", [
    (BALANCER, LOCAL, OWN, BALANCER), (BALANCER, None, None, BALANCER),
    (LOCAL, LOCAL, OWN, LOCAL), (LOCAL, None, OWN, LOCAL), (LOCAL, OWN, None, OWN), (LOCAL, BESIDE, None, BESIDE),
    (OLD_NODE, OWN, None, OWN), (OLD_NODE, LOCAL, None, LOCAL), (OLD_NODE, OLD_NODE, OWN, OWN),
    ("http://10.0.0.1:9101/", None, OWN, OWN), ("HTTP://ST2-1:9101", None, OWN, OWN),
    (None, LOCAL, OWN, LOCAL), (None, OLD_NODE, OWN, OWN), (None, None, OWN, None),
    (OLD_NODE, None, None, BadInput), (None, OLD_NODE, None, BadInput),
])  # fmt: skip
def test_a_new_nodes_sensors_never_ask_the_old_sides_api(theirs: Any, mine: Any, own: Any, wanted: Any) -> None:
    """On a real pair they were refused there, lost their offsets and told every event a second time."""
    old, new = ({"auth": {"api_url": url}} if url else {} for url in (theirs, mine))
    apis = conf.Apis(frozenset(("st2-1", "10.0.0.1", "127.0.0.1")), own)
    if wanted is BadInput:
        with pytest.raises(BadInput, match=r"is http://st2-1:9101, the old side's own: set upgrade\.new\.api_url"):
            conf.own_api_url(old, new, apis)
    else:
        assert conf.own_api_url(old, new, apis) == wanted


@pytest.mark.parametrize("host, wanted", [
    ("127.0.0.1", "127.0.0.1"),
    ("mongodb://a,b/?replicaSet=rs0", "mongodb://a,b/?replicaSet=rs0"),
    ("mongodb://a/st2", "mongodb://a/"),
    ("mongodb://u:p@a/st2?authSource=admin", "mongodb://u:p@a/?authSource=admin"),
    ("mongodb+srv://u:p@cluster.example.com/st2", "mongodb+srv://u:p@cluster.example.com/?authSource=st2"),
])  # fmt: skip
def test_a_database_in_a_uri_is_taken_out(host: str, wanted: str) -> None:
    assert conf.without_database(host) == wanted


def test_the_database_that_stackstorm_uses() -> None:
    assert conf.database_of(read(OLD)) == "st2"
    assert conf.database_of({"database": {"host": "mongodb://a/", "db_name": "x"}}) == "x"
    assert conf.database_of({}) == "st2"


@pytest.mark.parametrize(
    "url, vhost", [("amqp://h/", "/"), ("amqp://h", "/"), ("amqp://h/%2Fst2", "/st2"), ("amqp://h/st2", "st2")]
)
def test_the_vhost_of_a_url(url: str, vhost: str) -> None:
    assert conf.vhost_of(url) == vhost
    assert conf.vhost_of(conf.with_vhost(url, "/st2_v2_5")) == "/st2_v2_5"


def test_names_follow_from_versions() -> None:
    assert named("st2", parse_version("2.5", "x")) == "st2_v2_5"
    assert named("st2_v2_5", parse_version("v3.8.1", "x")) == "st2_v3_8_1"
    assert not is_downgrade((2, 5), (2, 5, 0)) and is_downgrade((2, 5, 1), (2, 5)) and not is_downgrade((2, 9), (2, 10))
    for text in ("", "latest", "3..1", "3.8.1.2.3"):
        with pytest.raises(BadInput, match="no version"):
            parse_version(text, "upgrade.new.version")


def config(directory: Path, old: str = OLD, new: str = NEW, **other: Any) -> dict[str, Any]:
    """Two nodes whose files are here."""
    (directory / "old.conf").write_text(old)
    (directory / "new.conf").write_text(new)
    sides = {
        name: {"version": version, "nodes": [{"name": name, "conf": str(directory / f"{name}.conf")}]}
        for name, version in (("old", "3.8"), ("new", "3.9"))
    }
    return {"deployments": [{"name": "lab", "upgrade": {"command": "local", **sides, **other}}]}


def render(directory: Path, node: Any = "new", dry_run: bool = False, more: Any = None, **other: Any) -> Any:
    return run(
        config(directory, **other), "st2conf_render", node=node, deployment="lab", dry_run=dry_run, **(more or {})
    )


def test_the_action_shows_writes_keeps_and_repeats(tmp_path: Path) -> None:
    passed, result = render(tmp_path, dry_run=True)
    assert passed and any("+db_name = st2_v3_9" in line for line in result["diff"])
    assert (tmp_path / "new.conf").read_text() == NEW
    (tmp_path / "new.conf").chmod(0o640)
    passed, result = render(tmp_path)
    assert passed and result["after"] == [{"node": "new", "database": "st2_v3_9", "vhost": "st2_v3_9"}], result
    assert (tmp_path / "new.conf.st2ha-before").read_text() == NEW
    assert (tmp_path / "old.conf").read_text() == OLD
    written = (tmp_path / "new.conf").read_text()
    passed, result = run(config(tmp_path, new=written), "st2conf_render", node="new", deployment="lab")
    assert passed and result["plan"]["steps"] == [] and result["diff"] == []


@pytest.mark.parametrize("arguments, words", [
    ({"node": "third"}, "no node of upgrade.old or upgrade.new"),
    ({"node": ""}, "no node of"),
    ({"old": "[database]\nhost = a\n"}, "has no section [messaging]"),
    ({"old": "[messaging]\n"}, "has no [messaging] url"),
    ({"old": "url = x\n"}, "comes before any [section]"),
    ({"new": NEW + "[messaging]\nurl = amqp://x/\n"}, "has the section [messaging] twice"),
    ({"new": NEW.replace("db_name = st2   ; local", "db_name = a\ndb_name = b")}, "has [database] db_name twice"),
    ({"database": "st2"}, "the database of both sides would be 'st2'"),
    ({"vhost": "st2"}, "the vhost of both sides would be 'st2'"),
    ({"more": {"database": "x"}}, "go together"),
    ({"switch": "x"}, "needs both `balancers` and `switch`"),
    ({"drain_s": "long"}, "drain_s"),
])  # fmt: skip
def test_bad_input_is_one_sentence(tmp_path: Path, arguments: dict[str, Any], words: str) -> None:
    passed, result = render(tmp_path, **arguments)
    assert not passed and result["kind"] == "bad_input" and words in result["error"], result
    assert "cret" not in str(result)


@pytest.mark.parametrize("arguments, words", [
    ({"old": "[database]\nhost = a\n"}, "has no section [messaging]"),
    ({"database": "st2"}, "the database of both sides would be 'st2'"),
    ({"vhost": "st2"}, "the vhost of both sides would be 'st2'"),
    ({"new": {"version": "latest", "nodes": "new"}}, "no version"),
    ({"new": {"version": "3.9", "nodes": "old"}}, "old is listed on both sides"),
    ({"new": {"version": "3.9", "nodes": [{"name": "new", "services": 7}]}}, "services"),
])  # fmt: skip
def test_a_preflight_refuses_bad_input_before_it_asks_any_server(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    values = config(tmp_path, old=arguments.pop("old", OLD))
    values["deployments"][0]["upgrade"].update(arguments)
    passed, result = run(values, "upgrade_preflight", deployment="lab")
    assert not passed and result["kind"] == "bad_input" and words in result["error"], result
    assert "cret" not in str(result)


def test_a_rehearsal_of_a_node_gives_its_file_back_and_leaves_nothing(tmp_path: Path) -> None:
    deployment = select(config(tmp_path))
    upgrade = deployment.require("upgrade")
    (tmp_path / "new.conf").chmod(0o640)
    before = {path.name: (path.read_text(), path.stat().st_mode) for path in tmp_path.iterdir()}
    files = rendering.gather(upgrade, upgrade.new.nodes[0])
    assert files.edited.changed and rehearsal.of_conf(upgrade, files) == ""
    assert {path.name: (path.read_text(), path.stat().st_mode) for path in tmp_path.iterdir()} == before


def test_a_rehearsal_tells_what_would_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade = select(config(tmp_path)).require("upgrade")
    files = rendering.gather(upgrade, upgrade.new.nodes[0])
    monkeypatch.setattr(rendering, "RESTORE", 'tr a b <"$1" >"$2"; echo restored')
    assert "the restored file is not the former one" in rehearsal.of_conf(upgrade, files)
    nowhere = replace(files, node=replace(files.node, conf=str(tmp_path / "away" / "st2.conf")))
    assert "cannot be written" in rehearsal.of_conf(upgrade, nowhere)


def test_an_old_node_is_refused(tmp_path: Path) -> None:
    passed, result = render(tmp_path, node="old")
    assert not passed and result["kind"] == "refused"


def test_a_node_of_both_sides_is_refused(tmp_path: Path) -> None:
    values = config(tmp_path)
    values["deployments"][0]["upgrade"]["new"]["nodes"] = "old"
    passed, result = run(values, "st2conf_render", node="old", deployment="lab")
    assert not passed and "old is listed on both sides" in result["error"]
