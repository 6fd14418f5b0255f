"""`st2ha` as a person and a monitoring system meet it: real processes over a small pack."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "actions" / "lib"
MAIN = "import sys; from st2ha.local.cli import main; sys.exit(main(sys.argv[2:], sys.argv[1]))"

META = """
name: {name}
runner_type: python-script
entry_point: {name}.py
description: The {name} action.
parameters: {parameters}
output_schema:
  type: object
  properties:
    token: {{type: string, secret: true}}
"""
ENTRY = """
{top}
class {cls}:
    def __init__(self, config=None, action_service=None):
        self.config, self.service = config, action_service

    def run(self, **p):
{body}
"""


class Shell:
    """A pack to fill and a shell to run st2ha in."""

    def __init__(self, path: Path) -> None:
        self.pack, self.state = path / "pack", path / "state"
        (self.pack / "actions").mkdir(parents=True)
        (self.pack / "pack.yaml").write_text("name: ha\nref: ha\nversion: 1.2.3\n")
        self.env = {**os.environ, "PYTHONPATH": str(LIBRARY), "ST2HA_STATE_DIR": str(self.state)}
        self.env.pop("ST2HA_CONFIG", None)

    def action(self, name: str, body: str, parameters: str = "{}", top: str = "") -> None:
        indented = "\n".join("        " + line for line in body.strip().splitlines())
        cls = "".join(part.capitalize() for part in name.split("_"))
        (self.pack / "actions" / f"{name}.yaml").write_text(META.format(name=name, parameters=parameters))
        (self.pack / "actions" / f"{name}.py").write_text(ENTRY.format(cls=cls, body=indented, top=top))

    def start(self, *args: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", MAIN, str(self.pack), *args]
        return subprocess.Popen(command, env=self.env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def run(self, *args: str, stdin: str = "") -> tuple[int, str, str]:
        process = self.start(*args)
        out, err = process.communicate(stdin, timeout=60)
        return process.returncode, out, err

    def json(self, *args: str) -> tuple[int, Any]:
        code, out, _ = self.run(*args, "--json")
        return code, json.loads(out)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return (True, {'summary': 's', 'severity': 'ok'})", 0),
        ("return (True, {'summary': 's', 'severity': 'warning'})", 1),
        ("return (True, {'summary': 's', 'severity': 'critical'})", 2),
        ("return (True, {'summary': 's', 'severity': 'unknown'})", 3),
        ("return (False, {'summary': 's', 'severity': 'critical', 'error': 'e', 'kind': 'failed'})", 2),
        ("return (False, {'summary': 's', 'severity': 'ok'})", 3),
        ("return (False, {'summary': 's', 'severity': 'unknown', 'error': 'e', 'kind': 'bad_input'})", 64),
        ("return (False, 'no')", 3),
        ("return 'text'", 0),
        ("raise SystemExit(7)", 3),
    ],
)
def test_exit_codes(shell: Shell, body: str, code: int) -> None:
    shell.action("thing_check", body)
    assert shell.run("thing_check")[0] == code


def test_results_follow_stackstorms_rules(shell: Shell) -> None:
    shell.action("a_check", "return (True, {'n': float('nan'), 't': (1, 2)})")
    assert shell.json("a_check") == (0, {"n": None, "t": [1, 2]})
    shell.action("b_check", "return (True, {1: 2})")
    assert shell.json("b_check") == (0, "{1: 2}")
    shell.action("c_check", "return (True, {'s': {1}})")
    assert shell.json("c_check") == (0, "{'s': {1}}")
    shell.action("d_check", "return ('yes', 1)")
    code, result = shell.json("d_check")
    assert code == 3 and "first item is no bool" in result["error"]
    shell.action("e_check", "return [1, 2, 3]")
    assert shell.json("e_check") == (0, [1, 2, 3])


def test_a_crash_is_one_sentence_without_secrets_and_a_traceback_only_on_request(shell: Shell) -> None:
    shell.action("thing_check", "raise ValueError('no ' + p['token'])", "{token: {type: string, secret: true}}")
    code, out, err = shell.run("thing_check", "token=hunter2-hunter2")
    assert code == 3 and err == ""
    assert out.count("\n") == 1 and "ha.thing_check failed: ValueError: no ********" in out
    code, out, err = shell.run("thing_check", "token=hunter2-hunter2", "--debug")
    assert "Traceback" in err and "hunter2" not in out + err
    code, result = shell.json("thing_check")
    assert (result["severity"], result["kind"]) == ("unknown", "failed")


def test_an_entry_that_cannot_be_loaded(shell: Shell) -> None:
    shell.action("thing_check", "return 1", top="import no_such_module_at_all")
    code, out, _ = shell.run("thing_check")
    assert code == 3 and "No module named 'no_such_module_at_all'" in out


def test_prints_of_the_action_stay_out_of_stdout(shell: Shell) -> None:
    shell.action("thing_check", "print('noise')\nreturn (True, {'summary': 'fine', 'severity': 'ok'})")
    _, out, err = shell.run("thing_check", "--json")
    assert json.loads(out)["summary"] == "fine" and "noise" in err


def test_the_child_sees_nothing_on_its_command_line_and_no_needless_modules(shell: Shell) -> None:
    body = """
