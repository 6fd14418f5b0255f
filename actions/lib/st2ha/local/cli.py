"""`st2ha`: the commands. Every error ends as one sentence and an exit code, never as a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st2ha.errors import BadInput, HaError
from st2ha.local import arguments, places, render
from st2ha.local.arguments import Options
from st2ha.local.metadata import Action, Pack, pack_version
from st2ha.local.places import Places
from st2ha.local.render import Block

if TYPE_CHECKING:
    from st2ha.local.runner import Finished, Runner

USAGE = 64


def main(argv: list[str], pack: str) -> int:
    """Run one command; return the exit code."""
    as_json, debug = "--json" in argv, "--debug" in argv
    try:
        places.use_stackstorm_libraries()
        code = _command(arguments.parse(argv), Path(pack))
        sys.stdout.flush()
        return code
    except BadInput as error:
        return _tell_failure(error.kind, str(error), as_json, USAGE)
    except HaError as error:
        return _tell_failure(error.kind, str(error), as_json, 3)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 3
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # (a person in an emergency gets a sentence, not our traceback)
        if debug:
            raise
        message = f"st2ha failed: {type(error).__name__}: {' '.join(str(error).split())} (--debug tells more)"
        return _tell_failure("failed", message, as_json, 3)


def _command(options: Options, pack_path: Path) -> int:
    pack = Pack.at(Places(pack_path, places.state_directory()))
    if options.version:
        print(f"st2ha {pack_version(pack_path)}")
        return 0
    if not options.words or options.words[0] == "help":
        print(arguments.USAGE)
        return 0 if options.help or options.words else USAGE
    name, words = options.words[0], options.words[1:]
    if name in _COMMANDS and not options.help:
        return _COMMANDS[name](pack, words, options)
    if name in _COMMANDS and name != "run":
        print(arguments.USAGE)
        return 0
    if name == "run":
        name, words = _one_name(words, "run", "WORKFLOW"), words[1:]
    action = pack.action(name)
    return _help(action, options) if options.help else run_action(pack, action, words, options)


def _one_name(words: list[str], command: str, what: str) -> str:
    if not words:
        raise BadInput(f"st2ha {command} lacks a name: write `st2ha {command} {what}`; `st2ha list` shows them")
    return words[0]


def _run(pack: Pack, words: list[str], options: Options) -> int:
    action = pack.action(_one_name(words, "run", "WORKFLOW"))
    return run_action(pack, action, words[1:], options)


def run_action(pack: Pack, action: Action, words: list[str], options: Options) -> int:
    """Run an action or a workflow, show its result, return its exit code."""
    given = arguments.given_parameters(action, words, options)
    runner = _runner(pack, options)
    with runner.children.forwarding():
        if action.is_workflow:
            from st2ha.local.workflow import run_workflow

            finished = run_workflow(runner, action, given, options.answers)
        else:
            finished = runner.run(action, given)
    _tell(finished, options)
    return finished.exit_code


def _runner(pack: Pack, options: Options) -> Runner:
    config = places.config_file(options.config, pack.places.pack, pack.name)
    from st2ha.local.runner import Runner

    runner = Runner(pack, config, debug=options.debug, warn=_warn)
    if sys.stderr.isatty() and not options.json:
        from st2ha.local.progress import follow

        runner.follow = follow
    return runner


def _warn(text: str) -> None:
    print(f"st2ha: {render.clean(text)}", file=sys.stderr)


def _tell(finished: Finished, options: Options) -> None:
    """The result on stdout, where monitoring reads it; wrong input on stderr alone, unless JSON was asked for."""
    verdict = finished.verdict
    error = verdict.get("error") if isinstance(verdict, dict) and not finished.outcome.succeeded else None
    if error and (options.json or finished.exit_code == USAGE):
        _warn(str(error))
    if options.json:
        render.show_json(finished.shown)
    elif finished.exit_code != USAGE or not error:
        render.show(render.result_blocks(verdict))


def _tell_failure(kind: str, message: str, as_json: bool, code: int) -> int:
    _warn(message)
    if as_json:
        from st2ha.stackstorm import failure

        render.show_json(failure(message, kind))
    return code


def _list(pack: Pack, words: list[str], options: Options) -> int:
    kinds = {True: "workflow", False: "action"}
    rows = [
        {"kind": kinds[a.is_workflow], "name": a.name, "writes": a.writes, "description": a.description}
        for a in pack.actions()
    ]
    rows.sort(key=lambda row: (row["kind"], row["name"]))
    sensors = [
        {"kind": "sensor", "name": s.name, "class": s.class_name, "description": s.description} for s in pack.sensors()
    ]
    if options.json:
        render.show_json({"pack": pack.name, "version": pack_version(pack.places.pack), "content": rows + sensors})
        return 0
    blocks = []
    for kind, columns in (
        ("action", ("name", "writes", "description")),
        ("workflow", ("name", "writes", "description")),
    ):
        chosen = [row for row in rows if row["kind"] == kind]
        if chosen:
            blocks.append(render.table(f"{kind}s", chosen, columns))
    if sensors:
        blocks.append(render.table("sensors", sensors, ("name", "description")))
    render.show(blocks)
    return 0


def _help(action: Action, options: Options) -> int:
    shown = action.shown_parameters
    if options.json:
        render.show_json({"name": action.name, "description": action.description, "parameters": shown})
        return 0
    places_of = {name: f"[{name}]" for name in action.positions}
    blocks = [Block(f"{action.ref}: {action.description}", "bold")]
    blocks.append(Block(f"usage: st2ha {action.name} {' '.join(places_of.values())} [name=value ...]"))
    rows = [
        {
            "name": name,
            "type": schema.get("type", "string"),
            "default": "required" if schema.get("required") and "default" not in schema else schema.get("default"),
            "description": _described(schema),
        }
        for name, schema in shown.items()
    ]
    if rows:
        blocks.append(render.table("parameters", rows))
    render.show(blocks)
    return 0


def _described(schema: dict[str, Any]) -> str:
    text = " ".join(str(schema.get("description") or "").split())
    if schema.get("enum"):
        text += f" One of: {', '.join(str(item) for item in schema['enum'])}."
    return text + (" Fixed." if schema.get("immutable") else "")


def _history(pack: Pack, words: list[str], options: Options) -> int:
    from st2ha.local import history

    return history.show(pack.places.journal, options.last, options.json)


def _sensor(pack: Pack, words: list[str], options: Options) -> int:
    from st2ha.local import sensor

    found = pack.sensor(_one_name(words, "sensor", "SENSOR"))
    return sensor.run(_runner(pack, options), found, options)


def _key(pack: Pack, words: list[str], options: Options) -> int:
    from st2ha.local import keys

    return keys.run(pack.places, words, options)


_COMMANDS: dict[str, Callable[[Pack, list[str], Options], int]] = {
    "list": _list,
    "run": _run,
    "sensor": _sensor,
    "history": _history,
    "key": _key,
}
