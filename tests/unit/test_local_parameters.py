"""Parameters: from words on the command line to what run() gets, and the sentence for everything that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from st2ha.errors import BadInput
from st2ha.local.arguments import Options, given_parameters, parse
from st2ha.local.expressions import KeyLookup
from st2ha.local.metadata import PYTHON, Action
from st2ha.local.parameters import resolve, split

KEYS = {"colour": "blue", "node1.sensor_partition": "a,b"}
KV = KeyLookup(lambda name: KEYS.get(name.removeprefix("system.")))


def action(**parameters: dict[str, Any]) -> Action:
    return Action("ha", "thing_check", PYTHON, Path("thing.py"), own_parameters=parameters)


def resolved(act: Action, *words: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    given = given_parameters(act, list(words), Options())
    return split(act, resolve(act, given, config or {}, KV))[0]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, "", ""),
        ({"type": "string"}, "a=b", "a=b"),
        ({"type": "integer"}, "-5", -5),
        ({"type": "number"}, "2.5", 2.5),
        ({"type": "number"}, "3", 3.0),
        ({"type": "boolean"}, "yes", True),
        ({"type": "boolean"}, "False", False),
        ({"type": "array"}, "a, b,c", ["a", "b", "c"]),
        ({"type": "array"}, '["a,b"]', ["a,b"]),
        ({"type": "array", "items": {"type": "integer"}}, "1,2", [1, 2]),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({}, "text", "text"),
    ],
)
def test_a_word_becomes_a_value_of_its_type(schema: dict[str, Any], text: str, value: Any) -> None:
    assert resolved(action(p=schema), f"p={text}") == {"p": value}


@pytest.mark.parametrize(
    ("schema", "text", "sentence"),
    [
        ({"type": "integer"}, "5.5", 'p must be a whole number, not "5.5"'),
        ({"type": "number"}, "nan", 'p must be a number, not "nan"'),
        ({"type": "boolean"}, "maybe", 'p must be true or false, not "maybe"'),
        ({"type": "object"}, "[1]", 'p must be a JSON object, not "[1]"'),
        ({"type": "array"}, "[1", 'p must be words between commas or a JSON list, not "[1"'),
        ({"type": "integer", "secret": True}, "hunter2", "p must be a whole number, not ********"),
        ({"type": "string", "enum": ["soft", "hard"]}, "sotf", 'p must be one of soft, hard, not "sotf"'),
        ({"type": "integer", "minimum": 1}, "0", 'p must be at least 1, not "0"'),
        ({"type": "string", "pattern": "^[a-z]+$"}, "A", 'p must match the pattern ^[a-z]+$, not "A"'),
        ({"type": "array", "items": {"type": "integer"}}, '["x"]', 'p[0] must be of type integer, not "x"'),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}},
            '{"a": 1}',
            'p.a must be of type string, not "1"',
        ),
        ({"type": "string", "anyOf": [{"enum": ["x"]}]}, "y", "p must satisfy anyOf"),
        (
            {"type": "string", "immutable": True, "default": "x"},
            "y",
            'p is fixed at "x" and cannot be "y": leave it out',
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(schema: dict[str, Any], text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        resolved(action(p=schema), f"p={text}")
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_unknown_names_are_told_with_the_one_that_was_meant() -> None:
    act = action(deployment={"type": "string"}, limit_s={"type": "number"})
    with pytest.raises(BadInput, match=r'has no parameter "deploment": did you mean deployment\?'):
        resolved(act, "deploment=x")
    with pytest.raises(BadInput, match="it takes deployment, limit_s"):
        resolved(act, "zzz=x")


def test_positions_dashes_and_options() -> None:
    act = action(
        new_primary={"type": "string", "position": 2},
        deployment={"type": "string", "position": 1},
        dry_run={"type": "boolean"},
    )
    assert resolved(act, "main", "mongo2") == {"deployment": "main", "new_primary": "mongo2", "dry_run": None}
    assert resolved(act, "new-primary=mongo2", "main")["deployment"] == "main"
    options = parse(["x", "--deployment", "a", "--dry-run"])
    assert given_parameters(act, [], options) == {"deployment": "a", "dry_run": True}
    with pytest.raises(BadInput, match='"three" has no place: it takes 2 without a name'):
        resolved(act, "one", "two", "three")
    with pytest.raises(BadInput, match="deployment is given twice"):
        given_parameters(act, ["deployment=b"], options)
    with pytest.raises(BadInput, match="has no parameter dry_run: leave --dry-run out"):
        given_parameters(action(), [], parse(["--dry-run"]))


def test_required_and_the_runners_parameters() -> None:
    act = action(who={"type": "string", "required": True, "description": "Who it is."}, timeout={"default": 30})
    with pytest.raises(BadInput, match=r"needs who \(Who it is\): add who=VALUE"):
        resolved(act)
    assert resolved(act, "who=me") == {"who": "me"}
    runner = split(act, resolve(act, {"who": "me"}, {}, KV))[1]
    assert (runner["timeout"], runner["log_level"]) == (30, "DEBUG")
    assert split(act, resolve(act, {"who": "me", "timeout": 5}, {}, KV))[1]["timeout"] == 5


def test_defaults_are_templates_over_configuration_datastore_and_each_other() -> None:
    act = action(
        b={"type": "string", "default": "{{ a }}!"},
        a={"type": "string", "default": "{{ config_context.name }}"},
        n={"type": "integer", "default": "{{ config_context.hosts | length }}"},
        kv={"type": "string", "default": "{{ st2kv.system.node1.sensor_partition }}"},
        missing={"type": "string", "default": "{{ st2kv.system.nothing | default('x', true) }}"},
        many={"type": "array", "default": ["{{count}}", "{{ count }}"]},
        count={"type": "integer", "default": 2},
        literal={"type": "string", "default": "{{ not a template"},
    )
    got = resolved(act, config={"name": "main", "hosts": ["x", "y"]})
    assert (got["b"], got["n"], got["kv"]) == ("main!", 2, "a,b")
    assert (got["many"], got["literal"]) == ([2, "2"], "{{ not a template")
    assert resolved(act, "a=mine", config={"name": "main", "hosts": []})["b"] == "mine!"


@pytest.mark.parametrize(
    ("default", "words"),
    [("{{ config_context.nothing }}", "cannot be rendered"), ("{{ p }}", "refers to itself")],
)
def test_a_template_that_fails_is_a_sentence(default: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        resolved(action(p={"type": "string", "default": default}))


@pytest.mark.parametrize(
    ("wanted", "given", "value"), [("integer", "5", 5), ("array", "[1, 2]", [1, 2]), ("boolean", "true", True)]
)
def test_values_of_workflows_are_cast_as_stackstorm_casts_them(wanted: str, given: str, value: Any) -> None:
    assert resolve(action(p={"type": wanted}), {"p": given}, {}, KV)["p"] == value


def test_a_number_is_no_string() -> None:
    with pytest.raises(BadInput, match='p must be of type string, not int "5"'):
        resolve(action(p={"type": "string"}), {"p": 5}, {}, KV)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--jsn"], "there is no option --jsn: did you mean --json?"),
        (["--config"], "option --config lacks its value"),
        (["--json=yes"], 'option --json takes no value, not "yes"'),
        (["--seconds", "-1"], 'option --seconds is "-1": give a positive number'),
        (["--answer", "x"], 'option --answer is "x": write --answer NAME=VALUE'),
        (["--zzzzz=5"], "parameters are written name=value"),
    ],
)
def test_wrong_options(argv: list[str], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(argv)
    assert sentence in str(error.value)


def test_options_stand_anywhere() -> None:
    options = parse(["--json", "act", "a=b", "--config=/x", "--answer", "go=a=b", "--", "--json"])
    assert (options.words, options.config, options.answers) == (["act", "a=b", "--json"], "/x", {"go": "a=b"})
