"""The program that runs on the nodes, run here by this Python as the nodes do: from standard input, alone."""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from st2ha.content.facts import Node, parse
from st2ha.content.far import MODULES, program, said
from st2ha.errors import HostError
from tests.examples import examples

OLD = 1_600_000_000


class Tree:
    """A root for packs, and a cache."""

    def __init__(self, tmp: Path) -> None:
        self.packs = tmp / "packs"
        self.cache = tmp / "cache" / "st2ha"
        self.packs.mkdir(parents=True)

    def write(self, path: str, content: bytes = b"x", mode: int = 0o644) -> Path:
        file = self.packs / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        return file

    def look(self, python: tuple[str, ...] = (sys.executable,), **request: Any) -> Node:
        usual: dict[str, Any] = {
            "node": "n1", "roots": [("packs", str(self.packs))], "told": {}, "skip": ["__pycache__", ".git"],
            "cache": str(self.cache), "silence_s": 20.0,
        }  # fmt: skip
        text = program({**usual, **request})
        done = subprocess.run([*python, "-I", "-S", "-"], input=text, capture_output=True, timeout=60, check=False)
        assert done.stderr == b""
        return parse(done.stdout)

    def settle(self) -> None:
        """What was changed in the last two seconds is not believed to stand."""
        time.sleep(2.1)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_it_is_one_text_of_python_3_6_without_the_pack() -> None:
    text = program({"roots": []}).decode()
    ast.parse(text, feature_version=(3, 6))
    assert "st2ha.content.far" not in text.replace("(Part of the program of st2ha.content.far.)", "")
    modules = {"marshal", "os", "sys", "time", "select", "signal", "errno", "json", "_blake2", "gc"}
    imported = {
        name.split(".")[0]
        for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [str(node.module)])
    }  # fmt: skip
    assert imported == modules and len(MODULES) == 3


def test_a_second_look_reads_nothing_and_sees_the_same(tree: Tree) -> None:
    for number in range(20):
        tree.write(f"p{number % 3}/d{number % 2}/f{number}", b"x" * number)
    tree.settle()
    first, second = tree.look(), tree.look()
    assert (first.roots["packs"].read_bytes, second.roots["packs"].read_bytes) == (190, 0)
    assert first.roots["packs"].digest == second.roots["packs"].digest
    assert first.roots["packs"].files == 20
    assert [file.stat().st_mode & 0o777 for file in tree.cache.iterdir()] == [0o600, 0o600]
    assert tree.cache.stat().st_mode & 0o777 == 0o700


def test_a_file_that_kept_its_size_and_time_is_read_again(tree: Tree) -> None:
    file = tree.write("p/f", b"one")
    other = tree.write("p/g", b"one")
    os.utime(file, (OLD, OLD))
    tree.settle()
    before = tree.look().roots["packs"]
    file.write_bytes(b"two")
    os.utime(file, (OLD, OLD))
    after = tree.look().roots["packs"]
    assert before.digest != after.digest
    assert after.read_bytes == 3, f"{other} is as it was and was read again"


def test_what_was_changed_just_now_is_not_believed_to_stand(tree: Tree) -> None:
    tree.write("p/f", b"one")
    assert [tree.look().roots["packs"].read_bytes for _ in range(2)] == [3, 3]


def test_a_cache_that_is_not_to_be_trusted_is_not_used(tree: Tree, tmp_path: Path) -> None:
    tree.write("p/f", b"one")
    tree.settle()
    expected = tree.look().roots["packs"]
    files = {file: file.read_bytes() for file in tree.cache.iterdir()}
    assert len(files) == 2
    for harm, harming in HARMS.items():
        tree.cache.chmod(0o700)
        for file, data in files.items():
            file.unlink()
            file.write_bytes(data)
            file.chmod(0o600)
        assert tree.look().roots["packs"].read_bytes == 0, harm
        for file, data in files.items():
            harming(file, data, tmp_path)
        found = tree.look(told={"packs": ["p"]})
        assert found.roots["packs"].digest == expected.digest, harm
        assert found.roots["packs"].read_bytes == (0 if harm == "not ours" and os.geteuid() else 3), harm
        assert list(found.roots["packs"].rows) == ["p/f"], harm
        assert found.cached is (harm != "open directory")


