"""Workflows conducted by the real orquesta, their actions as real processes: `st2ha run` end to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "actions" / "lib"
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"

WORK = """
import os, signal, sys, time

class Work:
    def __init__(self, config=None, action_service=None):
        self.config, self.service = config, action_service

    def run(self, name, fail, sleep_s, text, count):
        with open(os.environ["LOG"], "a") as log:
            log.write(f"{name} start {time.time()}\\n")
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        deadline = time.time() + (sleep_s or 0)
        while time.time() < deadline and not stopped:
            time.sleep(0.02)
        tries = int(self.service.get_value("tries-" + name) or 0) + 1
        self.service.set_value("tries-" + name, tries)
        with open(os.environ["LOG"], "a") as log:
            log.write(f"{name} end {time.time()}\\n")
        if stopped:
            return (False, {"summary": "stopped between steps", "severity": "warning", "kind": "failed"})
        if fail == "always" or (fail == "once" and tries == 1):
            return (False, {"summary": f"{name} failed", "severity": "critical", "error": f"{name} broke"})
        return (True, {"summary": f"OK {name}", "severity": "ok", "text": text, "tries": tries, "count": count})
"""
WORK_META = """
name: work
runner_type: python-script
entry_point: work.py
parameters:
  name: {type: string, required: true}
  fail: {type: string, enum: ["no", once, always], default: "no"}
  sleep_s: {type: number, default: 0}
  text: {type: string}
  count: {type: integer}
