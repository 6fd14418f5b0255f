"""content_sync on nodes that are mount namespaces with a disk each, by the real rsync."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.content import ContentNodes
from tests.real import run

pytestmark = pytest.mark.skipif(ContentNodes.limitation() is not None, reason=str(ContentNodes.limitation()))
ODD = "with space\nand 'quotes\udcff"


@pytest.fixture(scope="module")
def lab_nodes() -> Iterator[ContentNodes]:
    with ContentNodes(members=3) as nodes:
        yield nodes


@pytest.fixture
def nodes(lab_nodes: ContentNodes) -> ContentNodes:
    lab_nodes.reset()
    return lab_nodes


def sync(nodes: ContentNodes, layer: dict[str, Any] | None = None, **parameters: Any) -> tuple[bool, dict[str, Any]]:
    deployment = nodes.deployment()
    deployment["content"].update(layer or {})
    usual = {"path": "packs/jira", "source": "node1", "target": "node2, node3", "deployment": "lab"}
    return run({"deployments": [deployment]}, "content_sync", **{**usual, **parameters})


def tree(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Path to mode and content of all below."""
    found = {}
    for place, below, files in os.walk(directory):
        for name in below + files:
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            content = os.fsencode(os.readlink(path)) if os.path.islink(path) else b""
            if name in files and not os.path.islink(path):
                content = Path(path).read_bytes()
            found[os.path.relpath(path, directory)] = (mode, content)
    return found


def change_source(nodes: ContentNodes) -> Path:
    pack = nodes.disk("node1") / "packs" / "jira"
    (pack / "actions" / "run.py").write_text("print('new')\n")
    (pack / "actions" / "deep" / "er").mkdir(parents=True)
    Path(os.path.join(pack, "actions", "deep", "er", ODD)).write_bytes(bytes(range(256)))
    (pack / "actions" / "tool.sh").write_text("#!/bin/sh\n")
    (pack / "actions" / "tool.sh").chmod(0o755)
    (pack / "loop").symlink_to("loop")
    (pack / "sensors").mkdir()
    (pack / "sensors" / "watch.yaml").write_text("class_name: Watch\n")
    return pack


def test_a_dry_run_shows_all_and_writes_nothing(nodes: ContentNodes) -> None:
    change_source(nodes)
    before = tree(nodes.disk("node2"))
    passed, result = sync(nodes, dry_run=True)
    assert passed and tree(nodes.disk("node2")) == before
    assert result["summary"] == "PLAN packs/jira as on node1: 4 steps, nothing done"
    steps = [(step["verb"], step["target"]) for step in result["plan"]["steps"]]
    assert steps == [("copy", "node2"), ("prove", "node2"), ("copy", "node3"), ("prove", "node3")]
    assert result["plan"]["steps"][0]["because"].startswith("7 new and 1 changed: ")
    assert [words.split(":")[0] for words in result["reload"]] == [
        "restart st2sensorcontainer",
        "st2ctl reload --register-all",
    ]


def test_what_differs_is_copied_and_what_is_only_there_stays(nodes: ContentNodes) -> None:
    pack = change_source(nodes)
    own = nodes.disk("node2") / "packs" / "jira" / "own.txt"
    own.write_text("of node2\n")
    passed, result = sync(nodes)
    assert passed, result
    assert result["outcome"] == "done"
    assert own.read_text() == "of node2\n"
    own.unlink()
    for node in ("node2", "node3"):
        assert tree(nodes.disk(node) / "packs" / "jira") == tree(pack)
    passed, result = sync(nodes)
    assert passed and result["summary"] == "OK packs/jira as on node1"


def test_with_delete_both_are_the_same(nodes: ContentNodes) -> None:
    pack = change_source(nodes)
    other = nodes.disk("node2") / "packs" / "jira"
    Path(os.path.join(other, "actions", "gone", "deep")).mkdir(parents=True)
    Path(os.path.join(other, "actions", "gone", "deep", ODD)).write_text("x")
    (other / "actions" / "-rf").symlink_to("/etc")
    passed, result = sync(nodes, delete=True, target="node2")
    assert passed, result
    assert [step["verb"] for step in result["plan"]["steps"]] == ["copy", "delete", "prove"]
    assert tree(other) == tree(pack) and Path("/etc/passwd").exists()


