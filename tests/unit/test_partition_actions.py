"""partition_lookup and partition_plan as StackStorm runs them: parameters in, a result of their output_schema out."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from metadata.results import check_result
from st2ha.config import select
from st2ha.errors import BadInput
from st2ha.partition.settings import Sensors
from tests.replay import Replay, replaying

ROOT = Path(__file__).resolve().parents[2]
REFS = ["linux.FileWatchSensor", "aws.SQSSensor", "git.GitCommitSensor", "jira.JiraSensor"]


def run(action: str, config: dict[str, Any] | None = None, **parameters: Any) -> tuple[bool, dict[str, Any]]:
    """The entry's class, given every parameter that its metadata has."""
    spec = importlib.util.spec_from_file_location(action, ROOT / "actions" / f"{action}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known = yaml.safe_load((ROOT / "actions" / f"{action}.yaml").read_text())["parameters"]
    values = {
        name: node.get("default") for name, node in known.items() if name not in ("env", "debug", "content_version")
    }
    assert set(parameters) <= set(values)
    entry = getattr(module, "".join(word.title() for word in action.split("_")))(config or {}, None)
    good, result = entry.run(**{**values, **parameters})
    assert check_result(action, json.loads(json.dumps(result))) == []
    return good, result


def fleet(**sensors: Any) -> dict[str, Any]:
    nodes = [{"name": "nodeA", "hash_ranges": "0..2147483648"}, {"name": "nodeB", "hash_ranges": "2147483648..MAX"}]
    return {"deployments": [{"name": "lab", "sensors": {"provider": "hash", "nodes": nodes, **sensors}}]}


def refused(action: str, config: dict[str, Any] | None = None, **parameters: Any) -> str:
    good, result = run(action, config, **parameters)
    assert not good
    assert result["kind"] == "bad_input", result
    assert result["summary"].startswith("WRONG INPUT")
    return str(result["error"])


# -- partition_lookup


def test_lookup_needs_no_configuration() -> None:
    good, result = run("partition_lookup", refs=["pack.Sensor-for-A"])
    assert good
    assert result["sensors"] == [{"ref": "pack.Sensor-for-A", "hash": 1890074720, "owner": None}]
    assert result["summary"] == "OK 1 looked up: hashes only, no partition is known"


def test_lookup_in_the_configured_ranges() -> None:
    refs = ["pack.Sensor-for-A", "pack.SENSOR-for-A"]
    good, result = run("partition_lookup", fleet(), refs=refs)
    assert good
    assert [row["owner"] for row in result["sensors"]] == ["nodeA", "nodeB"]


def test_lookup_of_ranges_that_overlap_and_leave_a_gap() -> None:
    today = {"a": "MIN..2000000000", "b": "1800000000..2600000000"}
    _, result = run("partition_lookup", refs=["pack.Sensor-for-A", "pack.SensorForA", "pack.SENSOR-for-A"], today=today)
    assert [row["owner"] for row in result["sensors"]] == ["a, b", "b", None]
    assert result["severity"] == "warning"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"refs": []}, "parameter `refs` is empty: name sensors"),
        ({"refs": ["nodot"]}, "parameter `refs` has 'nodot': write pack.ClassName"),
        ({"refs": [7]}, "parameter `refs` has 7: write pack.ClassName"),
        ({"refs": REFS, "today": {"a": 5}}, "parameter `today` has 5 for 'a': write ranges as text"),
        ({"refs": REFS, "deployment": "lab"}, "the configuration has no `deployments`"),
    ],
)
def test_lookup_refuses(parameters: dict[str, Any], words: str) -> None:
    assert words in refused("partition_lookup", **parameters)


# -- partition_plan


@pytest.mark.parametrize("provider", ["hash", "kvstore", "file"])
def test_a_plan_from_parameters_alone(provider: str) -> None:
    good, result = run("partition_plan", provider=provider, nodes=["sensor1", "sensor2:3"], sensors=REFS)
    assert good
    assert [row["sensors"] for row in result["nodes"]] == [1, 3]
    assert result["proof"]["holds"]
    assert (
        result["summary"]
        == f"PLAN {provider}: 4 sensors on 2 nodes, fullest 1.00 x the mean (possible 1.00), today unknown"
    )
    assert ("file" in result, "keys" in result) == (provider == "file", provider == "kvstore")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "s.txt",
            "# all of them\nlinux.FileWatchSensor\naws.SQSSensor 3 # heavy\n\ngit.GitCommitSensor\njira.JiraSensor\n",
        ),
        (
            "s.yaml",
            "- linux.FileWatchSensor\n- {ref: aws.SQSSensor, cost: 3}\n- git.GitCommitSensor\n- jira.JiraSensor\n",
        ),
        (
            "s.json",
            json.dumps([{"ref": ref, "enabled": True, **({"cost": 3} if "aws" in ref else {})} for ref in REFS]),
        ),
    ],
)
def test_sensors_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    _, result = run("partition_plan", provider="kvstore", nodes=["a", "b"], sensors_file=str(tmp_path / name))
    assert sorted(row["load"] for row in result["nodes"]) == [3.0, 3.0]


