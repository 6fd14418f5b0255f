"""A workflow's end: what StackStorm would store, and what people are told."""

from __future__ import annotations

from typing import Any

from st2ha.local.metadata import Action
from st2ha.local.process import Outcome
from st2ha.local.runner import Finished, Runner
from st2ha.local.schema import mask, secret_values, without_secrets
from st2ha.stackstorm import failure


def finish(
    runner: Runner,
    action: Action,
    inputs: dict[str, Any],
    status: str,
    output: dict[str, Any] | None,
    errors: list[dict[str, Any]],
    wrong: str,
) -> Finished:
    """The result {"output", "errors"}; the verdict is the output's, or the first error's sentence.

    `wrong` is the sentence of an input that was missing or wrong on the way: the exit code is then 64.
    """
    result: dict[str, Any] = {"output": output or None}
    if status != "succeeded":
        result["errors"] = errors
    secrets = runner.config.secrets | secret_values(inputs, {"properties": action.parameters})
    shown = {**result, "output": mask(result["output"], action.output_schema)}
    shown = _scrubbed(shown, secrets)
    outcome = Outcome("succeeded" if status == "succeeded" else status, result=result)
    return Finished(action, outcome, shown, _told(action, status, shown, wrong))


def _told(action: Action, status: str, shown: dict[str, Any], wrong: str) -> dict[str, Any]:
    """The output as a result of its own; a failed workflow adds which task failed and why."""
    output = shown["output"] if isinstance(shown["output"], dict) else {}
    if status == "succeeded":
        return output or {"summary": f"OK {action.ref} succeeded", "severity": "ok"}
    reasons = [_reason(error) for error in shown["errors"]]
    sentence = wrong or f"{action.ref} {status}: {'; '.join(dict.fromkeys(reasons)) or 'see its output'}"
    kind = "bad_input" if wrong else "failed"
    base = {key: value for key, value in output.items() if value is not None}
    return {**failure(sentence, kind), **base, "error": sentence, "kind": kind}


def _reason(error: dict[str, Any]) -> str:
    """One error as "task: reason"; the reason of a failed action stands in its result."""
    told = error.get("result")
    inner = told.get("result") if isinstance(told, dict) else None
    texts = [source.get(key) for source in (inner, told) if isinstance(source, dict) for key in ("error", "summary")]
    stderr = [told.get("stderr")] if isinstance(told, dict) else []
    reason = next((str(text) for text in texts + stderr if text), str(error.get("message") or "failed"))
    return f"{error['task_id']}: {reason}" if error.get("task_id") else reason


def _scrubbed(value: Any, secrets: set[str]) -> Any:
    """Every text in a value with the secrets taken out: orquesta quotes results in its errors."""
    if isinstance(value, str):
        return without_secrets(value, secrets)
    if isinstance(value, dict):
        return {key: _scrubbed(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_scrubbed(item, secrets) for item in value]
    return value
