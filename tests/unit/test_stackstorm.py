"""What an entry's `run` gives to StackStorm: a status, a result, and one sentence where something is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from st2ha import check as check_module
from st2ha.check import check
from st2ha.config import Deployment, Mongodb
from st2ha.errors import BadInput, HaError, StepFailed
from st2ha.report import Report
from st2ha.stackstorm import Operation, answered, failure


class Example(Operation):
    @answered
    def run(self, outcome: Any = None, fail_on: Any = None) -> dict[str, Any]:
        if isinstance(outcome, Exception):
            raise outcome
        return {"summary": "s", "severity": outcome}


@pytest.mark.parametrize(
    ("severity", "fail_on", "passes"),
    [
        ("critical", None, True),
        ("critical", "never", True),
        ("critical", "", True),
        ("critical", "critical", False),
        ("unknown", "critical", True),
        ("unknown", "unknown", False),
        ("warning", "unknown", True),
        ("warning", "warning", False),
        ("ok", "warning", True),
    ],
)
def test_the_status_says_whether_we_did_our_job_and_fail_on_joins_the_verdict(
    severity: str, fail_on: Any, passes: bool
) -> None:
    assert Example().run(outcome=severity, fail_on=fail_on) == (passes, {"summary": "s", "severity": severity})


@pytest.mark.parametrize("value", ["sometimes", "CRITICAL", 3, True, ["never"]])
def test_another_fail_on_is_bad_input(value: Any) -> None:
    passed, result = Example().run(outcome="ok", fail_on=value)
    assert not passed and result["kind"] == "bad_input"
    assert result["error"] == f"parameter `fail_on` is {value!r}: use one of never, critical, unknown, warning"


@pytest.mark.parametrize(
    ("error", "kind"), [(BadInput("it is wrong"), "bad_input"), (StepFailed("it is wrong"), "failed")]
)
def test_an_error_of_ours_is_one_sentence(error: HaError, kind: str) -> None:
    passed, result = Example().run(outcome=error)
    assert not passed
    assert (result["error"], result["kind"], result["severity"]) == ("it is wrong", kind, "unknown")


def test_an_error_that_is_not_ours_is_told_without_its_text() -> None:
    passed, result = Example().run(outcome=KeyError("hunter2"))
    assert not passed and "hunter2" not in str(result)
    assert result["error"].startswith("internal error KeyError at test_stackstorm.py:")


def test_a_failure_comes_with_its_summary_first_and_short() -> None:
    result = failure("x " * 200, "refused", reasons=["r"])
    assert next(iter(result)) == "summary" and len(result["summary"]) <= 120
    assert result["summary"].startswith("REFUSED x x") and result["severity"] == "critical"
    assert result["reasons"] == ["r"]


def test_an_operation_without_configuration_says_what_to_do() -> None:
    with pytest.raises(BadInput, match=r"copy ha\.yaml\.example"):
        Operation(config=None).deployment(None)


# -- the verdict over all layers

PROD = Deployment("prod", Mongodb((), "rs0"))


def test_a_deployment_without_layers_is_bad_input() -> None:
    with pytest.raises(BadInput) as caught:
        check(Deployment("empty"))
    layers = "mongodb, mysql, rabbitmq, redis, stackstorm, sensors, edge, auth, content"
    assert str(caught.value) == f"deployment 'empty' has no layer to check: add one of {layers} to it"


def test_a_layer_that_cannot_be_checked_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its one line of configuration is wrong: the other layers are checked all the same."""

    class Layer:
        @staticmethod
        def check(deployment: Deployment, timeout_s: float | None) -> Report:
            raise BadInput("mongodb.replica_set is 'rs1', the servers belong to 'rs0'")

    monkeypatch.setattr(check_module.importlib, "import_module", lambda name: Layer)
    result = check(PROD).result()
    assert result["severity"] == "unknown"
    assert result["details"][0]["code"] == "LayerUnchecked" and "rs1" in result["details"][0]["message"]
    assert result["facts"]["layers"][0]["layer"] == "mongodb"