def test_the_recorded_fleet_from_the_api(tmp_path: Path) -> None:
    with replaying(Replay()) as replay:
        config = fleet()
        config["deployments"][0]["stackstorm"] = {"api_url": replay.url, "api_key": replay.api_key}
        good, result = run("partition_plan", config)
        assert good, result
        # linux.FileWatchSensor and probe.ProbeSensor both hash below 2^31: recorded on one node.
        assert result["facts"]["today"] == [
            {"node": "nodeA", "provider": "hash", "sensors": 2, "trouble": None},
            {"node": "nodeB", "provider": "hash", "sensors": 0, "trouble": None},
        ]
        assert len(result["moves"]) == 1
        assert [row["sensors"] for row in result["nodes"]] == [1, 1]
        config["deployments"][0]["sensors"] = {"provider": "kvstore", "nodes": [{"name": "nodeA"}, {"name": "node9"}]}
        good, result = run("partition_plan", config, provider="kvstore", cost_by="polling")
        assert result["facts"]["today"][1]["trouble"] == "the key node9.sensor_partition is missing"
        assert result["moves"] == [{"sensor": "linux.FileWatchSensor", "from": "nobody", "to": "node9"}]
        # ProbeSensor polls every 4 s: 15 a minute.
        assert [row["load"] for row in result["nodes"]] == [15.0, 1.0]


def test_today_from_the_partition_file(tmp_path: Path) -> None:
    path = tmp_path / "partition.yaml"
    path.write_text("nodeA: [linux.FileWatchSensor, aws.SQSSensor]\nnodeB: [jira.JiraSensor]\n")
    config = fleet(provider="file", partition_file=str(path), nodes=[{"name": "nodeA"}, {"name": "nodeB"}])
    _, result = run("partition_plan", config, provider="file", deployment="lab", sensors=REFS)
    assert result["moves"] == [{"sensor": "git.GitCommitSensor", "from": "nobody", "to": "nodeB"}]
    assert yaml.safe_load(result["file"])["nodeB"] == ["git.GitCommitSensor", "jira.JiraSensor"]
    path.write_text("nodeA: linux.FileWatchSensor\n")
    words = refused("partition_plan", config, provider="file", deployment="lab", sensors=REFS)
    assert "what it has for 'nodeA' is no list of references, and runs nothing" in words


@pytest.mark.parametrize(("provider", "sensors"), [("file", 4), ("kvstore", 0)])
def test_an_empty_list_of_today_is_read_as_the_provider_reads_it(provider: str, sensors: int) -> None:
    today = {"a": [], "b": REFS}
    _, result = run("partition_plan", provider=provider, nodes=["a", "b"], sensors=REFS, today=today)
    assert result["facts"]["today"][0]["sensors"] == sensors


def test_wishes_and_costs_of_the_configuration() -> None:
    nodes = [{"name": "nodeA", "never": ["aws"]}, {"name": "nodeB", "preferred": ["jira.JiraSensor"]}]
    config = fleet(nodes=nodes, provider=None, costs={"git.GitCommitSensor": 2})
    _, result = run("partition_plan", config, provider="file", deployment="lab", sensors=REFS)
    lists = yaml.safe_load(result["file"])
    assert "aws.SQSSensor" in lists["nodeB"]
    assert result["facts"]["nodes"][0]["load"] + result["facts"]["nodes"][1]["load"] == 5