"""


class Lab:
    """A pack under a temporary directory and the means to run st2ha on it."""

    def __init__(self, path: Path) -> None:
        self.pack, self.state, self.log = path / "pack", path / "state", path / "log"
        (self.pack / "actions" / "workflows").mkdir(parents=True)
        (self.pack / "pack.yaml").write_text("name: ha\nref: ha\nversion: 1.2.3\n")
        (self.pack / "actions" / "work.py").write_text(WORK)
        (self.pack / "actions" / "work.yaml").write_text(WORK_META)

    def workflow(self, body: str, parameters: str = "{}") -> None:
        """Write the workflow `flow`."""
        meta = f"name: flow\nrunner_type: orquesta\nentry_point: workflows/flow.yaml\nparameters: {parameters}\n"
        (self.pack / "actions" / "flow.yaml").write_text(meta)
        (self.pack / "actions" / "workflows" / "flow.yaml").write_text("version: 1.0\n" + textwrap.dedent(body))

    def start(self, *args: str) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(LIBRARY), "ST2HA_STATE_DIR": str(self.state), "LOG": str(self.log)}
        command = [sys.executable, "-c", MAIN, str(self.pack), *args]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def run(self, *args: str) -> tuple[int, Any, str]:
        """(exit code, JSON result, stderr)."""
        process = self.start(*args, "--json")
        out, err = process.communicate(timeout=50)
        assert "Traceback" not in err, err
        return process.returncode, json.loads(out), err

    def events(self) -> list[tuple[str, str, float]]:
        lines = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [(name, what, float(at)) for name, what, at in lines]

    def started(self) -> list[str]:
        return [name for name, what, _ in self.events() if what == "start"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_results_travel_between_tasks_and_into_the_output(lab: Lab) -> None:
    lab.workflow(
        """
        input: [who]
        output:
          - summary: <% ctx().said %>
          - severity: warning
          - user_known: <% ctx().st2.user != null %>
        tasks:
          one:
            action: ha.work name="one"
            next:
              - when: <% succeeded() %>
                publish: [first: "<% result().result.summary %>"]
                do: two
          two:
            action: ha.work
            input: {name: two, text: "{{ ctx().first }} for {{ ctx().who }}"}
            next:
              - publish: [said: "<% result().result.text %>"]
                do: noop
        """,
        "{who: {type: string, default: you}}",
    )
    code, result, _ = lab.run("run", "flow", "who=me")
    assert result == {"output": {"summary": "OK one for me", "severity": "warning", "user_known": True}}
    assert code == 1
    assert lab.run("flow")[1]["output"]["summary"] == "OK one for you"


def test_failure_runs_the_cleanup_and_still_fails_with_its_reason(lab: Lab) -> None:
    lab.workflow(
        """
        output: [severity: critical]
        tasks:
          work:
            action: ha.work name="work" fail="always"
            next:
              - when: <% failed() %>
                publish: [why: "<% result().result.error %>"]
                do: cleanup
          cleanup:
            action: ha.work name="cleanup"
            next: [{do: fail}]
        """
    )
    code, result, err = lab.run("run", "flow")
    assert (code, lab.started()) == (2, ["work", "cleanup"])
    assert result["output"] == {"severity": "critical"}
    assert any(error.get("task_id") == "work" for error in result["errors"])
    assert "work: work broke" in err


def test_a_handled_failure_makes_the_workflow_succeed(lab: Lab) -> None:
    lab.workflow(
        """
        tasks:
          work:
            action: ha.work name="work" fail="always"
            next: [{when: <% failed() %>, do: noop}]
        """
    )
    assert lab.run("run", "flow")[:2] == (0, {"output": None})


def test_with_items_keeps_to_its_concurrency_and_gathers_results_in_order(lab: Lab) -> None:
    lab.workflow(
        """
        output: [names: <% ctx().names %>]
        vars: [hosts: [a, b, c, d, e]]
        tasks:
          each:
            with: {items: "host in <% ctx().hosts %>", concurrency: 2}
            action: ha.work
            input: {name: "<% item(host) %>", sleep_s: 0.3}
            next: [{publish: [names: "<% result().select($.result.summary) %>"], do: noop}]
        """
    )
    code, result, _ = lab.run("run", "flow")
    assert (code, result["output"]) == (0, {"names": ["OK a", "OK b", "OK c", "OK d", "OK e"]})
    running = most = 0
    for _, what, _ in sorted(lab.events(), key=lambda event: event[2]):
        running += 1 if what == "start" else -1
        most = max(most, running)
    assert most == 2


def test_with_items_without_items_succeeds(lab: Lab) -> None:
    lab.workflow(
        """
        vars: [hosts: []]
        tasks:
          each:
            with: host in <% ctx().hosts %>
            action: ha.work name=<% item(host) %>
            next: [{do: last}]
          last: {action: core.noop}
        """
    )
    assert lab.run("run", "flow")[0] == 0


def test_one_failed_item_fails_the_task(lab: Lab) -> None:
    lab.workflow(
        """
        vars: [kinds: ["no", always]]
        tasks:
          each:
            with: kind in <% ctx().kinds %>
            action: ha.work name="x" fail=<% item(kind) %>
        """
    )
    code, result, _ = lab.run("run", "flow")
    assert code == 3 and result["errors"][0]["task_id"] == "each"


def test_retry_and_delay(lab: Lab) -> None:
    lab.workflow(
        """
        output: [tries: <% ctx().tries %>]
        tasks:
          again:
            action: ha.work name="again" fail="once"
            retry: {when: <% failed() %>, count: 2, delay: 1}
            next: [{publish: [tries: "<% result().result.tries %>"], do: later}]
          later: {action: ha.work name="later", delay: 1}
        """
    )
    code, result, _ = lab.run("run", "flow")
    assert (code, result["output"]) == (0, {"tries": 2})
    starts = [at for name, what, at in lab.events() if what == "start"]
    assert starts[1] - starts[0] >= 1 and starts[2] - starts[1] >= 1


def test_join_waits_for_parallel_branches(lab: Lab) -> None:
    lab.workflow(
        """
        tasks:
          a: {action: ha.work name="a" sleep_s=0.4, next: [{do: end}]}
          b: {action: ha.work name="b" sleep_s=0.4, next: [{do: end}]}
          end: {join: all, action: ha.work name="end"}
        """
    )
    assert lab.run("run", "flow")[0] == 0
    at = {(name, what): when for name, what, when in lab.events()}
    assert at["b", "start"] < at["a", "end"] and at["end", "start"] >= max(at["a", "end"], at["b", "end"])


def test_keys_of_the_datastore_in_yaql_and_jinja(lab: Lab) -> None:
    lab.workflow(
        """
        output: [texts: <% ctx().texts %>]
        vars: [texts: ["<% st2kv('colour') %>", "{{ st2kv('system.colour') }}", "<% st2kv(no, default => none) %>"]]
        tasks: {a: {action: core.noop}}
        """
    )
    env = {**os.environ, "PYTHONPATH": str(LIBRARY), "ST2HA_STATE_DIR": str(lab.state)}
    command = [sys.executable, "-c", MAIN, str(lab.pack), "key", "set", "colour"]
    subprocess.run(command, env=env, input="blue\n", text=True, check=True)
    assert lab.run("run", "flow")[1] == {"output": {"texts": ["blue", "blue", "none"]}}


ASK = """
    output: [answer: <% ctx().get(answer) %>]
    tasks:
      question:
        action: core.ask
        input:
          schema:
            type: object
            properties:
              go: {type: string, enum: ["no", "yes"], required: true, description: "Really go?"}
        next:
          - when: <% succeeded() %>
            publish: [answer: <% result().response.go %>]
            do: noop
          - when: <% failed() %>
            do: cleanup
      cleanup: {action: ha.work name="cleanup", next: [{do: fail}]}
