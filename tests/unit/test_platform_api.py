"""The API's client against recorded answers and a server that misbehaves."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from st2ha.config import select
from st2ha.errors import BadInput, DeadlineExceeded, HaError
from st2ha.platform.api import Api, ApiError
from st2ha.platform.settings import Stackstorm
from tests.replay import Replay, recorded, replaying


@pytest.fixture
def replay() -> Iterator[Replay]:
    with replaying(Replay()) as playing:
        yield playing


def api(replay: Replay, **more: Any) -> Api:
    return Api(Stackstorm(replay.url, **{"api_key": replay.api_key, "timeout_s": 5.0, **more}))


def test_the_recorded_sensors(replay: Replay) -> None:
    with api(replay) as asking:
        assert asking.sensors() == recorded("hash", "sensortypes")["body"]
    assert replay.asked == ["/v1/sensortypes?limit=-1"]


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250, 300])
def test_all_pages_are_read(replay: Replay, size: int) -> None:
    replay.sensors = [{"id": str(n), "ref": f"p.S{n}"} for n in range(size)]
    with api(replay) as asking:
        assert [row["ref"] for row in asking.sensors()] == [f"p.S{n}" for n in range(size)]
    assert len(replay.asked) == 1


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250, 300])
def test_who_is_no_administrator_reads_by_pages(replay: Replay, size: int) -> None:
    replay.admin = False
    replay.answers["/v1/actions"] = [{"id": str(n), "ref": f"p.a{n}"} for n in range(size)]
    with api(replay) as asking:
        assert [row["ref"] for row in asking.rows("/v1/actions")] == [f"p.a{n}" for n in range(size)]
    assert len(replay.asked) == 1 + max(1, -(-size // 100))


def test_a_list_that_cannot_be_paged_is_not_taken_for_the_whole(replay: Replay) -> None:
    """Sensors know no `offset`: the first hundred come again and again."""
    replay.admin = False
    replay.sensors = [{"id": str(n), "ref": f"p.S{n}"} for n in range(100)]
    with api(replay) as asking:
        assert len(asking.sensors()) == 100
    replay.sensors = [{"id": str(n), "ref": f"p.S{n}"} for n in range(101)]
    with api(replay) as asking, pytest.raises(HaError, match=r"100 of 101 rows .* no administrator"):
        asking.sensors()


def test_keys(replay: Replay) -> None:
    with api(replay) as asking:
        assert asking.key("nodeA.sensor_partition") == "probe.ProbeSensor"
        assert asking.key("node9.sensor_partition") is None


def test_without_the_right_key(replay: Replay) -> None:
    with api(replay, api_key="wrong-one") as asking, pytest.raises(ApiError) as caught:
        asking.sensors()
    assert caught.value.status == 401
    where = replay.url.removeprefix("http://")
    assert str(caught.value) == (
        f"StackStorm's API at {where} answers /v1/sensortypes with 401 Unauthorized: "
        "check api_key or token of the layer `stackstorm`"
    )


@pytest.mark.parametrize(("trouble", "words"), [("hung", "within 0.3 s"), ("trickle", "within 0.3 s")])
def test_a_server_that_keeps_us_waiting_costs_the_deadline(replay: Replay, trouble: str, words: str) -> None:
    replay.trouble = trouble
    began = time.monotonic()
    with api(replay, timeout_s=0.3) as asking, pytest.raises(DeadlineExceeded, match=words):
        asking.sensors()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("trouble", "words"), [("html", "with no JSON: check api_url"), ("broken", "cannot be reached|no sense")]
)
def test_answers_that_make_no_sense(replay: Replay, trouble: str, words: str) -> None:
    replay.trouble = trouble
    with api(replay) as asking, pytest.raises(HaError, match=words):
        asking.sensors()


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with Api(Stackstorm(f"http://127.0.0.1:{port}")) as asking, pytest.raises(HaError, match="refuses connections"):
        asking.sensors()


# -- the layer `stackstorm`


def settings(**values: Any) -> Stackstorm:
    found: Stackstorm = select({"deployments": [{"name": "d", "stackstorm": values}]}).require("stackstorm")
    return found


def test_settings(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("abc\n")
    found = settings(api_url="https://st2.example.com/api/v1/", api_key_file=str(tmp_path / "key"), timeout_s=3)
    assert found == Stackstorm("https://st2.example.com/api", api_key="abc", timeout_s=3.0)
    assert "abc" not in repr(found)


def test_nodes_and_where_they_answer() -> None:
    found = settings(
        api_url="http://h",
        vip="https://st2.example.com/",
        command="ssh {name} sudo",
        nodes=[
            {"name": "one", "url": "https://one:8443/", "api_url": "http://one:9101/v1"},
            {"name": "two", "hostname": "vm2", "services": "api, timer_engine", "command": "local"},
        ],
    )
    one, two = found.nodes
    assert [f"{service} {url.host}{url.path}" for service, url in found.vip] == [
        "api st2.example.com:443/api", "auth st2.example.com:443/auth/v1", "stream st2.example.com:443/stream/v1"
    ]  # fmt: skip
    assert [f"{service} {url.host}{url.path} {url.secure}" for service, url in one.endpoints] == [
        "api one:9101 False", "auth one:8443/auth/v1 True", "stream one:8443/stream/v1 True"
    ]  # fmt: skip
    assert one.door().argv(["id"])[-3:] == ["one", "sudo", "id"] and two.door().argv(["id"]) == ["id"]
    assert (one.hostname, "scheduler" in one.services, "timer_engine" in one.services) == ("one", True, False)
    assert (two.hostname, two.services) == ("vm2", ("api", "timer_engine"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"timeout_s": 3}, "deployments[0].stackstorm.api_url is missing"),
        ({"api_url": "st2.example.com"}, "api_url is no address of an API: write it like"),
        ({"api_url": "http://user:hunter2@st2/api"}, "without a login"),
        ({"api_url": "http://h", "api_key": "a", "token": "b"}, "keep the api_key, a token expires"),
        ({"api_url": "http://h", "key": "a"}, "key is not a setting: did you mean `api_key`?"),
        (
            {"api_url": "http://h", "vip": "h"},
            "vip is no address of a service (vip): write it like https://st2.example",
        ),
        ({"api_url": "http://h", "nodes": [{"name": "a", "url": "http://u:hunter2@h"}]}, "nodes[0].url is no address"),
        ({"api_url": "http://h", "nodes": [{"name": "a", "stream_url": "x"}]}, "stream_url is no address of a service"),
        ({"api_url": "http://h", "nodes": [{"name": "a"}, {"name": "a"}]}, "nodes[1].name is 'a', which is used twice"),
        (
            {"api_url": "http://h", "nodes": [{"name": "a", "hostname": "b"}, {"name": "b"}]},
            "hostname is 'b', which is",
        ),
        (
            {"api_url": "http://h", "nodes": [{"name": "a", "services": ["st2api"]}]},
            "services has 'st2api': use api, auth",
        ),
        ({"api_url": "http://h", "nodes": [{"name": "a", "services": 3}]}, "services must be a list of services"),
        ({"api_url": "http://h", "nodes": [{"name": "a", "st2_conf": "st2.conf"}]}, "give absolute paths"),
        ({"api_url": "http://h", "limits": {"running_s": -1}}, "limits.running_s is -1: it must be between 0"),
    ],
)
def test_what_is_wrong_with_the_settings(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        settings(**values)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
