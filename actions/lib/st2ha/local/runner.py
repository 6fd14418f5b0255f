"""Run actions by name: resolve parameters and configuration, start the process, keep the journal."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from st2ha.errors import BadInput
from st2ha.local import configuration, expressions, journal, parameters
from st2ha.local.datastore import reader
from st2ha.local.metadata import Action, Pack
from st2ha.local.process import GRACE_S, Children, Outcome, run_child
from st2ha.local.schema import mask, secret_values, without_secrets

#: Shows an action's progress: (its journal or None, its run, its name) -> a function to call while it runs.
Follow = Callable[[Optional[Path], str, str], contextlib.AbstractContextManager[Callable[[], None]]]

SEVERITY_EXIT = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
USAGE = 64


@dataclass(frozen=True)
class Finished:
    """One action's end: its result with secrets masked, and the exit code that tells it to a shell."""

    action: Action
    outcome: Outcome
    shown: Any
    told: Any = None
    """What is shown to people where it is not the result itself (a workflow's output and errors)."""

    @property
    def verdict(self) -> Any:
        return self.shown if self.told is None else self.told

    @property
    def exit_code(self) -> int:
        return exit_code(self.outcome, self.verdict)


def exit_code(outcome: Outcome, result: Any) -> int:
    """64 for bad input, else by severity as monitoring plugins have it; a failure is never 0."""
    told = result if isinstance(result, dict) else {}
    if told.get("kind") == "bad_input" and not outcome.succeeded:
        return USAGE
    code = SEVERITY_EXIT.get(str(told.get("severity")).lower())
    if outcome.succeeded:
        return 0 if code is None else code
    return code or 3


@dataclass
class Runner:
    """Runs the actions of one pack with one configuration; one for a whole workflow."""

    pack: Pack
    config_path: Path | None
    children: Children = field(default_factory=Children)
    debug: bool = False
    grace_s: float = GRACE_S
    warn: Callable[[str], None] = lambda text: None
    follow: Follow | None = None
    _config: configuration.Configuration | None = None

    @property
    def kv(self) -> expressions.KeyLookup:
        return expressions.KeyLookup(reader(self.pack.places.datastore, self.warn))

    @property
    def config(self) -> configuration.Configuration:
        """The configuration, read once."""
        if self._config is None:
            path = self.pack.places.pack / "config.schema.yaml"
            self._config = configuration.load(self.config_path, path, self.kv)
            for warning in self._config.warnings:
                self.warn(warning)
        return self._config

    def resolve(self, action: Action, given: dict[str, Any]) -> dict[str, Any]:
        """All parameters of the action; BadInput where they do not fit."""
        if not action.enabled:
            raise BadInput(f"{action.ref} is disabled: set `enabled: true` in its metadata")
        return parameters.resolve(action, given, self.config.values, self.kv)

    def run(self, action: Action, given: dict[str, Any], parent: str | None = None) -> Finished:
        """Run a python action to its end. BadInput where it cannot even be started."""
        if action.runner != "python-script" or not action.entry.is_file():
            raise BadInput(f"{action.ref} has no entry file {action.entry.name}: reinstall the pack")
        values = self.resolve(action, given)
        own, runner_values = parameters.split(action, values)
        secrets = self.config.secrets | secret_values(values, {"properties": action.parameters})
        run_id = journal.new_run_id()
        record = self.record(action)
        if record:
            self.note_run(record, run_id, action, own, parent)
        request = {
            "pack": self.pack.name,
            "entry": str(action.entry),
            "parameters": own,
            "config": self.config.values,
            "datastore": str(self.pack.places.datastore),
        }
        with self._following(record, run_id, action) as tick:
            timeout_s = float(runner_values.get("timeout") or 600)
            env = self.environment(run_id, record, runner_values.get("env") or {})
            outcome = run_child(request, env, self.children, timeout_s, self.grace_s, tick)
        finished = self._finish(action, outcome, secrets)
        if record:
            note_end(record, run_id, finished)
        return finished

    def note_run(self, record: Path, run_id: str, action: Action, own: dict[str, Any], parent: str | None) -> None:
        """The journal's first line of a run; secrets are masked."""
        shown = {k: mask(v, action.parameters[k]) for k, v in own.items() if v is not None}
        above = {"parent": parent} if parent else {}
        journal.append(record, run_id, "run", action=action.ref, parameters=shown, user=login(), **above)

    def record(self, action: Action) -> Path | None:
        """The journal, where the action writes and one can be kept: an emergency does not wait for a full disk."""
        if not action.writes:
            return None
        problem = self.pack.places.make_state()
        if problem:
            self.warn(f"no journal is kept: {problem}")
            return None
        return self.pack.places.journal

    def _following(
        self, record: Path | None, run_id: str, action: Action
    ) -> contextlib.AbstractContextManager[Callable[[], None] | None]:
        return self.follow(record, run_id, action.ref) if self.follow else contextlib.nullcontext(None)

    def environment(self, run_id: str, record: Path | None, extra: dict[str, Any]) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if name != "ST2HA_JOURNAL"}
        env.update({str(k): str(v) for k, v in extra.items() if str(k).lower() != "pythonpath"})
        inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        libraries = [str(self.pack.places.actions / "lib"), str(self.pack.places.library), *inherited]
        env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(libraries))
        env["ST2HA_RUN_ID"] = run_id
        env["ST2HA_LOCAL"] = "1"
        if record:
            env["ST2HA_JOURNAL"] = str(record)
        return env

    def _finish(self, action: Action, outcome: Outcome, secrets: set[str]) -> Finished:
        """Mask, and give an action that broke the same shape as one that failed."""
        if outcome.traceback and self.debug:
            print(without_secrets(outcome.traceback, secrets), file=sys.stderr)
        if outcome.error:
            from st2ha.stackstorm import failure

            message = without_secrets(f"{action.ref} failed: {outcome.error}", secrets)
            return Finished(action, outcome, dict(failure(message, "failed")))
        return Finished(action, outcome, mask(outcome.result, action.output_schema))


def note_end(record: Path, run_id: str, finished: Finished) -> None:
    """The journal's last line of a run."""
    verdict = finished.verdict
    summary = verdict.get("summary") if isinstance(verdict, dict) else None
    failed = not finished.outcome.succeeded
    journal.append(record, run_id, "end", exit=finished.exit_code, summary=summary, failed=failed)


def login() -> str:
    """Who runs this: with sudo the person behind it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
