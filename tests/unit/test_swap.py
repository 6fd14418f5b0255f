"""A file replaced inside a node: whole or not at all, and only if it is as it was read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.hosts import Door, door
from st2ha.swap import SCRIPT, digest, swap

HERE = Door()


def test_it_is_replaced_with_its_mode_and_again_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "st2 conf"
    path.write_text("old\n")
    path.chmod(0o640)
    swap(HERE, str(path), "old\n", "näw\n", 10)
    number = path.stat().st_ino
    swap(HERE, str(path), "old\n", "näw\n", 10)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), path.stat().st_ino) == ("näw\n", 0o640, number)
    assert os.listdir(tmp_path) == ["st2 conf"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    swap(HERE, str(tmp_path / "link"), "old", "new", 10)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"


def test_files_that_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    swap(HERE, str(path), None, "new", 10)
    assert path.read_text() == "new"
    swap(HERE, str(path), "new", None, 10)
    assert not path.exists()


@pytest.mark.parametrize(("now", "before"), [("other", "old"), (None, "old"), ("old", None)])
def test_what_changed_is_left(tmp_path: Path, now: str | None, before: str | None) -> None:
    path = tmp_path / "conf"
    if now is not None:
        path.write_text(now)
    with pytest.raises(WorldChanged, match="conf has changed since it was read"):
        swap(HERE, str(path), before, "SECRET", 10)
    assert (path.read_text() if path.exists() else None) == now
    assert os.listdir(tmp_path) == ([] if now is None else ["conf"])


def test_half_a_text_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("old")
    words = ["sh", "-c", SCRIPT, "sh", str(path), digest("old"), digest("whole")]
    with pytest.raises(HaError, match="ended with 4"):
        HERE.run(words, 10, stdin=b"who")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["conf"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="cannot be written") as caught:
        swap(HERE, str(tmp_path / "no" / "conf"), None, "SECRET", 10)
    assert "SECRET" not in str(caught.value)


def test_behind_a_shell_as_ssh_has_it(tmp_path: Path) -> None:
    """A stand-in for ssh: like it, it joins its words and has a shell take them apart."""
    far, path = tmp_path / "ssh", tmp_path / "it's $HOME.conf"
    far.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    far.chmod(0o755)
    path.write_text("old")
    way = door((str(far), "{name}"), {"name": "n", "host": "h"})
    swap(way, str(path), "old", "new\n$HOME '", 10)
    assert path.read_text() == "new\n$HOME '"
    with pytest.raises(WorldChanged):
        swap(way, str(path), "old", "other", 10)
