"""Results for people: what is said once, whole, and what may not reach a terminal."""

from __future__ import annotations

import pytest

from st2ha.local.render import plain, result_blocks
from st2ha.report import SUMMARY
from st2ha.stackstorm import failure


def lines(result: object) -> list[str]:
    return "".join(plain(block) for block in result_blocks(result)).splitlines()


@pytest.mark.parametrize("length", [SUMMARY // 2, SUMMARY * 3])
@pytest.mark.parametrize(("kind", "head"), [("refused", "REFUSED"), ("failed", "FAILED")])
def test_a_sentence_is_printed_once_and_whole(kind: str, head: str, length: int) -> None:
    sentence = "switch to green: " + "x" * length
    assert lines(failure(sentence, kind)) == [f"{head} {sentence}"]


def test_a_summary_and_an_error_that_say_different_things_are_both_printed() -> None:
    assert lines({"summary": "OK so far…", "error": "not quite", "kind": "failed"}) == ["OK so far…", "not quite"]


def test_what_a_server_says_does_not_drive_the_terminal() -> None:
    assert lines({"summary": "OK \x1b[2J", "severity": "ok"}) == ["OK  [2J"]
