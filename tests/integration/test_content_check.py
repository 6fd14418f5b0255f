"""content_check on nodes that are mount namespaces: bind mounts, a FUSE file system that hangs or is killed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.content import ContentNodes
from tests.real import run

NODES = ("node1", "node2", "node3")
SECRET = "S3cret-never-shown"

pytestmark = pytest.mark.skipif(ContentNodes.limitation() is not None, reason=str(ContentNodes.limitation()))


@pytest.fixture(scope="module")
def lab_nodes() -> Iterator[ContentNodes]:
    with ContentNodes(members=3) as nodes:
        yield nodes


@pytest.fixture
def nodes(lab_nodes: ContentNodes) -> ContentNodes:
    lab_nodes.reset()
    return lab_nodes


def check(nodes: ContentNodes, more: dict[str, Any] | None = None, **layer: Any) -> dict[str, Any]:
    """The result of the action, which fits its output_schema."""
    deployment = nodes.deployment()
    deployment["content"].update(layer)
    passed, result = run({"deployments": [{**deployment, **(more or {})}]}, "content_check")
    assert passed and SECRET not in json.dumps(result)
    return result


def told(result: dict[str, Any], nodes: ContentNodes) -> set[str]:
    return {
        f"{each['severity']} {each['code']} {each['subject'].replace(str(nodes.root), '')}"
        for each in result["details"]
    }


def message(result: dict[str, Any], code: str) -> str:
    (text,) = [each["message"] for each in result["details"] if each["code"] == code]
    return str(text)


def test_nodes_that_are_alike(nodes: ContentNodes) -> None:
    result = check(nodes)
    assert result["summary"] == "OK Content: 3 nodes, 8 files alike"
    assert (result["findings"], result["facts"]["drift"], result["facts"]["without_cache"]) == ([], [], [])


def test_drift_of_every_kind_is_told_with_files_and_nodes(nodes: ContentNodes) -> None:
    pack = nodes.disk("node2") / "packs" / "jira"
    (pack / "actions" / "run.py").write_text("print('other')\n")
    (pack / "pack.yaml").chmod(0o600)
    odd = os.path.join(nodes.disk("node3"), "packs", "jira", "actions", "with space\nand\udcff")
    Path(odd).write_text("x")
    (nodes.disk("node3") / "packs" / "jira" / "loop").symlink_to("loop")
    (nodes.disk("node1") / "configs" / "jira.yaml").unlink()
    result = check(nodes)
    assert told(result, nodes) == {
        "warning ContentDrift content/packs/jira",
        "warning ContentDrift content/configs/jira.yaml",
    }
    (jira,) = [drift for drift in result["facts"]["drift"] if drift["path"] == "jira"]
    files = {each["path"]: each for each in jira["files"]}
    assert files["actions/run.py"]["newest"] == "node2"
    assert files["actions/run.py"]["groups"] == [["node1", "node3"], ["node2"]]
    assert files["actions/with space\\nand\\udcff"]["lacking"] == ["node1", "node2"]
    assert set(files) == {"actions/run.py", "pack.yaml", "loop", "actions/with space\\nand\\udcff"}
    assert "actions/run.py (newest on node2)" in "".join(result["findings"])


def test_a_pack_that_is_missing_and_versions_that_differ(nodes: ContentNodes) -> None:
    for node in NODES[:2]:
        (nodes.disk(node) / "packs" / "slack").mkdir()
    (nodes.disk("node2") / "packs" / "jira" / "pack.yaml").write_text('ref: jira\nversion: "1.1.0"  # new\n')
    result = check(nodes)
    assert "critical ContentDrift content/packs/slack" in told(result, nodes)
    assert message(result, "PackVersionsDiffer") == "1.0.0 on node1, node3; 1.1.0 on node2"


def test_a_missing_mount_a_read_only_one_and_an_empty_one(nodes: ContentNodes) -> None:
    (nodes.shared / "packs" / "jira" / "new.py").write_text("x")
    nodes.mount("node1", nodes.shared / "packs", "packs")
    nodes.mount("node2", nodes.shared / "packs", "packs", "ro")
    mounts = str(nodes.root / "packs")
    expected = {
        "warning MountReadOnly content/node2/packs",
        "critical MountMissing content/node3/packs",
    }
    assert told(check(nodes), nodes) == expected
    assert told(check(nodes, mounts=mounts), nodes) == expected
    nodes.mount("node3", nodes.shared / "packs", "packs")
    (nodes.directory / "empty").mkdir(exist_ok=True)
    nodes.mount("node3", nodes.directory / "empty", "packs")
    result = check(nodes, mounts=mounts)
    assert told(result, nodes) == {
        "warning MountReadOnly content/node2/packs",
        "critical SystemPacksHidden content/node3/packs",
    }
    assert f"the mount {mounts} hides them" in message(result, "SystemPacksHidden")


def test_a_hung_mount_costs_its_deadline_once_and_all_else_is_told(nodes: ContentNodes) -> None:
    for node in NODES:
        nodes.serve(node, "nfs1:/export")
    assert check(nodes)["summary"] == "OK Content: 3 nodes, 8 files alike"
    (nodes.shared / "packs" / "jira" / "new.py").write_text("x")
    nodes.servings["node2"].hang()
    try:
        began = time.monotonic()
        result = check(nodes, mount_timeout_s=2.0)
        took_s = time.monotonic() - began
    finally:
        nodes.servings["node2"].resume()
    assert told(result, nodes) == {"critical MountHung content/node2"}
    assert "of nfs1:/export gave no answer for 2 s" in message(result, "MountHung")
    assert [row["state"] for row in result["facts"]["roots"]].count("hung") == 3
    assert 2.0 <= took_s < 30
    assert check(nodes)["severity"] == "ok"


def test_a_mount_further_down_that_hangs_does_not_hide_the_rest(nodes: ContentNodes) -> None:
    nodes.serve("node2", "nfs1:/export", "packs/jira")
    nodes.servings["node2"].hang()
    result = check(nodes, mount_timeout_s=1.0)
    states = {row["root"]: row["state"] for row in result["facts"]["roots"] if row["node"] == "node2"}
    assert states == {"packs": "hung", "configs": "read", "virtualenvs": "read"}
    assert told(result, nodes) == {"critical MountHung content/node2/packs/jira"}


def test_a_dead_server_and_two_servers(nodes: ContentNodes) -> None:
    nodes.serve("node1", "nfs1:/export", "packs")
    nodes.serve("node2", "nfs2:/export", "packs")
    nodes.serve("node3", "nfs1:/export", "packs")
    nodes.servings["node3"].kill()
    result = check(nodes)
    assert told(result, nodes) == {
        "critical MountBroken content/node3/packs",
        "warning MountServerDiffers content/packs",
    }
    assert "Transport endpoint is not connected" in message(result, "MountBroken")
    assert message(result, "MountServerDiffers").endswith("node1 from nfs1:/export; node2 from nfs2:/export")


def test_virtualenvs_and_secrets(nodes: ContentNodes) -> None:
    virtualenvs = {node: nodes.disk(node) / "virtualenvs" / "jira" for node in NODES}
    python = virtualenvs["node1"] / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.8")
    old = virtualenvs["node2"] / "lib" / "python3.5"
    (old / "site-packages").mkdir(parents=True)
    for other in (virtualenvs["node2"] / "lib").iterdir():
        if other != old:
            other.rename(virtualenvs["node2"] / "kept")
    os.utime(nodes.disk("node3") / "packs" / "jira" / "requirements.txt")
    config = nodes.disk("node3") / "configs" / "jira.yaml"
    config.write_text(f"url: x\nlogin:\n  api_token: {SECRET}\n  password: '{{{{ st2kv.system.x }}}}'\n")
    result = check(nodes)
    found = {each["message"] for each in result["details"] if each["code"].startswith("Virtualenv")}
    assert any(each.startswith("on node1: /nowhere/python3.8: No such file or directory") for each in found)
    assert any(each.startswith("on node2: made for Python 3.5, its python is 3.") for each in found)
    assert "on node3: older than the pack's requirements.txt" in found
    assert message(result, "WorldReadableSecrets") == "every user of node3 can read api_token in it"
    config.chmod(0o640)
    assert "WorldReadableSecrets" not in str(check(nodes)["findings"])


def test_what_stackstorm_has_registered(nodes: ContentNodes) -> None:
    class Packs(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            rows = [{"id": "1", "ref": "core", "version": "1.0.0"}, {"id": "2", "ref": "gone", "version": "1.0.0"}]
            body = json.dumps(rows if self.path.startswith("/v1/packs?limit=-1") else {}).encode()
            self.send_response(200)
            self.send_header("X-Total-Count", str(len(rows)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Packs)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    api = {"stackstorm": {"api_url": f"http://127.0.0.1:{server.server_port}", "timeout_s": 5}}
    try:
        assert told(check(nodes, api), nodes) == {
            "warning NotRegistered content/packs/jira",
            "warning NotRegistered content/packs/gone",
        }
    finally:
        server.shutdown()
        server.server_close()
    assert told(check(nodes, api), nodes) == {"unknown PacksUnknown content/packs"}


def test_a_node_that_is_gone_and_one_without_python(nodes: ContentNodes) -> None:
    deployment = nodes.deployment()["content"]
    deployment["nodes"][1]["command"] = "false"
    deployment["nodes"][2]["command"] = "env -i /bin/sh -c 'exec /nowhere/$0'"
    result = check(nodes, {"content": deployment})
    assert told(result, nodes) == {"unknown NodeUnread content/node2", "unknown NodeUnread content/node3"}


def test_a_second_check_reads_no_file(nodes: ContentNodes) -> None:
    time.sleep(2.1)  # what was changed just now is not believed to stand
    assert check(nodes)["facts"]["roots"][0]["files"] == 5
    for disk in map(nodes.disk, NODES):
        assert (disk / "packs").is_dir()
    again = check(nodes)["facts"]
    assert again["read_mb"] == 0.0


def test_a_check_of_all_layers_has_it(nodes: ContentNodes) -> None:
    passed, result = run({"deployments": [nodes.deployment()]}, "check")
    assert passed and result["facts"]["layers"][0]["layer"] == "content"
