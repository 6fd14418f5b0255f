"""The command line: `st2ha [options] COMMAND [name=value ...]`; options may stand anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from st2ha.errors import BadInput
from st2ha.local.metadata import Action, did_you_mean

USAGE = """\
usage: st2ha [options] COMMAND [name=value ...]

  st2ha list                        the actions, workflows and sensors of this pack
  st2ha ACTION [name=value ...]     run an action or a workflow; `st2ha ACTION --help` shows its parameters
  st2ha run WORKFLOW [name=value]   run a workflow
  st2ha sensor SENSOR               run a sensor and print what it dispatches
  st2ha history                     what writing actions planned and did
  st2ha key set|get|delete|list     the local stand-in for StackStorm's datastore (set reads the value from stdin)

options
  --json              results, errors and events as JSON
  --config PATH       the pack's configuration; else $ST2HA_CONFIG, /opt/stackstorm/configs/ha.yaml, ha.yaml of the pack
  --deployment NAME   the parameter `deployment`
  --dry-run           the parameter `dry_run`: plan, write nothing
  --answer NAME=VALUE answer a workflow's question (may be repeated)
  --seconds N         stop a sensor after N seconds
  --eventlet          run a sensor patched by eventlet, as StackStorm does
  --last N            the last N runs of the history
  --ttl N             seconds that a key lives (key set)
  --secret            keep a key's value masked (key set)
  --debug             a traceback where an action breaks
  --help, --version

exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also: it failed), 64 wrong usage"""

_SWITCHES = {"--json", "--dry-run", "--eventlet", "--debug", "--help", "--version", "--secret"}
_VALUED = {"--config", "--deployment", "--answer", "--seconds", "--last", "--ttl"}
_PAIR = re.compile(r"^([A-Za-z_][A-Za-z0-9_-]*)=(.*)$", re.DOTALL)


@dataclass
class Options:
    """What was asked for."""

    words: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    json: bool = False
    dry_run: bool = False
    eventlet: bool = False
    debug: bool = False
    help: bool = False
    version: bool = False
    secret: bool = False
    config: str | None = None
    deployment: str | None = None
    seconds: float | None = None
    last: int | None = None
    ttl: float | None = None


def parse(argv: list[str]) -> Options:
    """Options and words; BadInput names an unknown option and the one that was probably meant."""
    options = Options()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            options.words += rest
            break
        if not word.startswith("-") or word == "-":
            options.words.append(word)
            continue
        name, given, value = word.partition("=")
        name = "--help" if name == "-h" else name
        if name in _SWITCHES and not given:
            setattr(options, name[2:].replace("-", "_"), True)
        elif name in _VALUED:
            if not given and not rest:
                raise BadInput(f"option {name} lacks its value: write {name}=VALUE")
            _set(options, name, value if given else rest.pop(0))
        elif name in _SWITCHES:
            raise BadInput(f'option {name} takes no value, not "{value}": write {name} alone')
        else:
            hint = did_you_mean(name, sorted(_SWITCHES | _VALUED), "parameters are written name=value")
            raise BadInput(f"there is no option {name}{hint}")
    return options


def _set(options: Options, name: str, value: str) -> None:
    if name == "--answer":
        pair = _PAIR.match(value)
        if not pair:
            raise BadInput(f'option --answer is "{value}": write --answer NAME=VALUE')
        options.answers[pair.group(1)] = pair.group(2)
    elif name in ("--seconds", "--ttl", "--last"):
        setattr(options, name[2:], _positive(name, value))
    else:
        setattr(options, name[2:], value)


def _positive(name: str, value: str) -> float:
    try:
        number = int(value) if name == "--last" else float(value)
    except ValueError:
        number = 0
    if not 0 < number < 1e9:
        raise BadInput(f'option {name} is "{value}": give a positive number')
    return number


def given_parameters(action: Action, words: list[str], options: Options) -> dict[str, Any]:
    """The values of `name=value` words, of positional words, and of the options that are parameters."""
    from st2ha.local import parameters

    given: dict[str, Any] = {}
    free = [name for name in action.positions if not action.parameters[name].get("immutable")]
    for word in words:
        pair = _PAIR.match(word)
        if pair:
            name, text = pair.group(1), pair.group(2)
            name = name if name in action.parameters else name.replace("-", "_")
        else:
            name, text = _next_position(action, free, given, word), word
        if name in given:
            raise BadInput(f"{action.ref}: {name} is given twice: give it once")
        given[name] = parameters.from_text(action, name, text)
    for option, name, value in (("--deployment", "deployment", options.deployment), ("--dry-run", "dry_run", True)):
        if value is None or (name == "dry_run" and not options.dry_run):
            continue
        if name not in action.own_parameters:
            raise BadInput(f"{action.ref} has no parameter {name}: leave {option} out")
        if given.get(name, value) != value:
            raise BadInput(f"{action.ref}: {name} is given twice, by {option} too: give it once")
        given[name] = value
    return given


def _next_position(action: Action, free: list[str], given: dict[str, Any], word: str) -> str:
    for name in free:
        if name not in given:
            return name
    count = len(free)
    takes = f"it takes {count} without a name" if count else "write its parameters as name=value"
    raise BadInput(f'{action.ref}: "{word}" has no place: {takes}')
