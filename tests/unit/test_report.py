"""A report tells the worst first, short, and always in the same shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st2ha.report import SUMMARY, Finding, Report, Severity, by_weight, clip, worst


def finding(
    severity: Severity = Severity.WARNING, code: str = "DiskLow", message: str = "its disk is 90% full"
) -> Finding:
    return Finding(code, severity, "mongodb/rs0/mongo1:27017", message, "free space on mongo1")


findings = st.lists(
    st.builds(
        finding, st.sampled_from([Severity.WARNING, Severity.UNKNOWN, Severity.CRITICAL]), message=st.text(max_size=300)
    )
).map(tuple)


def test_severities_are_ordered_and_ok_is_the_verdict_over_nothing() -> None:
    assert Severity.OK < Severity.WARNING < Severity.UNKNOWN < Severity.CRITICAL
    assert worst([]) is Severity.OK
    assert worst([finding(Severity.UNKNOWN), finding(Severity.WARNING)]) is Severity.UNKNOWN


def test_the_worst_comes_first_and_equals_keep_their_order() -> None:
    given_ = [finding(code="A"), finding(Severity.CRITICAL, "B"), finding(code="C"), finding(Severity.UNKNOWN, "D")]
    assert [each.code for each in by_weight(given_)] == ["B", "D", "A", "C"]


def test_a_finding_as_a_line_and_as_a_row() -> None:
    assert finding().line() == (
        "WARNING DiskLow mongodb/rs0/mongo1:27017: its disk is 90% full. Next: free space on mongo1"
    )
    assert "HTTP 404: not found. Next: " in finding(message="HTTP 404: not found.").line()
    assert finding().as_dict() == {
        "code": "DiskLow",
        "severity": "warning",
        "subject": "mongodb/rs0/mongo1:27017",
        "message": "its disk is 90% full",
        "remedy": "free space on mongo1",
    }


def test_a_finding_is_the_same_one_whatever_its_numbers_say() -> None:
    assert (
        finding(message="90%").key
        == finding(Severity.CRITICAL, message="97%").key
        == "DiskLow mongodb/rs0/mongo1:27017"
    )


def test_the_result_of_a_healthy_layer() -> None:
    report = Report("MongoDB", "3 members, primary mongo1:27017", facts={"members": []}, elapsed_s=0.123456)
    assert report.result() == {
        "summary": "OK MongoDB: 3 members, primary mongo1:27017",
        "severity": "ok",
        "findings": [],
        "details": [],
        "facts": {"members": []},
        "elapsed_s": 0.1235,
    }


def test_the_summary_tells_the_worst_and_how_many_more() -> None:
    report = Report("MongoDB", "", (finding(), finding(Severity.CRITICAL, "NoPrimary", "1 of 3 members answer")))
    assert report.summary == "CRITICAL MongoDB: NoPrimary, 1 of 3 members answer (+1 more)"


@given(findings, st.text(max_size=200))
def test_a_summary_is_one_short_line(found: tuple[Finding, ...], healthy: str) -> None:
    summary = Report("MongoDB", healthy, found).summary
    assert len(summary) <= SUMMARY and len(summary.splitlines()) == 1
    assert summary.startswith(worst(found).name)


@given(findings)
def test_the_shape_is_the_same_whatever_was_found(found: tuple[Finding, ...]) -> None:
    result = Report("MongoDB", "fine", found).result()
    assert list(result) == ["summary", "severity", "findings", "details", "facts", "elapsed_s"]
    assert len(result["findings"]) == len(result["details"]) == len(found)
    assert [row["code"] for row in result["details"]] == [line.split()[1] for line in result["findings"]]


@pytest.mark.parametrize(("text", "width", "shown"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("a\n b", 9, "a b")])
def test_clip(text: str, width: int, shown: str) -> None:
    assert clip(text, width) == shown