"""


def test_ask_takes_its_answer_from_the_command_line(lab: Lab) -> None:
    lab.workflow(ASK)
    assert lab.run("run", "flow", "--answer", "go=yes")[:2] == (0, {"output": {"answer": "yes"}})


@pytest.mark.parametrize(("args", "words"), [((), "Really go?"), (("--answer", "go=maybe"), "must be one of no, yes")])
def test_ask_without_a_good_answer_cleans_up_and_exits_64(lab: Lab, args: tuple[str, ...], words: str) -> None:
    lab.workflow(ASK)
    code, _, err = lab.run("run", "flow", *args)
    assert code == 64 and words in err and lab.started() == ["cleanup"]


def test_a_workflow_inside_a_workflow(lab: Lab) -> None:
    lab.workflow("output: [n: 5]\ntasks: {a: {action: core.noop}}\n")
    meta = "name: outer\nrunner_type: orquesta\nentry_point: workflows/outer.yaml\n"
    (lab.pack / "actions" / "outer.yaml").write_text(meta)
    (lab.pack / "actions" / "workflows" / "outer.yaml").write_text(
        "version: 1.0\noutput: [n: <% ctx().n %>, status: <% task(a).status %>]\n"
        "tasks: {a: {action: ha.flow, next: [{publish: [n: <% result().output.n %>], do: noop}]}}\n"
    )
    assert lab.run("run", "outer")[:2] == (0, {"output": {"n": 5, "status": "succeeded"}})


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("{action: ha.wrok name=a}", "ha.wrok"),
        ("{action: ha.work}", 'missing required input "name"'),
        ("{action: ha.work, input: {name: a, sepep: 1}}", 'unexpected input "sepep"'),
        ("{action: ha.work, input: {name: <% nope( %>}}", "expression"),
        ("{action: core.noop, next: [{do: nowhere}]}", "nowhere"),
    ],
)
def test_a_broken_workflow_is_refused_before_anything_runs(lab: Lab, task: str, words: str) -> None:
    lab.workflow(f'tasks: {{first: {{action: ha.work name="first"}}, a: {task}}}')
    code, result, _ = lab.run("run", "flow")
    assert code == 3 and lab.started() == [] and words in json.dumps(result).replace('\\"', '"')


def test_a_native_number_is_no_string_parameter_as_in_stackstorm(lab: Lab) -> None:
    lab.workflow("vars: [n: 5]\ntasks: {a: {action: ha.work, input: {name: '{{ ctx().n }}'}}}")
    code, _, err = lab.run("run", "flow")
    assert code != 0 and "name must be of type string, not int" in err


def test_secrets_stay_out_of_the_errors(lab: Lab) -> None:
    lab.workflow(
        'input: [token]\ntasks: {a: {action: ha.work name=<% ctx().token %> fail="always"}}',
        "{token: {type: string, secret: true}}",
    )
    process = lab.start("run", "flow", "token=hunter2hunter2", "--json")
    out, err = process.communicate(timeout=50)
    assert process.returncode == 3 and "hunter2" not in out + err and "********" in out


FLOW_WITH_CLEANUP = """
    tasks:
      long:
        action: ha.work name="long" sleep_s=30
        next: [{when: <% succeeded() %>, do: after}, {when: <% failed() %>, do: cleanup}]
      after: {action: ha.work name="after"}
      cleanup: {action: ha.work name="cleanup" sleep_s=0.5, next: [{do: fail}]}
"""


def wait_for(lab: Lab, name: str) -> None:
    deadline = time.monotonic() + 20
    while name not in lab.started():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_fails_the_running_task_once_and_lets_the_cleanup_finish(lab: Lab, signum: int) -> None:
    lab.workflow(FLOW_WITH_CLEANUP)
    process = lab.start("run", "flow", "--json")
    wait_for(lab, "long")
    process.send_signal(signum)
    wait_for(lab, "cleanup")
    process.send_signal(signum)
    out, _ = process.communicate(timeout=30)
    assert lab.started() == ["long", "cleanup"]
    assert [name for name, what, _ in lab.events() if what == "end"] == ["long", "cleanup"]
    assert process.returncode == 3 and "errors" in json.loads(out)


def test_a_signal_between_tasks_fails_the_next_one(lab: Lab) -> None:
    lab.workflow(
        """
        tasks:
          wait:
            action: ha.work name="wait"
            delay: 30
            next: [{when: <% failed() %>, do: cleanup}]
          cleanup: {action: ha.work name="cleanup", next: [{do: fail}]}
        """
    )
    process = lab.start("run", "flow", "--json")
    time.sleep(2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert lab.started() == ["cleanup"]
