"""auth_check without a network: its configuration, st2.conf as StackStorm reads it, facts to findings."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional, Union

import pytest

from st2ha.auth.assess import assess, healthy_words
from st2ha.auth.assess_user import assess_user
from st2ha.auth.conf import parse_conf
from st2ha.auth.facts import Answer, Config, Controller, Directory, Group, Node, Snapshot, Unread
from st2ha.auth.gate import Gate
from st2ha.auth.gather import directories_of
from st2ha.auth.rbac import Files, Grant, Roles, read_files, roles_of
from st2ha.auth.settings import Auth, AuthLimits, parse
from st2ha.config import Section, select
from st2ha.errors import BadInput
from st2ha.probe import Silence, Silent
from st2ha.report import Finding, Severity

ROOT = Path(__file__).resolve().parents[2]
NOW, DAY = 1_800_000_000.0, 86_400.0
SECRET = "s3cret-horse"

# -- the configuration

NODE = {"name": "st2-1", "url": "https://st2-1.example.com/auth/v1"}


def parsed(**auth: Any) -> Auth:
    return parse(Section({"nodes": [NODE], **auth}, "auth"))


def test_a_whole_layer() -> None:
    settings = parsed(
        nodes=[NODE, {"name": "b", "url": "http://127.0.0.1:9100/", "command": "local", "st2_conf": "/a, /b"}],
        command="ssh {name} sudo", vip="https://[2001:db8::1]/auth/v1", limits={"latency_s": 1}, test_username="probe",
        test_password=SECRET,
    )  # fmt: skip
    first, second = settings.nodes
    assert (str(first.url.host), first.url.path, first.url.secure) == ("st2-1.example.com:443", "/auth/v1", True)
    assert first.door().argv(["cat", "a b"])[-4:] == ["st2-1", "sudo", "cat", "'a b'"]
    assert (str(second.url.host), second.url.path, second.st2_conf) == ("127.0.0.1:9100", "", ("/a", "/b"))
    assert second.is_here and second.door().argv(["cat", "a b"]) == ["cat", "a b"]
    assert settings.vip is not None and str(settings.vip.host) == "[2001:db8::1]:443"
    assert settings.limits == AuthLimits(latency_s=1) and SECRET not in repr(settings)
    assert parsed().nodes[0].prefix is None and parsed(test_username="").test_username is None


@pytest.mark.parametrize(
    ("auth", "sentence"),
    [
        ({"nodes": []}, "auth.nodes is empty: list each node"),
        ({"nodes": "st2-1"}, "auth.nodes is 'st2-1': it must be a list"),
        ({"nodes": [{"name": "a"}]}, "auth.nodes[0].url is missing"),
        ({"nodes": [NODE, NODE]}, "auth.nodes[1].name is 'st2-1', which is used twice"),
        ({"nodes": [{**NODE, "host": 1}]}, "auth.nodes[0].host is not a setting: known here: name, url"),
        (
            {"nodes": [{**NODE, "url": "st2-1:9100"}]},
            "auth.nodes[0].url is 'st2-1:9100': write a URL, for example",
        ),
        ({"nodes": [{**NODE, "url": "https://x:y/"}]}, "auth.nodes[0].url is 'https://x:y/': write a URL"),
        ({"nodes": [{**NODE, "url": "https:///x"}]}, "auth.nodes[0].url is 'https:///x': write a URL"),
        ({"vip": f"https://u:{SECRET}@x/"}, "auth.vip holds a user name or a password: put these into"),
        ({"vip": "ftp://x/"}, "auth.vip is 'ftp://x/': write a URL"),
        ({"nodes": [{**NODE, "st2_conf": "st2.conf"}]}, "auth.nodes[0].st2_conf holds 'st2.conf': give absolute paths"),
        ({"nodes": [{**NODE, "command": "ssh '"}]}, "auth.nodes[0].command cannot be read"),
        ({"command": "ssh {user}"}, "auth.command cannot be read: write it as in a shell, with {name} or {host}"),
        ({"test_username": "x"}, "auth has no `test_password_file`: give a test user and its password, or neither"),
        ({"test_password": SECRET}, "auth has no `test_username`"),
        ({"test_username": "a:b", "test_password": SECRET}, "auth.test_username holds a colon"),
        (
            {"test_username": "x", "test_password": SECRET, "vip": "http://st2.example.com/auth/v1"},
            "auth.vip is 'http://st2.example.com/auth/v1': the test user's password would go over the network in the",
        ),
        ({"test_username": "x", "test_password_file": "/none"}, "auth.test_password_file is '/none': cannot be read"),
        ({"tls": {"ca_file": "/none"}}, "auth.tls.ca_file is '/none': no such file"),
        ({"tls": {"enabled": True}}, "auth.tls.enabled is not a setting"),
        ({"rbac_directory": "/none"}, "auth.rbac_directory is '/none': no such directory"),
        ({"limits": {"latency": 1}}, "auth.limits.latency is not a setting: did you mean `latency_s`?"),
        ({"limits": {"tls_days": -1}}, "auth.limits.tls_days is -1: it must be between 0"),
        ({"timeout_s": 0}, "auth.timeout_s is 0: it must be between 0.05 and 600"),
        ({"node": []}, "auth.node is not a setting: did you mean `nodes`?"),
    ],
)
def test_every_mistake_is_named(auth: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        parsed(**auth)
    assert str(caught.value).startswith(sentence)
    assert SECRET not in str(caught.value)


def test_plain_http_is_for_this_node_only() -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        parsed(test_username="x", test_password=SECRET, nodes=[{"name": "a", "url": f"http://{host}:9100"}])
    assert not parsed(nodes=[{"name": "a", "url": "http://10.0.0.1:9100"}]).nodes[0].url.secure


def test_the_layer_is_one_of_the_deployment() -> None:
    deployment = select({"deployments": [{"name": "x", "auth": {"nodes": [NODE]}}]})
    assert deployment.require("auth").nodes[0].name == "st2-1"


# -- st2.conf


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ('backend_kwargs = {"a": "x$$y"}', {"a": "x$y"}),
        ('backend_kwargs = {"a": "x$y", "b": "$"}', {"a": "x$y", "b": "$"}),
        ("backend_kwargs = '{\"a\": 1}'", {"a": 1}),
        ('backend_kwargs: {"a": "%s # ; = :"}', {"a": "%s # ; = :"}),
        ('backend_kwargs = {"a": 1,\n  "b": [\n  2]}', {"a": 1, "b": [2]}),
        ('#backend_kwargs = {"a": 1}\n; backend_kwargs = {}', {}),
        ('backend_kwargs = {"a": 1}\nbackend_kwargs = {"a": 2}', {"a": 2}),
        ("backend_kwargs = None", {}),
        ("backend_kwargs", {}),
        ("", {}),
    ],
)
def test_options_as_oslo_config_reads_them(text: str, options: dict[str, Any]) -> None:
    config = parse_conf([f"[auth]\nbackend = ldap3\n{text}\n[rbac]\nenable = on\n"])
    assert (config.options, config.broken_options, config.rbac) == (options, False, True)


def test_defaults_and_files_that_come_later() -> None:
    assert parse_conf([""]) == Config(True, "standalone", "flat_file", {})
    config = parse_conf(["[DEFAULT]\nmode = x\n[auth]\nbackend = pam\nenable = False", "[auth]\nbackend = ldap\n"])
    assert (config.backend, config.enabled, config.mode) == ("ldap", False, "standalone")


@pytest.mark.parametrize("options", ["[1]", "{", "{'a': 1}", '"x"', SECRET])
def test_options_that_are_no_object(options: str) -> None:
    config = parse_conf([f"[auth]\nbackend_kwargs = {options}\n"])
    assert config.broken_options and config.options == {}


@pytest.mark.parametrize("text", [SECRET, f"a = {SECRET}\n[auth]\n"])
def test_what_is_no_configuration_file_is_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="no configuration file") as caught:
        parse_conf([text])
    assert SECRET not in str(caught.value)


def test_options_are_in_no_repr() -> None:
    config = parse_conf([f'[auth]\nbackend = ldap3\nbackend_kwargs = {{"bind_password": "{SECRET}"}}\n'])
    (directory,) = directories_of([Node("a", Answer(201, 0.1), config), Node("b", Answer(201, 0.1), config)])
    assert directory.nodes == ("a", "b") and directory.options["bind_password"] == SECRET
    assert SECRET not in repr((config, directory, Snapshot((Node("a", Answer(201, 0.1), config),), NOW)))


# -- from facts to findings

OK = Answer(201, 0.05, "probe")
LDAP3 = Config(True, "standalone", "ldap3", {"host": "dc1,dc2"}, uids=(997,))
GOOD = Controller("dc1:636", 0.03, NOW + 90 * DAY, 0.4, groups=(Group("required", "CN=a", True),))
BOTH: dict[str, Union[Controller, Silent]] = {"dc1:636": GOOD, "dc2:636": replace(GOOD, name="dc2:636")}
DIRECTORY = Directory("ldap3", ("st2-1", "st2-2"), {"cacert": "/ca"}, controllers=BOTH)
HEALTHY = Snapshot((Node("st2-1", OK, LDAP3), Node("st2-2", OK, LDAP3)), NOW, OK, (DIRECTORY,), True)
SETTINGS = parsed(vip="https://st2.example.com/auth/v1", test_username="probe", test_password=SECRET)


def nodes(first: Union[Answer, Silent] = OK, config: Union[Config, Unread, None] = LDAP3, **other: Any) -> Snapshot:
    """The healthy snapshot with another first node."""
    return replace(HEALTHY, nodes=(Node("st2-1", first, config), Node("st2-2", OK, LDAP3)), **other)


def servers(
    first: Union[Controller, Silent], second: Optional[Union[Controller, Silent]] = None, **other: Any
) -> Snapshot:
    """The healthy snapshot with other servers; without a second one there is none."""
    found = {"dc1:636": first} if second is None else {"dc1:636": first, "dc2:636": second}
    return replace(HEALTHY, directories=(replace(DIRECTORY, controllers=found, **other),))


def silent(kind: Silence) -> Silent:
    return Silent(kind, "its words", 1.0)


def config(**changes: Any) -> Snapshot:
    """The healthy snapshot with both nodes configured otherwise."""
    changed = replace(LDAP3, **changes)
    return replace(HEALTHY, nodes=tuple(replace(node, config=changed) for node in HEALTHY.nodes), directories=())


SECOND = BOTH["dc2:636"]
LACKING = replace(GOOD, groups=(Group("required", "CN=a", False), Group("required", "CN=b", True)))
CASES: list[tuple[str, Snapshot, set[str]]] = [
    ("healthy", HEALTHY, set()),
    ("no test user", replace(nodes(Answer(401, 0.1)), with_user=False), set()),
    ("refused", nodes(Answer(401, 0.1)), {"critical TokenRefused st2-1"}),
    ("down", nodes(silent(Silence.REFUSED)), {"warning AuthDown st2-1"}),
    ("hung", nodes(silent(Silence.HUNG)), {"warning AuthDown st2-1"}),
    ("wrong url", nodes(Answer(404, 0.1)), {"warning AuthDown st2-1"}),
    ("backend raises", nodes(Answer(400, 0.1)), {"warning AuthDown st2-1"}),
    ("all down", replace(HEALTHY, nodes=(Node("st2-1", silent(Silence.TLS)),)),
     {"critical NoSignIn auth", "warning AuthDown st2-1"}),
    ("vip", replace(HEALTHY, vip=Answer(502, 0.1)), {"critical VipAuthDown vip"}),
    ("vip refuses", replace(HEALTHY, vip=Answer(401, 0.1)), {"critical TokenRefused vip"}),
    ("no vip", replace(HEALTHY, vip=None), set()),
    ("another", nodes(Answer(201, 0.1, "root")), {"critical TokenOfAnother st2-1"}),
    ("slow", nodes(Answer(201, 2.1, "probe")), {"warning AuthSlow st2-1"}),
    ("certificate", nodes(Answer(201, 0.1, "probe", NOW + 20 * DAY)), {"warning TlsExpiring st2-1"}),
    ("certificate good", nodes(Answer(201, 0.1, "probe", NOW + 22 * DAY)), set()),
    ("unread", nodes(config=Unread("x")), {"unknown AuthConfigUnreadable st2-1"}),
    ("not looked into", nodes(config=None), set()),
    ("off", config(enabled=False), {"critical AuthDisabled st2-1", "critical AuthDisabled st2-2"}),
    ("proxy", config(mode="proxy"), {"warning AuthProxyMode st2-1", "warning AuthProxyMode st2-2"}),
    ("pam without root", config(backend="pam"), {"critical PamNeedsRoot st2-1", "critical PamNeedsRoot st2-2"}),
    ("pam as root", config(backend="pam", uids=(0, 997)),
     {"warning AuthRunsAsRoot st2-1", "warning AuthRunsAsRoot st2-2"}),
    ("root for nothing", config(uids=(0,)), {"warning AuthRunsAsRoot st2-1", "warning AuthRunsAsRoot st2-2"}),
    ("pam, unknown as whom", config(backend="pam", uids=None), set()),
    ("pam, not running", config(backend="pam", uids=()), set()),
    ("flat file", config(backend="flat_file"), {"warning FlatFileBackend st2-1", "warning FlatFileBackend st2-2"}),
    ("flat file, unused", config(backend="flat_file", mode="proxy"),
     {"warning AuthProxyMode st2-1", "warning AuthProxyMode st2-2"}),
    ("no JSON", config(broken_options=True), {"critical AuthConfigWrong st2-1", "critical AuthConfigWrong st2-2"}),
    ("drift", nodes(config=replace(LDAP3, role_sync=True)), {"warning AuthConfigDrift st2-2"}),
    ("drift of options", nodes(config=replace(LDAP3, options={"host": "dc3"})), {"warning AuthConfigDrift st2-2"}),
    ("refused options", servers(GOOD, SECOND, problems=("host must be given",)), {"critical AuthConfigWrong st2-1"}),
    ("incumbent's options", servers(GOOD, SECOND, problems=("x",), backend="ldap",
     options={"use_ssl": True, "cacert": "/c"}), {"unknown AuthConfigWrong st2-1"}),
    ("incumbent", servers(GOOD, SECOND, backend="ldap", options={"use_ssl": True}), {"warning TlsUnverified st2-1"}),
    ("incumbent, its other way", servers(GOOD, SECOND, backend="ldap",
     options={"use_tls": True, "client_options": {"24578": "/ca"}}), set()),
    ("incumbent in the clear", servers(GOOD, SECOND, backend="ldap", options={"cacert": "/c"}),
     {"critical TlsUnverified st2-1"}),
    ("one left", servers(GOOD, silent(Silence.REFUSED)),
     {"warning OneDirectoryLeft dc1:636", "warning DirectoryDown dc2:636"}),
    ("a single one", servers(GOOD), {"warning OneDirectoryLeft dc1:636"}),
    ("a name for several", servers(GOOD, addresses=3), set()),
    ("none", servers(silent(Silence.UNREACHABLE), silent(Silence.HUNG)),
     {"critical NoDirectory auth", "warning DirectoryDown dc1:636", "warning DirectoryHung dc2:636"}),
    ("tls", servers(silent(Silence.TLS), SECOND),
     {"warning DirectoryTlsFailed dc1:636", "warning OneDirectoryLeft dc2:636"}),
    ("service account", servers(replace(GOOD, service="wrong password (52e)"), replace(GOOD, asked_service=False)),
     {"critical ServiceAccountRefused dc1:636"}),
    ("may not read", servers(replace(GOOD, unread="refuses to search"), SECOND),
     {"critical DirectoryUnreadable dc1:636", "warning OneDirectoryLeft dc2:636"}),
    ("group and", servers(LACKING, SECOND), {"critical GroupMissing dc1:636"}),
    ("group or", servers(LACKING, SECOND, require_all=False), {"warning GroupMissing dc1:636"}),
    ("the only group", servers(replace(GOOD, groups=(Group("required", "CN=a", False),)), addresses=2,
     require_all=False), {"critical GroupMissing dc1:636"}),
    ("denied group", servers(replace(GOOD, groups=(Group("denied", "CN=d", False),)), SECOND),
     {"critical GroupMissing dc1:636"}),
    ("optional group", servers(replace(GOOD, groups=(Group("optional", "CN=d", False),)), SECOND),
     {"warning GroupMissing dc1:636"}),
    ("clock", servers(replace(GOOD, skew_s=-61), SECOND), {"warning ClockSkew dc1:636"}),
    ("clock unknown", servers(replace(GOOD, skew_s=None), SECOND), set()),
    ("server's certificate", servers(replace(GOOD, tls_expires_at=NOW + DAY), SECOND), {"warning TlsExpiring dc1:636"}),
    ("slow server", servers(replace(GOOD, latency_s=2.5), SECOND), {"warning DirectorySlow dc1:636"}),
]  # fmt: skip


@pytest.mark.parametrize(("snapshot", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_findings(snapshot: Snapshot, expected: set[str]) -> None:
    found = assess(snapshot, SETTINGS, NOW)
    assert {f"{each.severity.word} {each.code} {each.subject.split('/')[-1]}" for each in found} == expected
    for finding in found:
        assert finding.remedy and len(finding.line()) < 700
        assert SECRET not in finding.line()


def test_two_directories_with_a_server_in_common_tell_it_once() -> None:
    down: dict[str, Union[Controller, Silent]] = {name: GOOD for name in ("dc2:636", "dc3:636")}
    down["dc1:636"] = silent(Silence.REFUSED)
    twice = replace(HEALTHY, directories=(replace(DIRECTORY, controllers=down), replace(DIRECTORY, controllers=down)))
    assert [each.code for each in assess(twice, SETTINGS, NOW)] == ["DirectoryDown"]


def test_the_verdict_of_a_healthy_site() -> None:
    assert healthy_words(HEALTHY) == "2 nodes sign a test user in, 2 directory servers work"
    assert "no test user" in healthy_words(replace(HEALTHY, with_user=False))


def about_user() -> tuple[Finding, ...]:
    roles = Roles(missed=(Grant("mappings/a.yaml", "CN=A", ("admin",)),), undefined=(("x", "mappings/b.yaml"),))
    return assess_user("alice", "account locked (775)", "account", roles, ("mappings/c.yaml: is no mapping",))


def test_every_documented_code_has_a_case() -> None:
    table = (ROOT / "docs" / "findings.md").read_text().split("## Sign-in")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    told = {line.split()[1] for _, _, expected in CASES for line in expected}
    assert documented | {"TlsExpiring", "ClockSkew"} == told | {each.code for each in about_user()}
    assert all(each.severity is Severity.WARNING and each.subject == "auth/alice" for each in about_user())


def test_rows_are_plain_and_hold_no_option() -> None:
    rows = servers(GOOD, silent(Silence.HUNG)).rows()
    assert json.loads(json.dumps(rows)) == rows and "/ca" not in json.dumps(rows)
    assert [(row["node"], row["answer"], row["runs_as"]) for row in rows["nodes"]] == [
        ("st2-1", "201", "uid 997"), ("st2-2", "201", "uid 997"), ("vip", "201", None),
    ]  # fmt: skip
    assert [row["state"] for row in rows["directories"]] == ["works", "hung"]


# -- roles


def test_roles_letter_by_letter() -> None:
    files = Files(
        mappings=(
            Grant("mappings/1", "CN=a,DC=x", ("admin", "own")), Grant("mappings/2", "cn=A, dc=x", ("observer",)),
            Grant("mappings/3", "CN=a,DC=x", ("system_admin",), enabled=False), Grant("mappings/4", "CN=b", ("x",)),
        ),
        assignments=(Grant("assignments/1", "alice", ("admin",)), Grant("assignments/2", "Alice", ("x",))),
        defined=frozenset(),
    )  # fmt: skip
    roles = roles_of("alice", ["CN=a,DC=x"], files, synced=True)
    assert roles.given == (("admin", "assignments/1"), ("admin", "mappings/1"))
    assert [grant.file for grant in roles.missed] == ["mappings/2"]
    assert roles.undefined == (("own", "mappings/1"),)
    assert roles_of("alice", ["CN=a,DC=x"], files, synced=False).given == (("admin", "assignments/1"),)
    assert roles_of("alice", ["CN=a,DC=x"], replace(files, defined=None), synced=True).undefined == ()


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    for name, text in {
        "a": "group: x\nroles: [r]\n",
        "b": "- 1\n",
        "c": "group: x\n",
        "d": "{",
        "e": "\xff\x00",
    }.items():
        (tmp_path / "mappings" / f"{name}.yaml").write_text(text)
    files = read_files(str(tmp_path))
    assert [grant.file for grant in files.mappings] == ["mappings/a.yaml"] and files.defined is None
    assert [each.split(":")[0][-6] for each in files.broken] == ["b", "c", "d", "e"]
    assert read_files(str(tmp_path / "none")) == Files()


# -- one try of the service account


def test_the_first_bind_goes_ahead_and_the_others_follow_its_answer() -> None:
    gate = Gate()
    assert gate.enter(0.01) is True
    assert gate.enter(0.01) is True  # it does not answer: not for ever
    gate.answered(refused=False)
    assert gate.enter(60) is True
    refusing = Gate()
    refusing.enter(60)
    refusing.answered(refused=True)
    assert refusing.enter(60) is False