def linked(file: Path, data: bytes, aside: Path) -> None:
    (aside / file.name).write_bytes(data)
    (aside / file.name).chmod(0o600)
    file.unlink()
    file.symlink_to(aside / file.name)


HARMS: dict[str, Callable[[Path, bytes, Path], object]] = {
    "garbage": lambda file, data, aside: file.write_bytes(data[:16] + bytes(100)),
    "cut": lambda file, data, aside: file.write_bytes(data[:-5]),
    "flipped": lambda file, data, aside: file.write_bytes(data[:30] + bytes([data[30] ^ 1]) + data[31:]),
    "readable": lambda file, data, aside: file.chmod(0o644),
    "not ours": lambda file, data, aside: os.geteuid() or os.chown(file, 12345, 12345),
    "a link": linked,
    "open directory": lambda file, data, aside: file.parent.chmod(0o777),
}


def test_lost_details_are_read_again_where_they_are_needed(tree: Tree) -> None:
    tree.write("p/f", b"one")
    tree.settle()
    tree.look()
    (details,) = [file for file in tree.cache.iterdir() if file.suffix]
    details.unlink()
    assert tree.look().roots["packs"].read_bytes == 0
    assert tree.look(told={"packs": ["p"]}).roots["packs"].read_bytes == 3
    assert tree.look(told={"packs": ["p"]}).roots["packs"].read_bytes == 0


@pytest.mark.parametrize(
    "change",
    ["content", "mode", "name", "target", "kind", "new", "gone", "directory mode", "empty directory"],
)
def test_whatever_is_not_alike_changes_the_digest(tree: Tree, change: str) -> None:
    file, link = tree.write("p/f", b"one"), tree.packs / "p" / "link"
    link.symlink_to("loop")
    before = tree.look().roots["packs"].digest
    changes = {
        "content": lambda: file.write_bytes(b"two"),
        "mode": lambda: file.chmod(0o755),
        "name": lambda: file.rename(file.with_name("g")),
        "target": lambda: (link.unlink(), link.symlink_to("/etc")),
        "kind": lambda: (file.unlink(), os.mkfifo(file)),
        "new": lambda: tree.write("p/g"),
        "gone": lambda: file.unlink(),
        "directory mode": lambda: file.parent.chmod(0o700),
        "empty directory": lambda: (tree.packs / "p" / "e").mkdir(),
    }
    changes[change]()
    assert tree.look().roots["packs"].digest != before


def test_what_is_skipped_and_times_do_not_count(tree: Tree) -> None:
    file = tree.write("p/f")
    before = tree.look().roots["packs"].digest
    tree.write("p/__pycache__/f.pyc")
    tree.write("p/.git/HEAD")
    tree.write("p/f.pyc")
    os.utime(file, (OLD, OLD))
    assert tree.look().roots["packs"].digest == before


def test_names_of_any_bytes_and_loops(tree: Tree) -> None:
    names = ["a b", "line\nend", "\udcff\udcfe", "ü", "'\"", "-n", "$HOME", "日本"]
    for name in names:
        tree.write(f"p/{name}/{name}")
    (tree.packs / "p" / "loop").symlink_to("loop")
    (tree.packs / "p" / "up").symlink_to("..")
    found = tree.look(told={"packs": ["p"]}).roots["packs"]
    assert {f"p/{name}/{name}" for name in names} | {"p/loop", "p/up"} <= set(found.rows)
    ascii_only = tree.look(python=("env", "LC_ALL=C", "PYTHONCOERCECLOCALE=0", sys.executable)).roots["packs"]
    assert found.digest == ascii_only.digest, "the node's locale must not matter"


def test_one_of_twenty_thousand_files(tree: Tree) -> None:
    """All are seen, within the limits of what a node may say; the second look reads the changed one alone."""
    for pack in range(50):
        for directory in range(8):
            place = tree.packs / f"pack{pack}" / f"d{directory}"
            place.mkdir(parents=True)
            for number in range(50):
                (place / f"action_{number}.yaml").write_bytes(b"x")
    tree.settle()
    first = tree.look().roots["packs"]
    assert (first.files, first.read_bytes, first.unreadable) == (20_000, 20_000, 0)
    (tree.packs / "pack7" / "d3" / "action_3.yaml").write_bytes(b"changed")
    second = tree.look(told={"packs": ["pack7"]}).roots["packs"]
    assert (second.files, second.read_bytes) == (20_000, 7) and second.digest != first.digest
    assert len([path for path in second.rows if path.endswith(".yaml")]) == 400


