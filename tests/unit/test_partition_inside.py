"""What a node says of itself, parsed: st2.conf's [sensorcontainer], processes, key changes; the layer's settings."""

from __future__ import annotations

from typing import Any

import pytest

from st2ha.config import select
from st2ha.errors import BadInput
from st2ha.partition.facts import key_changes_from, made_at
from st2ha.partition.inside import _is_container_of, _process, _ref, _same, _tells, told_by_conf
from st2ha.partition.providers import Container
from st2ha.partition.settings import START, Place, Sensors, Takeover

WRAPPER = (
    "14928 14917 65 /opt/stackstorm/virtualenvs/probe/bin/python /opt/stackstorm/src/sensor_wrapper.py"
    " --pack=probe --file-path=/opt/x.py --class-name=ProbeSensor --trigger-type-refs=probe.event"
    ' --parent-args=["--config-file", "etc/st2-sens_nodeA.conf"] --poll-interval=4'
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", Container("sensornode1", "default")),
        ("[sensorcontainer]\nsensor_node_name = a\n", Container("a", "default")),
        (
            "[SensorContainer]\npartition_provider = name:Hash, hash_ranges:MIN..1024|4096..MAX\nsensor_node_name=a",
            Container("a", "hash", "MIN..1024|4096..MAX"),
        ),
        ("[sensorcontainer]\npartition_provider = name:kvstore\n", Container("sensornode1", "kvstore")),
        ("[sensorcontainer]\npartition_provider = hash\n", Container("sensornode1", "")),
    ],
)
def test_told_by_conf(text: str, told: Container) -> None:
    assert told_by_conf(text) == (told, None)


def test_the_partition_file_that_st2_conf_names() -> None:
    text = "[sensorcontainer]\npartition_provider = name:file, partition_file:/etc/st2/p.yaml\n"
    assert told_by_conf(text) == (Container("sensornode1", "file"), "/etc/st2/p.yaml")


def test_processes_as_recorded() -> None:
    sensor = _process(WRAPPER)
    assert sensor is not None
    assert (sensor.pid, sensor.parent, sensor.age_s) == (14928, 14917, 65)
    assert _ref(sensor) == "probe.ProbeSensor"
    assert _tells(sensor, "/opt/stackstorm/etc/st2-sens_nodeA.conf")
    assert not _tells(sensor, "/etc/st2/st2.conf") and not _is_container_of(sensor, "/etc/st2/st2.conf")
    container = _process("9 1 3 /opt/stackstorm/st2/bin/python /opt/stackstorm/st2/bin/st2sensorcontainer")
    assert container is not None
    assert _is_container_of(container, "/etc/st2/st2.conf") and not _is_container_of(container, "/etc/st2/b.conf")
    assert _ref(container) is None
    many = _process(
        "9 1 3 python /x/st2sensorcontainer --config-file=/etc/st2/st2.conf --config-file /etc/st2/user.conf"
    )
    assert many is not None
    assert all(_is_container_of(many, f"/etc/st2/{name}.conf") for name in ("st2", "user"))
    assert not _is_container_of(many, "/etc/st2/other.conf")
    editor = _process("9 1 3 vi /etc/default/st2sensorcontainer")
    assert editor is not None
    assert _process("PID PPID") is None and not _is_container_of(editor, "/etc/st2/other.conf")
    assert _same("conf/a.conf", "/x/conf/a.conf") and not _same("/y/a.conf", "/x/a.conf")


def test_when_keys_changed() -> None:
    rows: list[dict[str, Any]] = [
        {"occurrence_time": "2026-11-22T21:00:10Z", "payload": {"new_object": {"name": "a"}, "old_object": {}}},
        {"occurrence_time": "2026-11-22T21:00:05Z", "payload": {"object": {"name": "a"}}},
        {"occurrence_time": "2026-11-22T21:00:00Z", "payload": "no mapping"},
    ]
    assert key_changes_from(rows) == {"a": 1795381210.0}
    assert made_at({"id": "6b034eed84d9ad0ab008d283"}) == 1795378925.0
    assert made_at(None) == made_at({"id": "x"}) == 0.0


def settings(**layer: Any) -> Sensors:
    found: Sensors = select({"deployments": [{"name": "d", "sensors": layer}]}).require("sensors")
    return found


def test_places_have_the_layers_settings_where_they_have_none() -> None:
    nodes = [
        {"name": "a", "host": "a.example.com"},
        {"name": "b", "command": "local", "config_file": "/b.conf", "start_command": "systemctl start st2@{name}"},
    ]
    found = settings(nodes=nodes, command="ssh {host}", takeover={"grace_s": 5, "witness_command": "ping -c 1 {host}"})
    a, b = found.places
    assert a == Place("a", "a.example.com", a.prefix)
    argv = a.door().argv(["x y"])
    assert (argv[0], argv[-2:]) == ("ssh", ["a.example.com", "'x y'"])
    assert (b.prefix, b.config_file, b.words(b.start)) == ((), "/b.conf", ["systemctl", "start", "st2@b"])
    assert a.words(a.start) == START.split()
    assert found.takeover == Takeover(5.0, 1, ("ping", "-c", "1", "{host}"))
    assert found.place("a") is a


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"config_file": "st2.conf"}, "sensors.config_file is 'st2.conf': give an absolute path"),
        ({"stop_command": "x '"}, "sensors.stop_command cannot be read: write it as in a shell"),
        ({"stop_command": "x {port}"}, "with {name} or {host} for the node"),
        ({"takeover": {"grace_s": -1}}, "sensors.takeover.grace_s is -1: it must be between 0 and 3600"),
        ({"takeover": {"grace": 1}}, "sensors.takeover.grace is not a setting: did you mean `grace_s`?"),
        ({"takeover": {"fence_command": "{"}}, "sensors.takeover.fence_command cannot be read"),
    ],
)
def test_what_is_wrong_with_the_settings(layer: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        settings(nodes=[{"name": "a"}], **layer)
    assert words in str(caught.value)