def test_a_whole_root_and_a_single_file(nodes: ContentNodes) -> None:
    (nodes.disk("node1") / "packs" / "slack" / "actions").mkdir(parents=True)
    (nodes.disk("node1") / "packs" / "slack" / "pack.yaml").write_text("ref: slack\nversion: 1.0.0\n")
    (nodes.disk("node1") / "configs" / "jira.yaml").write_text("url: y\n")
    os.utime(nodes.disk("node2") / "configs" / "jira.yaml", (1, 1))
    assert sync(nodes, path="packs")[0]
    passed, result = sync(nodes, path=str(nodes.root / "configs" / "jira.yaml"), target=["node2"])
    assert passed and result["reload"] == ["st2ctl reload --register-configs: StackStorm knows the old configurations"]
    assert tree(nodes.disk("node3") / "packs") == tree(nodes.disk("node1") / "packs")
    assert (nodes.disk("node2") / "configs" / "jira.yaml").read_text() == "url: y\n"


def refused(nodes: ContentNodes, **parameters: Any) -> str:
    before = [tree(nodes.disk(node)) for node in ("node1", "node2", "node3")]
    passed, result = sync(nodes, **parameters)
    assert not passed and result["kind"] == "refused", result
    assert [tree(nodes.disk(node)) for node in ("node1", "node2", "node3")] == before
    return str(result["error"])


def test_refusals(nodes: ContentNodes) -> None:
    change_source(nodes)
    newer = nodes.disk("node2") / "packs" / "jira" / "actions" / "run.py"
    newer.write_text("print('newest')\n")
    os.utime(newer, (4_000_000_000, 4_000_000_000))
    assert "1 file newer on node2 than on node1: jira/actions/run.py (force=true overrides this)" in refused(nodes)
    assert "node1 is the source itself" in refused(nodes, target="node1")
    assert "node1 has no packs/nothing" in refused(nodes, path="packs/nothing", delete=True)
    (nodes.disk("node3") / "packs" / "jira" / "loop").mkdir()
    assert "a directory on one side only: jira/loop; remove it on node3 by hand" in refused(nodes, target="node3")
    nodes.mount("node3", nodes.disk("node3") / "packs", "packs", "ro")
    assert f"{nodes.root}/packs of node3 is read-only" in refused(nodes, target="node3")
    nodes.serve("node3", "nfs1:/export", "packs")
    assert f"{nodes.root}/packs of node3 is shared by nfs1:/export" in refused(nodes, target="node3")
    nodes.servings["node3"].hang()
    assert "packs of node3 is hung" in refused(nodes, target="node3", layer={"mount_timeout_s": 1.0})
    nodes.servings["node3"].kill()
    assert sync(nodes, target="node2", force=True)[0]
    assert newer.read_text() == "print('new')\n"


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"path": "packs/../../etc"}, "parameter `path` is 'packs/../../etc', outside of the content roots"),
        ({"path": "/etc/passwd"}, "parameter `path` is '/etc/passwd', outside of the content roots"),
        ({"path": "packs/.."}, "parameter `path` is 'packs/..', outside of the content roots"),
        ({"path": "packs/a\nb/c"}, r"parameter `path` is 'packs/a\nb/c', outside of the content roots"),
        ({"path": ""}, "parameter `path` is '': name one of packs, configs, virtualenvs"),
        ({"source": "node9"}, "parameter `source` is 'node9', no node of the layer `content`: use one of node1, node2"),
        ({"target": ""}, "parameter `target` is '': name the nodes to copy to, for example node3"),
        ({"target": "all"}, "parameter `target` is 'all', no node of the layer `content`"),
        ({"deadline_s": 0}, "parameter `deadline_s` is 0: it must be between 1 and 3600"),
    ],
)
def test_wrong_input_is_one_sentence(nodes: ContentNodes, parameters: dict[str, Any], says: str) -> None:
    passed, result = sync(nodes, **parameters)
    assert not passed and result["kind"] == "bad_input"
    assert result["error"].startswith(says) and "\n" not in result["error"]


def test_a_target_that_changes_after_it_was_read_is_left_alone(nodes: ContentNodes) -> None:
    """It is changed by the very command that reads it: the second look, before the write, sees it."""
    change_source(nodes)
    file = nodes.disk("node2") / "packs" / "jira" / "actions" / "late.py"
    layer = nodes.deployment()["content"]
    layer["nodes"][1]["command"] += f" sh -c 'echo x >>{nodes.root}/packs/jira/actions/late.py; exec \"$@\"' sh"
    passed, result = sync(nodes, target="node2", layer=layer)
    assert not passed and result["outcome"] == "failed"
    assert "packs/jira on node2 is not as it was read" in result["error"]
    assert file.exists() and not (file.parent / "tool.sh").exists()


def test_without_rsync_on_a_node(nodes: ContentNodes) -> None:
    change_source(nodes)
    layer = nodes.deployment()["content"]
    layer["nodes"][1]["command"] += " env PATH=/nowhere"
    layer["python"] = "/usr/bin/python3"
    passed, result = sync(nodes, target="node2", layer=layer)
    assert not passed and "with node2; rsync must be installed there and here" in result["error"]