def test_a_tree_deeper_than_python_and_descriptors(tree: Tree) -> None:
    """It ends, and says what it could not read."""
    deep = tree.packs.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    root = tree.look(python=("prlimit", "--nofile=256", sys.executable)).roots["packs"]
    assert (root.state, root.unreadable) == ("read", 1)
    assert root.samples[0][1] == "Too many open files"
    assert tree.look().roots["packs"].unreadable == 0


def test_what_may_not_be_read_is_told() -> None:
    if os.geteuid():
        pytest.skip("becoming somebody else needs root")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3")
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        tree = Tree(Path(directory))
        tree.write("p/secret", mode=0o600)
        root = tree.look(python=nobody).roots["packs"]
    assert (root.unreadable, root.samples) == (1, (("p/secret", "Permission denied"),))


def test_a_root_that_is_not_there_or_is_no_directory(tree: Tree) -> None:
    file = tree.write("f")
    roots = [("packs", "/nowhere/at all"), ("configs", str(file)), ("virtualenvs", str(tree.packs))]
    found = tree.look(roots=roots).roots
    assert [root.state for root in found.values()] == ["absent", "absent", "read"]


NAMES = st.sampled_from(["a", "b", "ü", "c d"])
FILES = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.binary(max_size=2), max_size=5
).filter(lambda files: not any(one != two and two.startswith(one + "/") for one in files for two in files))


@examples(8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FILES, FILES)
def test_digests_are_equal_exactly_if_trees_are(
    tmp_path_factory: pytest.TempPathFactory, one: dict[str, bytes], two: dict[str, bytes]
) -> None:
    digests = []
    for files in (one, two):
        tree = Tree(tmp_path_factory.mktemp("tree"))
        for path, content in files.items():
            tree.write(path, content)
        digests.append(tree.look().roots["packs"].digest)
    assert (digests[0] == digests[1]) == (one == two)


@pytest.mark.parametrize(
    "output", [b"", b"motd!\n", b'["root", 1]\n', b'["evil"]\n', b"[" * 5000, b"\xff\n", b'["node", "3", 0']
)
def test_what_makes_no_sense_is_a_sentence(output: bytes) -> None:
    with pytest.raises(HostError, match=r"^(what python3 says there makes no sense|the reader there was cut off)"):
        parse(output)


class Finalized:
    """In a circle, so that the collector ends it, and other threads come in while it does."""

    def __init__(self) -> None:
        self.circle = self

    def __del__(self) -> None:
        time.sleep(0)


def test_answers_of_several_nodes_are_parsed_at_once() -> None:
    """Python 3.11's `ast` cannot do that: SystemError, now and then (cpython issue 106905)."""
    output = b'["top", "packs", "a", 33188, "00", 1]\n' * 200 + b'["node", "3.11.2", 0, true]\n'

    def work() -> int:
        return len([(parse(output), Finalized()) for _ in range(50)])

    usual = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(10)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert [future.result() for future in [pool.submit(work) for _ in range(4)]] == [50] * 4
    finally:
        gc.set_threshold(*usual[0])
        sys.setswitchinterval(usual[1])


def test_mountinfo() -> None:
    table = said.mounts(
        b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n"
        b"40 22 0:40 / /opt/stack\\040storm rw master:2 - nfs4 nfs1:/e\\134x ro,hard,addr=10.0.0.1\n"
        b"41 22 0:41 / /opt/stack\\040storm ro - fuse.x y\n"
        b"nonsense\n"
    )
    assert table[1] == ("/opt/stack storm", "nfs4", "nfs1:/e\\x", "rw", "ro,hard,addr=10.0.0.1")
    assert said.covering("/opt/stack storm/packs", table) == table[2]
    assert said.covering("/opt/stack storming", table) == table[0]