import sys
heavy = [name for name in ('rich', 'jinja2', 'orquesta', 'yaml', 'sqlite3') if name in sys.modules]
command = open('/proc/self/cmdline').read()
return (True, {'heavy': heavy, 'command': command, 'name': __name__ in sys.modules, 'config': self.config})
"""
    shell.action("thing_check", body, "{token: {type: string, secret: true}}")
    (shell.pack / "config.schema.yaml").write_text("limit: {type: integer, default: 5}\n")
    code, result = shell.json("thing_check", "token=hunter2hunter2")
    assert code == 0 and result["heavy"] == [] and "hunter2" not in result["command"]
    assert result["config"] == {"limit": 5} and result["name"] is False


def test_the_first_class_with_run_is_taken(shell: Shell) -> None:
    shell.action(
        "thing_check", "return 'right'", top="class Aaa:\n    pass\nclass Zzz:\n    def run(self): return 'wrong'"
    )
    assert shell.json("thing_check") == (0, "right")


def test_secrets_of_the_output_schema_are_masked(shell: Shell) -> None:
    shell.action("thing_check", "return (True, {'token': 'hunter2', 'summary': 's'})")
    assert shell.json("thing_check")[1] == {"token": "********", "summary": "s"}


def test_a_timeout_asks_first_and_kills_then(shell: Shell) -> None:
    body = "import time\ntime.sleep(60)"
    shell.action("thing_check", body, "{timeout: {default: 1}}")
    began = time.monotonic()
    code, out, _ = shell.run("thing_check")
    assert code == 3 and "it did not end within 1 s" in out and time.monotonic() - began < 15
    assert shell.run("thing_check", "timeout=soon")[0] == 64


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(shell: Shell, tmp_path: Path) -> None:
    from st2ha.local.process import Children, run_child

    entry = tmp_path / "deaf.py"
    entry.write_text(
        "import signal, time\nclass Deaf:\n    def __init__(self, config=None): pass\n"
        "    def run(self):\n        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n        time.sleep(60)\n"
    )
    request = {"pack": "ha", "entry": str(entry), "parameters": {}, "config": {}, "datastore": str(tmp_path / "d")}
    began = time.monotonic()
    outcome = run_child(request, shell.env, Children(), timeout_s=2, grace_s=0.5)
    assert outcome.status == "timeout" and outcome.exit_code == -9 and time.monotonic() - began < 20


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_action_once_as_sigterm_and_its_result_counts(shell: Shell, signum: int) -> None:
    body = """
import signal, time
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append('TERM'))
signal.signal(signal.SIGINT, lambda *_: seen.append('INT'))
self.service.set_value('ready', 1)
while not seen:
    time.sleep(0.01)
