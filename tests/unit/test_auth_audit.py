"""The line about a sign-in is seen whatever StackStorm does to its level AUDIT."""

from __future__ import annotations

import logging
from typing import Optional

import pytest

from st2auth_ldap3 import backend

AUDIT = logging.CRITICAL + 10


class Kept(logging.Handler):
    """A log as StackStorm sets it up: of level INFO it strikes AUDIT."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[logging.LogRecord] = []
        if logging.INFO <= level < AUDIT:
            self.addFilter(lambda line: line.levelno != AUDIT)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)


@pytest.mark.parametrize(
    ("logs", "stackstorm", "signed_in", "refused"),
    [
        ((logging.INFO,), False, [logging.INFO], [logging.WARNING]),
        ((logging.INFO,), True, [logging.INFO], [logging.WARNING]),
        ((logging.DEBUG,), True, [AUDIT], [AUDIT]),
        ((logging.INFO, AUDIT), True, [AUDIT], [AUDIT]),
        ((logging.ERROR,), True, [], []),
    ],
    ids=["no StackStorm", "as packaged", "debug", "with an audit log", "errors only"],
)
def test_each_sign_in_has_one_line(
    monkeypatch: pytest.MonkeyPatch,
    logs: tuple[int, ...],
    stackstorm: bool,
    signed_in: list[int],
    refused: list[int],
) -> None:
    kept = [Kept(level) for level in logs]
    root, log = logging.Logger("root", logging.INFO), logging.Logger("backend")
    log.parent = root
    for each in kept:
        root.addHandler(each)
    monkeypatch.setattr(backend, "LOG", log)
    if stackstorm:
        monkeypatch.setattr(logging, "AUDIT", AUDIT, raising=False)
    else:
        monkeypatch.delattr(logging, "AUDIT", raising=False)

    def levels(why_not: Optional[str]) -> list[int]:
        for each in kept:
            each.lines.clear()
        assert backend.Attempt("alice").end(why_not) is (why_not is None)
        lines = [line for each in kept for line in each.lines]
        assert all(f"duration_ms=0 {why_not or 'signed in'}" in line.getMessage() for line in lines)
        return [line.levelno for line in lines]

    assert levels(None) == signed_in
    assert levels("refused: disabled") == refused
