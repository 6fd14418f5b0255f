"""What was found, and how it is told: Severity, Finding, Report."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


class Severity(enum.IntEnum):
    """OK < WARNING < UNKNOWN < CRITICAL: the worst one is the verdict. UNKNOWN never justifies a write."""

    OK = 0
    WARNING = 1
    UNKNOWN = 2
    CRITICAL = 3

    @property
    def word(self) -> str:
        """The spelling in results: `ok`, `warning`, `unknown`, `critical`."""
        return self.name.lower()


FAIL_ON = ("never", "critical", "unknown", "warning")
"""Values of the parameter `fail_on`: the verdict from which the action itself counts as failed."""


SUMMARY = 120
"""Characters of a summary at the most: one line of a terminal, a chat or st2web."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    `code` is a stable CamelCase noun that docs, rules and tests share; `subject` is a path such as
    `mongodb/rs0/mongo1:27017`; `message` carries the number and the consequence; `remedy` the next command.
    """

    code: str
    severity: Severity
    subject: str
    message: str
    remedy: str

    @property
    def key(self) -> str:
        """Identity of the finding over time, whatever its numbers say."""
        return f"{self.code} {self.subject}"

    def line(self) -> str:
        """The finding as one line for people."""
        return f"{self.severity.name} {self.code} {self.subject}: {self.message.rstrip('.')}. Next: {self.remedy}"

    def as_dict(self) -> dict[str, str]:
        """The finding as a row for programs."""
        return {
            "code": self.code,
            "severity": self.severity.word,
            "subject": self.subject,
            "message": self.message,
            "remedy": self.remedy,
        }


def worst(findings: Iterable[Finding]) -> Severity:
    """The verdict over findings; OK when there is none."""
    return max((finding.severity for finding in findings), default=Severity.OK)


@dataclass(frozen=True)
class Report:
    """The outcome of a check: `title` names the layer, `healthy` says what holds when nothing was found."""

    title: str
    healthy: str
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def severity(self) -> Severity:
        return worst(self.findings)

    @property
    def summary(self) -> str:
        """The verdict first: the first 40 characters must say it (st2web cuts the rest)."""
        if not self.findings:
            return clip(f"OK {self.title}: {self.healthy}")
        first = by_weight(self.findings)[0]
        more = f" (+{len(self.findings) - 1} more)" if len(self.findings) > 1 else ""
        return clip(f"{self.severity.name} {self.title}: {first.code}, {first.message}", SUMMARY - len(more)) + more

    def result(self) -> dict[str, Any]:
        """The action's result, people's part first; docs/architecture.md describes the shape."""
        ordered = by_weight(self.findings)
        return {
            "summary": self.summary,
            "severity": self.severity.word,
            "findings": [finding.line() for finding in ordered],
            "details": [finding.as_dict() for finding in ordered],
            "facts": dict(self.facts),
            "elapsed_s": round(self.elapsed_s, 4),
        }


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; equals keep the order in which they were found."""
    return sorted(findings, key=lambda finding: -finding.severity)


def clip(text: str, width: int = SUMMARY) -> str:
    """One line of at most `width` characters, an ellipsis where something was cut."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
