"""Recorded facts of real clusters: what is found in them, and what may be done with them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from st2ha.plan import Decision, Refused
from st2ha.rabbitmq import decide
from st2ha.rabbitmq.assess import assess
from st2ha.report import Finding
from tests import recorded_rabbitmq as recorded

DECISIONS = {
    "drain": lambda s, settings, node: decide.drain(s, settings, node),
    "revive": lambda s, settings, node: decide.revive(s, settings, node),
    "forget": lambda s, settings, node: decide.forget(s, settings, node),
    "rebalance": lambda s, settings, node: decide.rebalance(s),
    "sync_queues": lambda s, settings, node: decide.sync_queues(s, node),
}


def short(finding: Finding) -> str:
    return f"{finding.severity.name} {finding.code} {finding.subject}"


@pytest.mark.parametrize("case", recorded.CASES)
def test_findings_of_a_recorded_cluster(case: str) -> None:
    looks, expected = recorded.looks(case), recorded.expectations(case)
    settings = replace(recorded.settings(), **expected.get("settings", {}))
    earlier = looks[-2] if len(looks) > 1 else None
    findings = assess(looks[-1], settings, looks[-1].at, earlier)
    assert [short(finding) for finding in findings] == (expected["findings"] or [])


@pytest.mark.parametrize("case", recorded.CASES)
def test_decisions_about_a_recorded_cluster(case: str) -> None:
    snapshot, expected = recorded.snapshot(case), recorded.expectations(case)
    for question, answer in expected.get("decisions", {}).items():
        verb, _, argument = question.partition(" ")
        decision = DECISIONS[verb](snapshot, recorded.settings(), argument)
        assert told(decision) == answer, question


def told(decision: Decision) -> Any:
    """A refusal's sentence, or a plan's steps."""
    if isinstance(decision, Refused):
        return decision.sentence()
    return [f"{step.verb} {step.target}" for step in decision.steps] or decision.goal
