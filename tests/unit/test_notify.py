"""st2ha.notify: one line in the action's log."""

from __future__ import annotations

import pytest

from st2ha.errors import BadInput
from st2ha.notify import notify


@pytest.mark.parametrize(
    ("severity", "level"), [(None, "WARNING"), ("ok", "INFO"), ("unknown", "ERROR"), ("critical", "CRITICAL")]
)
def test_one_line_at_the_level_of_the_severity(severity: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = notify("no\nprimary", severity, {"id": "1"})
    assert result["summary"].endswith("no primary") and result["details"] == {"id": "1"}
    assert result["severity"] == (severity or "warning")


@pytest.mark.parametrize(("message", "severity"), [("", "ok"), (" \n", "ok"), (None, "ok"), ("x", "red")])
def test_nothing_to_tell_is_refused(message: str, severity: str) -> None:
    with pytest.raises(BadInput):
        notify(message, severity)