time.sleep(1)
return (False, {'summary': 'stopped', 'severity': 'warning', 'seen': seen})
"""
    shell.action("thing_apply", body, "{dry_run: {type: boolean}}")
    process = shell.start("thing_apply", "--json")
    deadline = time.monotonic() + 20
    while shell.run("key", "get", "ha.ThingApply:ready")[0] != 0:
        assert time.monotonic() < deadline
    process.send_signal(signum)
    time.sleep(0.3)
    process.send_signal(signum)
    out, _ = process.communicate(timeout=20)
    assert json.loads(out)["seen"] == ["TERM"] and process.returncode == 1


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["thing_chek"], 'there is no action "thing_chek": did you mean thing_check?'),
        (["run"], "st2ha run lacks a name"),
        (["thing_check", "wroong=1"], 'ha.thing_check has no parameter "wroong"'),
        (["thing_check", "count=x"], 'count must be a whole number, not "x"'),
        (["thing_check", "--config", "/no/where.yaml"], "--config /no/where.yaml is not a file"),
        (["thing_check", "--dry-run"], "has no parameter dry_run"),
        (["sensor", "x"], 'there is no sensor "x"'),
        (["key", "get", "x"], 'there is no key "x"'),
    ],
)
def test_wrong_usage_is_one_sentence_and_64(shell: Shell, args: list[str], sentence: str) -> None:
    shell.action("thing_check", "return 1", "{count: {type: integer}}")
    code, out, err = shell.run(*args)
    assert (code, out, err.count("\n")) == (64, "", 1) and sentence in err and "Traceback" not in err
    code, result = shell.json(*args)
    assert code == 64 and result["kind"] == "bad_input" and sentence in result["error"]


def test_a_malformed_configuration(shell: Shell, tmp_path: Path) -> None:
    shell.action("thing_check", "return 1")
    broken = tmp_path / "broken.yaml"
    broken.write_text("password: 'hunter2\n")
    shell.env["ST2HA_CONFIG"] = str(broken)
    code, _, err = shell.run("thing_check")
    assert code == 64 and "is not valid YAML" in err and "hunter2" not in err


def test_configuration_is_found_on_a_stackstorm_node(shell: Shell, tmp_path: Path) -> None:
    shell.action("thing_check", "return self.config")
    (tmp_path / "st2" / "configs").mkdir(parents=True)
    (tmp_path / "st2" / "configs" / "ha.yaml").write_text("from: node\n")
    (shell.pack / "ha.yaml").write_text("from: pack\n")
    assert shell.json("thing_check")[1] == {"from": "pack"}
    shell.env["ST2HA_STACKSTORM"] = str(tmp_path / "st2")
    assert shell.json("thing_check")[1] == {"from": "node"}


def test_lists_and_help_in_text_and_json(shell: Shell) -> None:
    shell.action(
        "thing_apply", "return 1", "{dry_run: {type: boolean}, who: {type: string, enum: [a, b], position: 1}}"
    )
    shell.action("thing_check", "return 1")
    code, out, _ = shell.run("list")
    assert code == 0 and "thing_apply  yes     The thing_apply action." in out
    assert [row["name"] for row in shell.json("list")[1]["content"]] == ["thing_apply", "thing_check"]
    code, out, _ = shell.run("thing_apply", "--help")
    assert code == 0 and "[who]" in out and "One of: a, b." in out
    assert shell.run("--version")[1] == "st2ha 1.2.3\n"
    assert shell.run()[0] == 64 and shell.run("help")[0] == 0


def test_tables_and_findings_as_plain_text(shell: Shell) -> None:
    body = """
rows = [{'name': 'mongo1', 'up': True, 'lag_s': 0.5}, {'name': 'm2', 'up': False, 'lag_s': None}]
return (True, {'summary': 'CRITICAL MongoDB: \\x1b[31mno primary', 'severity': 'critical',
        'findings': ['CRITICAL NoPrimary rs0: stopped. Next: start'], 'facts': {'members': rows, 'n': 5},
        'plan': {'goal': 'a primary', 'steps': [{'verb': 'step_up', 'target': 'mongo1', 'because': 'newest'}]},
        'steps_done': [{'number': 1, 'verb': 'step_up', 'target': 'mongo1', 'note': 'elected', 'took_s': 0.5}]})
"""
    shell.action("thing_check", body)
    code, out, _ = shell.run("thing_check")
    assert code == 2 and out.splitlines() == [
        "CRITICAL MongoDB:  [31mno primary",
        "  CRITICAL NoPrimary rs0: stopped. Next: start",
        "plan: a primary",
        "  1. step_up mongo1: newest [done (0.50 s): elected]",
        "",
        "members",
        "  name    up   lag_s",
        "  mongo1  yes  0.5",
        "  m2      no   -",
    ]


def test_the_journal_of_a_writing_action(shell: Shell) -> None:
    body = """
import json, os
def tell(**entry):
    with open(os.environ['ST2HA_JOURNAL'], 'a') as file:
        file.write(json.dumps({'run': os.environ['ST2HA_RUN_ID'], 'at': 'x', **entry}) + '\\n')
