"""Conduct a workflow with orquesta, as StackStorm's workflow engine does (st2common/services/workflows.py).

Orquesta decides what comes next; each task's action is a process of its own, run by the same Runner. A signal to st2ha
reaches the workflow as the failure of exactly one task (the running one, else the next to start), so that its own
error handling runs, undisturbed by further signals.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

from st2ha.errors import BadInput, HaError
from st2ha.local import journal, orquesta_compat, parameters, yamlfile
from st2ha.local.ask import ask
from st2ha.local.metadata import Action
from st2ha.local.process import Outcome
from st2ha.local.runner import Finished, Follow, Runner, login, note_end
from st2ha.local.workflow_functions import RUNS, workflow_functions
from st2ha.local.workflow_result import finish

MAX_AT_ONCE = 64
CORE: dict[str, set[str]] = {"core.noop": set(), "core.ask": {"schema", "route", "roles", "users", "ttl"}}


@dataclass(frozen=True)
class Job:
    """One action of a task that runs now."""

    task_id: str
    route: int
    item: int | None


def run_workflow(
    runner: Runner, action: Action, given: dict[str, Any], answers: dict[str, str], parent: str | None = None
) -> Finished:
    """Run a workflow to its end. BadInput where it cannot even be started."""
    if not action.entry.is_file():
        raise BadInput(f"{action.ref} has no workflow file {action.entry.name}: reinstall the pack")
    values = runner.resolve(action, given)
    own, _ = parameters.split(action, values)
    inner = replace(runner, follow=_lines() if runner.follow else None)
    run = WorkflowRun(inner, action, own, answers, journal.new_run_id())
    record = runner.record(action)
    if record:
        runner.note_run(record, run.id, action, own, parent)
    finished = run.conduct()
    if record:
        note_end(record, run.id, finished)
    return finished


class WorkflowRun:
    """One workflow on its way."""

    def __init__(
        self, runner: Runner, action: Action, inputs: dict[str, Any], answers: dict[str, str], run_id: str
    ) -> None:
        self.id = run_id
        self.results: dict[tuple[str, int], dict[str, Any]] = {}
        self._runner, self._action, self._inputs, self._answers = runner, action, inputs, answers
        self._jobs: dict[Future[tuple[str, Any]], Job] = {}
        self._wrong = ""
        self._refs: dict[str, Action | None] = {}

    def conduct(self) -> Finished:
        self._engine = orquesta_compat.engine(workflow_functions(self._runner.kv))
        statuses = self._engine.statuses
        text = self._action.entry.read_text(encoding="utf-8")
        yamlfile.load_mapping(self._action.entry, "workflow")
        spec = self._engine.native.instantiate(text)
        context = self._context()
        errors = [*_inspected(spec, context), *self._wrong_tasks(spec)]
        if errors:
            return finish(self._runner, self._action, self._inputs, "failed", None, errors, "")
        RUNS[self.id] = self.results
        try:
            self._conductor = self._engine.conducting.WorkflowConductor(spec, inputs=self._inputs, context=context)
            if self._conductor.get_workflow_status() not in statuses.COMPLETED_STATUSES:
                self._conductor.request_workflow_status(statuses.RUNNING)
            with ThreadPoolExecutor(max_workers=MAX_AT_ONCE) as self._pool:
                self._advance()
                while self._jobs:
                    self._collect()
            return self._end()
        finally:
            del RUNS[self.id]

    def _context(self) -> dict[str, Any]:
        told = {
            "action_execution_id": self.id,
            "workflow_execution_id": self.id,
            "api_url": "",
            "user": login(),
            "pack": self._action.pack,
            "action": self._action.ref,
            "runner": self._action.runner,
        }
        return {"st2": told, "parent": {"pack": self._action.pack, "user": told["user"]}}

    def _end(self) -> Finished:
        self._conductor.render_workflow_output()
        status, output = self._conductor.get_workflow_status(), self._conductor.get_workflow_output()
        errors = list(self._conductor.errors)
        return finish(self._runner, self._action, self._inputs, status, output, errors, self._wrong)

    def _find(self, ref: str) -> Action | None:
        """The action of this pack with that reference."""
        if ref not in self._refs:
            known = ref.startswith(self._action.pack + ".")
            self._refs[ref] = self._runner.pack.find_action(ref) if known else None
        return self._refs[ref]

    def _wrong_tasks(self, spec: Any) -> list[dict[str, Any]]:
        """Unknown actions, missing and unexpected inputs: what StackStorm refuses before it starts a workflow."""
        found: list[dict[str, Any]] = []
        for name, task in spec.tasks.items():
            ref, given = getattr(task, "action", None), getattr(task, "input", None) or {}
            if not ref or "<%" in ref or "{{" in ref:
                continue
            for message in self._wrong_task(ref, given if isinstance(given, dict) else None):
                found.append({"type": "content", "message": message, "spec_path": f"tasks.{name}"})
        return found

    def _wrong_task(self, ref: str, given: dict[str, Any] | None) -> list[str]:
        action = self._find(ref)
        if action is None and ref not in CORE:
            return [f'The action "{ref}" is neither of this pack nor core.ask or core.noop.']
        if given is None:
            return []
        known = set(action.parameters) if action else CORE[ref]
        schemas = action.parameters if action else {}
        missing = [n for n, s in schemas.items() if s.get("required") and "default" not in s and n not in given]
        return [f'Action "{ref}" is missing required input "{name}".' for name in missing] + [
            f'Action "{ref}" has unexpected input "{name}".' for name in given if name not in known
        ]

    def _advance(self) -> None:
        """Start every task that is due; a task without an action ends at once and may make others due."""
        while True:
            tasks = self._conductor.get_next_tasks()
            for task in tasks:
                if task["spec"].has_items() and task.get("items_count") == 0:
                    self._update(task["id"], task["route"], "running", None)
                for request in task["actions"]:
                    self._update(task["id"], task["route"], "running", request.get("item_id"))
            for task in tasks:
                if not self._start(task):
                    return
            if not tasks:
                return

    def _update(
        self,
        task_id: str,
        route: int,
        status: str,
        item: int | None,
        result: Any = None,
        gathered: list[Any] | None = None,
    ) -> None:
        """Tell the conductor how an action does."""
        events = self._engine.events
        if item is None:
            event = events.ActionExecutionEvent(status, result=result)
        else:
            event = events.TaskItemActionExecutionEvent(item, status, result=result, accumulated_result=gathered)
        self._conductor.update_task_state(task_id, route, event)

    def _start(self, task: dict[str, Any]) -> bool:
        """False where the task cannot be started: the workflow fails, as it does in StackStorm."""
        key = (task["id"], task["route"])
        record = self.results.get(key)
        if record is None or record["status"] != "running":
            count = task.get("items_count")
            result = {"items": [None] * count} if count is not None else None
            self.results[key] = {"status": "running", "result": result, "start_timestamp": journal.now()}
        if task["spec"].action is None or task.get("items_count") == 0:
            self._done(Job(*key, None), "succeeded", None)
            return True
        try:
            for request in task["actions"]:
                delay = _delay(task, request)
                job = Job(*key, request.get("item_id"))
                call = self._call(request["action"], request.get("input") or {})
                self._jobs[self._pool.submit(self._work, call, delay)] = job
        except HaError as error:
            self._conductor.request_workflow_status(self._engine.statuses.FAILED)
            self._conductor.log_error(error, task_id=task["id"], route=task["route"])
            self._wrong = str(error)
            return False
        return True

    def _call(self, ref: str, given: dict[str, Any]) -> Callable[[], tuple[str, Any]]:
        """What runs the action: it returns (status, result as a task sees it). BadInput where its input is wrong."""
        if ref == "core.noop":
            return lambda: ("succeeded", {"failed": False, "succeeded": True, "return_code": 0})
        if ref == "core.ask":
            return lambda: self._ask(given)
        action = self._find(ref)
        if action is None:
            raise BadInput(f'Unable to find action "{ref}".')
        self._runner.resolve(action, given)
        if action.is_workflow:
            return lambda: _as_task(run_workflow(self._runner, action, given, self._answers, self.id))
        return lambda: _as_task(self._runner.run(action, given, self.id))

    def _ask(self, given: dict[str, Any]) -> tuple[str, Any]:
        try:
            return "succeeded", ask(given, self._answers, lambda: self._runner.children.stopping)
        except BadInput as error:
            self._wrong = str(error)
            return "failed", {"error": str(error), "response": {}}

    def _work(self, call: Callable[[], tuple[str, Any]], delay: float) -> tuple[str, Any]:
        """In a thread: wait, run. A failure while the workflow is being stopped is the one that stops it."""
        children = self._runner.children
        if delay and not children.cleaning:
            children.stopped.wait(delay)
        if children.stopping:
            children.clean_up()
            return "failed", {"error": "interrupted before it began"}
        try:
            status, result = call()
        except HaError as error:
            status, result = "failed", {"error": str(error)}
        if status != "succeeded" and children.stopping:
            children.clean_up()
        return status, result

    def _collect(self) -> None:
        """Take the next ends of actions to the conductor, and start what is due then."""
        done, _ = wait(self._jobs, return_when=FIRST_COMPLETED)
        for future in done:
            self._done(self._jobs.pop(future), *future.result())
        self._advance()

    def _done(self, job: Job, status: str, result: Any) -> None:
        record = self.results[job.task_id, job.route]
        if job.item is None:
            record.update(status=status, result=result, end_timestamp=journal.now())
            self._update(job.task_id, job.route, status, None, result)
            return
        items = record["result"]["items"]
        items[job.item] = {"status": status, "result": result}
        if all(item is not None for item in items):
            worst = [item["status"] for item in items if item["status"] != "succeeded"]
            record.update(status="failed" if worst else "succeeded", end_timestamp=journal.now())
        gathered = [item["result"] if item else None for item in items]
        self._update(job.task_id, job.route, status, job.item, result, gathered)


def _lines() -> Follow:
    from st2ha.local.progress import follow_lines

    return follow_lines


def _delay(task: dict[str, Any], request: dict[str, Any]) -> float:
    """A task's delay holds for its first actions; later items under `concurrency` start when there is room."""
    concurrency, item = task.get("concurrency"), request.get("item_id")
    later = item is not None and concurrency is not None and item >= concurrency
    return 0.0 if later else float(task.get("delay") or 0)


def _as_task(finished: Finished) -> tuple[str, Any]:
    """(status, result) as StackStorm's runners give them to the workflow."""
    outcome: Outcome = finished.outcome
    if finished.action.is_workflow:
        return outcome.status, outcome.result
    told = {"stdout": "", "stderr": outcome.error, "exit_code": outcome.exit_code}
    result = {"result": "None" if outcome.error else outcome.result, **told}
    return outcome.status, {**result, "error": outcome.error} if outcome.status == "timeout" else result


def _inspected(spec: Any, context: dict[str, Any]) -> list[dict[str, Any]]:
    """Orquesta's own findings in a workflow's definition, in one list."""
    found = spec.inspect(app_ctx=context, raise_exception=False)
    return [{**error, "type": kind} for kind, errors in sorted(found.items()) for error in errors]
