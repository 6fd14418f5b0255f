"""Work in processes of its own: what comes back, what does not, and that nobody is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from lab.wait import wait_for
from st2ha.apart import apart

BIG = 3_000_000


def _pid() -> int:
    return os.getpid()


def test_results_come_in_order_from_other_processes() -> None:
    first, second = apart([_pid, _pid], 10)
    assert len({first, second, os.getpid()}) == 3


def test_all_but_the_first_have_what_was_done_in_common() -> None:
    done: list[int] = []
    assert apart([lambda: len(done), lambda: len(done), lambda: len(done)], 10, lambda: done.append(1)) == [0, 1, 1]


def test_a_single_work_is_done_here() -> None:
    assert apart([_pid], 10) == [os.getpid()]
    assert apart([], 10) == []


def test_a_result_may_be_larger_than_a_pipe() -> None:
    assert [len(text) for text in apart([lambda: "x" * BIG, lambda: "y"], 30)] == [BIG, 1]


@pytest.mark.parametrize("end", [partial(os._exit, 3), lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_one_that_dies_is_none_and_the_others_are_told(end: object) -> None:
    assert apart([end, lambda: "well"], 10) == [None, "well"]  # type: ignore[list-item]


def test_one_that_hangs_costs_the_deadline_and_is_ended() -> None:
    began = time.monotonic()
    assert apart([partial(time.sleep, 60), lambda: "well"], 0.5) == [None, "well"]
    assert 0.4 < time.monotonic() - began < 30


def test_no_child_and_no_descriptor_is_left() -> None:
    before = _held()
    apart([partial(time.sleep, 60), _pid, partial(os._exit, 1)], 0.2)
    wait_for(lambda: _held() <= before, 30, "all of it to be gone")


def _held() -> set[str]:
    """Our pipes and children; sockets may be closed by other threads of the test run."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    links = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            links.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return {link for link in links if " pipe:" in link} | set(children.read_text().split())


def test_a_child_says_nothing_of_its_death(capfd: pytest.CaptureFixture[str]) -> None:
    """A traceback could hold a secret."""
    assert apart([lambda: 1 / 0, _pid], 10)[0] is None
    assert capfd.readouterr() == ("", "")
