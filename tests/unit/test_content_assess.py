"""Rules over made-up snapshots; real mounts and nodes are in tests/integration/test_content_check.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from st2ha.config import Section
from st2ha.content.assess import assess, healthy_words
from st2ha.content.facts import Entry, Mount, Node, Pack, Registered, Root, Snapshot, Unread, Virtualenv
from st2ha.content.settings import Content, parse

NAMES = ("n1", "n2", "n3")
NOT_ASKED = Registered()
LOCAL = Mount("/", "ext4", "/dev/vda", ("rw",), ("rw",))
NFS = Mount("/opt/stackstorm/packs", "nfs4", "nfs1:/packs", ("rw",), ("rw", "hard", "addr=10.0.0.1"))


def settings(**layer: Any) -> Content:
    nodes = [{"name": name, "command": "local"} for name in NAMES]
    return parse(Section({"nodes": nodes, "system_packs": "core", **layer}, "content"))


def root(name: str = "packs", mount: Mount = LOCAL, **tops: str) -> Root:
    entries = {path: Entry(path, 0o100644, digest, 5) for path, digest in {"core": "c", **tops}.items()}
    return Root(name, digest=repr(sorted(entries.items())), files=len(entries), mount=mount, tops=entries)


def node(*roots: Root, **more: Any) -> Node:
    return Node("3.11.2", True, {each.name: each for each in roots or (root(),)}, **more)


def told(looked: list[Any], registered: Registered = NOT_ASKED, **layer: Any) -> list[str]:
    snapshot = Snapshot(dict(zip(NAMES, looked)), 0.0, registered)
    findings = assess(snapshot, settings(**layer))
    for finding in findings:
        assert finding.line().isprintable() and finding.remedy
    return [f"{each.severity.word} {each.code} {each.subject}" for each in findings]


def test_alike_is_silent() -> None:
    assert told([node()] * 3) == []
    assert healthy_words(Snapshot({"n1": node(), "n2": node()}, 0.0)) == "2 nodes, 1 files alike"


def test_a_node_that_was_not_looked_into_does_not_drift() -> None:
    assert told([node(), Unread("no way in"), node()]) == ["unknown NodeUnread content/n2"]


def test_drift() -> None:
    assert told([node(root(a="1")), node(root(a="1")), node(root(a="2"))]) == ["warning ContentDrift content/packs/a"]
    assert told([node(root(a="1")), node(), node(root(a="1"))]) == ["critical ContentDrift content/packs/a"]
    configs = [root("configs", a="1"), root("configs"), root("configs")]
    assert told([node(each) for each in configs]) == ["warning ContentDrift content/configs/a"]


def test_many_differences_are_one_finding_that_names_the_odd_node() -> None:
    many = {f"p{number}": "1" for number in range(9)}
    snapshot = Snapshot(dict(zip(NAMES, [node(root(**many)), node(root(**many)), node(root(p0="1"))])), 0.0)
    (finding,) = assess(snapshot, settings())
    assert (finding.code, finding.subject) == ("ContentDrift", "content/packs")
    assert finding.message == "8 entries not alike (p1, p2, p3 and 5 more); not as most: n3 in 8"


def test_mounts() -> None:
    mounted, bare = root(mount=NFS, a="1"), root(a="old")
    missing = ["critical MountMissing content/n3/opt/stackstorm/packs"]
    assert told([node(mounted), node(mounted), node(bare)]) == missing
    assert told([node(mounted), node(mounted), node(root(a="1"))]) == [], "n3 may be the server"
    assert told([node(mounted), node(mounted), node(root(a="1"))], mounts="/opt/stackstorm/packs") == missing
    assert told([node(bare)] * 3, mounts="/opt/stackstorm") == [
        f"critical MountMissing content/{name}/opt/stackstorm" for name in NAMES
    ]
    other = replace(NFS, super_options=("rw", "addr=10.0.0.2"))
    assert told([node(mounted), node(root(mount=other, a="1"))]) == ["warning MountServerDiffers content/packs"]
    for options in ({"options": ("ro",)}, {"super_options": ("ro",)}):
        read_only = node(root(mount=replace(NFS, **options), a="1"))  # type: ignore[arg-type]
        assert "warning MountReadOnly content/n1/opt/stackstorm/packs" in told([read_only, node(mounted)])
    nodes = [{"name": name, "command": "local", "read_only": name == "n1"} for name in NAMES]
    read_only = node(root(mount=replace(NFS, options=("ro",)), a="1"))
    assert told([read_only, node(mounted)], nodes=nodes) == []


def test_roots_that_cannot_be_read() -> None:
    hung = [Root(name, "hung", "/opt", mount=replace(NFS, point="/opt")) for name in ("packs", "configs")]
    assert told([node(*hung), node()]) == ["critical MountHung content/n1/opt"]
    assert told([node(Root("packs", "absent"))]) == ["critical ContentMissing content/n1/opt/stackstorm/packs"]
    stale = node(Root("packs", "error", "Stale file handle"))
    assert told([stale]) == ["critical MountBroken content/n1/opt/stackstorm/packs"]
    denied = node(Root("packs", "error", "Permission denied"))
    assert told([denied]) == ["unknown ContentUnreadable content/n1/opt/stackstorm/packs"]
    partly = replace(root(), unreadable=2, samples=(("a\udcff", "Permission denied"),))
    assert told([node(partly)]) == ["unknown ContentUnreadable content/n1/packs"]


def test_hidden_system_packs_are_the_one_finding() -> None:
    empty = Root("packs", digest="0", mount=NFS)
    assert told([node(root(a="1")), node(empty), node(root(a="1"))]) == ["critical SystemPacksHidden content/n2/packs"]


PACK = Pack("jira", "jira", "1.0.0", 10)
MADE = Virtualenv("jira", "", "3.11", "3.11", 20)


@pytest.mark.parametrize(
    ("pack", "virtualenv", "expected"),
    [
        (PACK, MADE, []),
        (PACK, replace(MADE, broken="/usr/bin/python3.8: No such file or directory"), ["critical VirtualenvBroken"]),
        (PACK, replace(MADE, runs="3.12"), ["critical VirtualenvBroken"]),
        (PACK, replace(MADE, runs=""), []),
        (PACK, None, ["critical VirtualenvBroken"]),
        (replace(PACK, required_ns=0), None, []),
        (replace(PACK, ref="core"), None, []),
        (replace(PACK, required_ns=30), MADE, ["warning VirtualenvStale"]),
        (replace(PACK, required_ns=30), replace(MADE, made_ns=40), []),
    ],
)  # fmt: skip
def test_virtualenvs(pack: Pack, virtualenv: Virtualenv | None, expected: list[str]) -> None:
    made = (virtualenv,) if virtualenv else ()
    nodes = [node(root(), root("virtualenvs"), packs=(pack,), virtualenvs=made)] * 2
    assert told(nodes) == [f"{each} content/virtualenvs/jira" for each in expected]


def test_registration() -> None:
    nodes = [node(packs=(PACK, replace(PACK, ref="slack")))] * 2
    known = Registered({"jira": "1.0.0", "slack": "1.0.0"})
    assert told(nodes, known) == []
    assert told(nodes, Registered({"jira": "1.0.0"})) == ["warning NotRegistered content/packs/slack"]
    assert told(nodes, replace(known, packs={**(known.packs or {}), "gone": "1"})) == [
        "warning NotRegistered content/packs/gone"
    ]
    assert told(nodes, Registered({"jira": "0.9", "slack": "1.0.0"})) == [
        "warning PackVersionsDiffer content/packs/jira"
    ]
    assert told(nodes, Registered(problem="it is down")) == ["unknown PacksUnknown content/packs"]
    blind = [*nodes, Unread("no way in")]
    assert told(blind, replace(known, packs={**(known.packs or {}), "there": "1"})) == ["unknown NodeUnread content/n3"]
    differ = [node(packs=(PACK,)), node(packs=(replace(PACK, version="2.0.0"),))]
    assert told(differ, Registered({"jira": "1.0.0"})) == ["warning PackVersionsDiffer content/packs/jira"]


def test_secrets_are_told_by_file_and_key() -> None:
    nodes = [node(secrets=(("jira.yaml", "password"), ("jira.yaml", "token"))), node(secrets=(("jira.yaml", "token"),))]
    snapshot = Snapshot(dict(zip(NAMES, nodes)), 0.0)
    (finding,) = assess(snapshot, settings())
    assert finding.key == "WorldReadableSecrets content/configs/jira.yaml"
    assert finding.message == "every user of n1, n2 can read password, token in it"
