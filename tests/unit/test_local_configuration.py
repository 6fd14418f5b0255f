"""The configuration as an action gets it: defaults deep inside, datastore values, secrets, and broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from st2ha.errors import BadInput
from st2ha.local.configuration import load
from st2ha.local.expressions import KeyLookup

SCHEMA = """
level: {type: string, default: info}
limits:
  type: object
  properties:
    lag_s: {type: number, default: 10}
deployments:
  type: array
  items:
    type: object
    properties:
      name: {type: string, required: true}
      port: {type: integer, default: 27017}
      mongodb:
        type: object
        properties:
          password: {type: string, secret: true}
          tls: {type: boolean, default: false}
tags: {type: object, additionalProperties: {type: object, properties: {up: {type: boolean, default: true}}}}
"""
KV = KeyLookup(lambda name: {"system.mongo": "s3cret-s3cret"}.get(name))


def loaded(path: Path, text: str, schema: str = SCHEMA):  # type: ignore[no-untyped-def]
    (path / "schema.yaml").write_text(schema)
    (path / "ha.yaml").write_text(text)
    return load(path / "ha.yaml", path / "schema.yaml", KV)


def test_defaults_reach_into_arrays_and_objects(tmp_path: Path) -> None:
    config = loaded(tmp_path, "deployments: [{name: a}, {name: b, port: 1, mongodb: {tls: true}}]\ntags: {x: {}}\n")
    assert config.values == {
        "level": "info",
        "limits": {"lag_s": 10},
        "deployments": [
            {"name": "a", "port": 27017, "mongodb": {"tls": False}},
            {"name": "b", "port": 1, "mongodb": {"tls": True}},
        ],
        "tags": {"x": {"up": True}},
    }


def test_a_missing_object_with_required_parts_is_no_error(tmp_path: Path) -> None:
    schema = "a: {type: object, properties: {host: {type: string, required: true}, port: {type: integer, default: 1}}}"
    assert loaded(tmp_path, "b: 1", schema).values == {"a": {"port": 1}, "b": 1}
    with pytest.raises(BadInput, match=r"a\.host is required: give it"):
        loaded(tmp_path, "a: {port: 2}", schema)


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    config = load(None, tmp_path / "schema.yaml", KV)
    assert config.values == {"level": "info", "limits": {"lag_s": 10}, "deployments": [], "tags": {}}


def test_values_of_the_datastore_and_secrets(tmp_path: Path) -> None:
    text = "deployments: [{name: a, mongodb: {password: '{{ st2kv.system.mongo }}'}}]"
    config = loaded(tmp_path, text)
    assert config.values["deployments"][0]["mongodb"]["password"] == "s3cret-s3cret"
    assert config.secrets == {"s3cret-s3cret"} and "s3cret" not in repr(config)


def test_a_key_that_cannot_be_read_is_a_warning_with_the_way_out(tmp_path: Path) -> None:
    text = "deployments: [{name: a, mongodb: {password: '{{st2kv.system.nothing | decrypt_kv}}'}}]"
    config = loaded(tmp_path, text)
    assert config.values["deployments"][0]["mongodb"]["password"] is None
    assert "deployments.0.mongodb.password" in config.warnings[0] and "password_file" in config.warnings[0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1\nb: 2", "is not valid YAML at line 2"),
        ("password: 'hunter2\n", "is not valid YAML at line"),
        ("- a\n", "holds a list, not a mapping"),
        ("deployments: [{name: a, port: x}]", 'deployments[0].port must be of type integer, not "x"'),
        ("deployments: [{port: 1}]", "deployments[0].name is required: give it"),
        ("deployments: [{name: a, mongodb: {password: 5}}]", "password must be of type string, not ********"),
        ("level: '{{ nothing.at.all }}'", "level is {{ nothing.at.all }}, which cannot be rendered"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        loaded(tmp_path, text)
    assert sentence in str(error.value) and "hunter2" not in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "ha.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="is not UTF-8 text"):
        load(tmp_path / "ha.yaml", tmp_path / "none.yaml", KV)