GOOD: dict[str, Any] = {"nodes": ["a", "b"], "sensors": REFS}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"nodes": ["a", "a"]}, "parameter `nodes` has 'a' twice: name each once"),
        ({"nodes": ["a:0"]}, "parameter `nodes` has 'a:0', whose number is '0': it must be a number above 0"),
        ({"nodes": ["a:x"]}, "whose number is 'x': it must be a number above 0"),
        ({"nodes": ["a:nan"]}, "whose number is 'nan': it must be a number above 0"),
        ({"nodes": ["a b"]}, "parameter `nodes` has 'a b': write sensor1 or sensor2:2"),
        ({"sensors": ["x"]}, "parameter `sensors` has 'x': write linux.FileWatchSensor or aws.SQSSensor:3"),
        ({"sensors": [*REFS, REFS[0]]}, "parameter `sensors` has 'linux.FileWatchSensor' twice"),
        ({"sensors_file": "/x"}, "parameters `sensors` and `sensors_file` are both given"),
        (
            {"sensors": None, "sensors_file": "/no/such"},
            "`sensors_file` is '/no/such': cannot be read (No such file or directory)",
        ),
        ({"never": ["aws"]}, "parameter `never` has 'aws': write a sensor or pack and a node, aws@sensor1"),
        ({"never": ["aws@c"]}, "parameter `never` has 'aws@c': no such node, use one of a, b"),
        ({"never": ["azure@a"]}, "parameter `never` has 'azure@a': no such sensor or pack"),
        ({"never": ["aws@a", "aws@b"]}, "parameter `never` leaves no node for 'aws.SQSSensor'"),
        ({"provider": "redis"}, "parameter `provider` is 'redis': use one of hash, kvstore, file"),
        ({"moves": "all"}, "parameter `moves` is 'all': use one of few, any"),
        ({"cost_by": "cpu"}, "parameter `cost_by` is 'cpu': use one of equal, polling"),
        ({"partition_file": "p.yaml"}, "parameter `partition_file` is 'p.yaml': give an absolute path"),
        ({"partition_file": "/a,b"}, "without comma"),
        ({"today": ["a"]}, "parameter `today` is ['a']: write node and ranges"),
        ({"nodes": None}, "the configuration has no `deployments`"),
    ],
)
def test_plan_refuses(parameters: dict[str, Any], words: str) -> None:
    assert words in refused("partition_plan", **{**GOOD, **parameters})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.yaml", "a: [", "it is no YAML"),
        ("s.yaml", "a: 1", "it holds no list"),
        ("s.yaml", "- {name: x}", "entry 1 is {'name': 'x'}: write pack.ClassName, or a row with `ref`"),
        ("s.txt", "p.S\nnodot", "entry 2 is 'nodot': write pack.ClassName"),
        ("s.txt", "p.S zero", "entry 1 cost is 'zero': it must be a number above 0"),
        ("s.txt", "p.S 0", "entry 1 cost is '0': it must be a number above 0"),
        ("s.json", '[{"ref": "p.S", "poll_interval": -4}]', "entry 1 poll_interval is -4"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    path = str(tmp_path / name)
    sentence = refused("partition_plan", nodes=["a"], sensors_file=path, cost_by="polling")
    assert path in sentence
    assert words in sentence


@pytest.mark.parametrize(
    ("sensors", "words"),
    [
        ({"nodes": []}, "sensors.nodes is empty: list the sensor nodes by their sensor_node_name"),
        ({"nodes": [{"name": "a"}, {"name": "a"}]}, "sensors.nodes[1].name is 'a', which is used twice"),
        ({"nodes": [{"name": "a", "weight": 0}]}, "sensors.nodes[0].weight is 0: it must be between 1e-06 and 1e+09"),
        ({"nodes": [{"name": "a", "nevr": []}]}, "nodes[0].nevr is not a setting: did you mean `never`?"),
        ({"nodes": [{"name": "a", "never": "aws"}]}, "nodes[0].never must be a list of references or packs"),
        ({"provider": "hsah"}, "sensors.provider is 'hsah': use one of default, hash, kvstore, file"),
        ({"costs": {"p.S": "x"}}, "sensors.costs.p.S is 'x': it must be a number"),
    ],
)
def test_what_is_wrong_with_the_layer(sensors: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        select(fleet(**sensors))
    assert words in str(caught.value)


def test_the_example_is_a_fleet() -> None:
    text = (ROOT / "ha.yaml.example").read_text()
    found = select({"deployments": [{"name": "d", "sensors": yaml.safe_load(text)["deployments"][0]["sensors"]}]})
    layer: Sensors = found.require("sensors")
    assert [node.name for node in layer.nodes] == ["sensor1", "sensor2"]
    assert [place.host for place in layer.places] == ["sensor1.example.com", "sensor2.example.com"]