tell(event='plan', goal='a primary', steps=[{'verb': 'v', 'target': 't', 'because': 'b'}])
tell(event='step', number=1, verb='v', target='t', state='started')
tell(event='step', number=1, verb='v', target='t', state='done', note='seen', took_s=0.25)
tell(event='outcome', status='done', reason='')
return (True, {'summary': 'OK done', 'severity': 'ok'})
"""
    parameters = "{dry_run: {type: boolean}, token: {type: string, secret: true}}"
    shell.action("thing_apply", body, parameters)
    shell.action("thing_check", "return 1")
    shell.run("thing_check")
    assert shell.json("history") == (0, [])
    shell.run("thing_apply", "token=hunter2", "--dry-run")
    journal = shell.state / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"run": "cut sho')
    code, (run,) = shell.json("history")
    assert "hunter2" not in journal.read_text() and stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert (run["action"], run["status"], run["exit"]) == ("ha.thing_apply", "done", 0)
    assert run["parameters"] == {"dry_run": True, "token": "********"} and run["summary"] == "OK done"
    assert run["steps"][0]["note"] == "seen" and run["goal"] == "a primary"
    code, out, _ = shell.run("history", "--last", "1")
    assert code == 0 and "    1. v t [done (0.25 s): seen]" in out and "ha.thing_apply" in out


def test_a_journal_that_cannot_be_kept_does_not_stop_the_action(shell: Shell, tmp_path: Path) -> None:
    shell.action("thing_apply", "return (True, {'summary': 'OK', 'severity': 'ok'})", "{dry_run: {type: boolean}}")
    (tmp_path / "file").write_text("")
    shell.env["ST2HA_STATE_DIR"] = str(tmp_path / "file" / "state")
    code, _, err = shell.run("thing_apply")
    assert code == 0 and "no journal is kept" in err


def test_keys_by_hand(shell: Shell) -> None:
    assert shell.run("key", "set", "node1.sensor_partition", stdin="a,b\n")[0] == 0
    assert shell.run("key", "get", "node1.sensor_partition")[1] == "a,b\n"
    shell.run("key", "set", "password", "--secret", stdin="hunter2\n")
    assert "hunter2" not in shell.run("key", "list")[1] and shell.json("key", "list")[1][0]["value"] == "a,b"
    assert shell.run("key", "delete", "password")[0] == 0 and shell.run("key", "delete", "password")[0] == 64


def test_a_closed_pipe_is_no_traceback(shell: Shell) -> None:
    shell.action("thing_check", "return 'x' * 1000000")
    process = shell.start("thing_check")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert "Traceback" not in process.communicate(timeout=30)[1]


def test_bin_st2ha_finds_virtualenv_and_libraries_of_a_stackstorm_node(shell: Shell, tmp_path: Path) -> None:
    """The pack's virtualenv there lacks PyYAML: pip leaves out what StackStorm has."""
    import venv

    import yaml

    node, version = tmp_path / "node", f"python{sys.version_info[0]}.{sys.version_info[1]}"
    venv.create(node / "virtualenvs" / "ha", with_pip=False, symlinks=True)
    (node / "st2" / "lib" / version).mkdir(parents=True)
    (node / "st2" / "lib" / version / "site-packages").symlink_to(Path(yaml.__file__).parents[1])
    shell.action("thing_check", "import sys, yaml\nreturn {'prefix': sys.prefix, 'yaml': yaml.__file__}")
    (shell.pack / "actions" / "lib").symlink_to(LIBRARY)
    (shell.pack / "bin").mkdir()
    (shell.pack / "bin" / "st2ha").write_text((LIBRARY.parents[1] / "bin" / "st2ha").read_text())
    env = {name: value for name, value in shell.env.items() if name != "PYTHONPATH"}
    command = ["python3", str(shell.pack / "bin" / "st2ha"), "thing_check", "--json"]
    run = subprocess.run(
        command, env={**env, "ST2HA_STACKSTORM": str(node)}, capture_output=True, text=True, check=False
    )
    assert run.stderr == "" and run.returncode == 0
    told = json.loads(run.stdout)
    assert told["prefix"] == str(node / "virtualenvs" / "ha") and str(node / "st2") in told["yaml"]
