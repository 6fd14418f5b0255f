"""`execute`: steps in order, each told, and a clean end whatever happens between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from st2ha.errors import StepFailed, WorldChanged
from st2ha.plan import Journal, Outcome, Plan, Refused, Step, execute, stop_requested

PLAN = Plan("a goal", tuple(Step(verb, f"mongo{number}", "because") for number, verb in enumerate("abc", 1)))
LIBRARY = Path(__file__).resolve().parents[2] / "actions" / "lib"


class Hand:
    """Verbs that note what they did; `trouble` is raised by a verb of that name."""

    def __init__(self, **trouble: Exception) -> None:
        self.done: list[str] = []
        self.trouble = trouble

    def __call__(self, step: Step) -> str:
        if step.verb in self.trouble:
            raise self.trouble[step.verb]
        self.done.append(f"{step.verb} {step.target}")
        return f"did {step.verb}"

    def verbs(self) -> dict[str, Any]:
        return dict.fromkeys("abc", self)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_steps_run_in_order_and_each_is_told() -> None:
    hand = Hand()
    outcome = execute(PLAN, hand.verbs(), 10)
    assert hand.done == ["a mongo1", "b mongo2", "c mongo3"]
    assert (outcome.status, outcome.left, outcome.reason) == ("done", (), "")
    assert [(each["number"], each["verb"], each["note"]) for each in outcome.done] == [
        (1, "a", "did a"), (2, "b", "did b"), (3, "c", "did c"),
    ]  # fmt: skip


def test_a_plan_without_steps_is_done() -> None:
    assert execute(Plan("it holds already", ()), {}, 10) == Outcome("done", ())


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (StepFailed("the server refused"), "`b mongo2`: the server refused"),
        (WorldChanged("the set is in term 9"), "`b mongo2`: the set is in term 9"),
        (KeyError("hunter2"), "`b mongo2`: internal error KeyError at test_plan.py:"),
    ],
    ids=["failed", "world changed", "a bug of ours"],
)
def test_a_step_that_fails_ends_the_plan_and_the_steps_before_it_are_told(trouble: Exception, reason: str) -> None:
    hand = Hand(b=trouble)
    outcome = execute(PLAN, hand.verbs(), 10)
    assert hand.done == ["a mongo1"]
    assert outcome.status == "failed" and outcome.reason.startswith(reason) and "hunter2" not in outcome.reason
    assert [each["verb"] for each in outcome.done] == ["a"]
    assert [step.verb for step in outcome.left] == ["b", "c"], "the failed step may be half done: it is left to do"


def test_no_step_begins_after_the_deadline() -> None:
    hand = Hand()
    outcome = execute(PLAN, {**hand.verbs(), "a": lambda step: time.sleep(0.06) or "late"}, 0.05)
    assert (outcome.status, hand.done) == ("stopped", [])
    assert outcome.reason == "the deadline passed before `b mongo2`"
    assert len(outcome.done) == 1 and len(outcome.left) == 2


def test_an_unknown_verb_is_a_failed_step() -> None:
    assert execute(PLAN, {}, 10).reason.startswith("`a mongo1`: internal error KeyError at plan.py:")


# -- the journal


def test_the_journal_tells_plan_steps_and_outcome(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    execute(PLAN, Hand(c=StepFailed("no")).verbs(), 10, Journal(str(path), "run1"))
    told = lines(path)
    assert [(each["event"], each.get("state"), each.get("verb")) for each in told] == [
        ("plan", None, None),
        ("step", "started", "a"), ("step", "done", "a"),
        ("step", "started", "b"), ("step", "done", "b"),
        ("step", "started", "c"), ("step", "failed", "c"),
        ("outcome", None, None),
    ]  # fmt: skip
    assert {each["run"] for each in told} == {"run1"}
    assert told[0]["steps"][0] == {"verb": "a", "target": "mongo1", "because": "because"}
    assert told[-1]["status"] == "failed" and told[-1]["reason"] == "`c mongo3`: no"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_step_is_told_before_it_begins(tmp_path: Path) -> None:
    """What a killed process was doing must be known afterwards."""
    path = tmp_path / "journal"
    seen: list[Any] = []
    execute(PLAN, dict.fromkeys("abc", lambda step: seen.append(lines(path)[-1]) or ""), 10, Journal(str(path)))
    assert [(each["state"], each["verb"]) for each in seen] == [("started", "a"), ("started", "b"), ("started", "c")]


def test_a_journal_that_cannot_be_written_does_not_stop_a_plan() -> None:
    hand = Hand()
    assert execute(PLAN, hand.verbs(), 10, Journal("/dev/full")).status == "done"
    assert execute(PLAN, hand.verbs(), 10, Journal("/no/such/directory/journal")).status == "done"
    assert len(hand.done) == 6


def test_the_journal_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST2HA_JOURNAL", str(tmp_path / "j"))
    monkeypatch.setenv("ST2HA_RUN_ID", "run7")
    execute(Plan("goal", ()), {}, 10)
    assert [each["run"] for each in lines(tmp_path / "j")] == ["run7", "run7"]


# -- signals

SLOW = """
import sys, time
from st2ha.plan import Journal, Plan, Step, execute
def verb(step):
    print("begun", step.verb, flush=True)
    time.sleep(0.5)
    return "slept"
plan = Plan("g", tuple(Step(verb, "m", "b") for verb in "abc"))
print(execute(plan, dict.fromkeys("abc", verb), 60, Journal(sys.argv[1])).as_dict())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_plan_between_two_steps(tmp_path: Path, number: signal.Signals) -> None:
    """A real process and a real signal: the step that runs is finished, the next one is not begun."""
    path = tmp_path / "journal"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(path)],
        env={**os.environ, "PYTHONPATH": str(LIBRARY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun a\n"
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and "begun" not in rest
    assert "'outcome': 'stopped'" in rest and "SIGTERM" in rest
    told = [(each["event"], each.get("state") or each.get("status")) for each in lines(path)]
    assert told == [("plan", None), ("step", "started"), ("step", "done"), ("outcome", "stopped")]


def test_the_former_handlers_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requested() as stopped:
        assert signal.getsignal(signal.SIGTERM) is not before
        signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_plan_runs_in_any_thread() -> None:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(execute(PLAN, Hand().verbs(), 10)))
    thread.start()
    thread.join(10)
    assert [outcome.status for outcome in outcomes] == ["done"]


# -- words


def test_a_refusal_says_when_force_would_help() -> None:
    assert Refused("switchover", ("a", "b")).sentence() == "switchover: a; b"
    assert Refused("switchover", ("a",), ("b",)).sentence() == "switchover: a; b"
    assert Refused("switchover", (), ("b",)).sentence() == "switchover: b (force=true overrides this)"
