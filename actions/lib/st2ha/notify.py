"""The plainest notification: a line in the action's log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Optional

from st2ha.errors import BadInput
from st2ha.report import Severity, clip

LEVELS = {
    Severity.OK: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.UNKNOWN: logging.ERROR,
    Severity.CRITICAL: logging.CRITICAL,
}


def notify(message: str, severity: Optional[str] = None, details: Optional[Mapping[str, Any]] = None) -> dict[str, Any]:
    """Log `message` as one line, on stderr, at the severity's level. BadInput if there is nothing to tell."""
    text = " ".join(str(message or "").split())
    if not text:
        raise BadInput("parameter `message` is empty: say what is to be told")
    words = {each.word: each for each in Severity}
    chosen = words.get(severity or "warning")
    if chosen is None:
        raise BadInput(f"parameter `severity` is {severity!r}: use one of {', '.join(words)}")
    _logger().log(LEVELS[chosen], text)
    return {"summary": clip(f"{chosen.name} {text}", 1000), "severity": chosen.word, "details": dict(details or {})}


def _logger() -> logging.Logger:
    """StackStorm keeps what an action writes to stderr as its log."""
    logger = logging.getLogger("ha.notify")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger
