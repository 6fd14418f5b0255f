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
    assert replay.asked == ["/v1/sensortypes?limit=100&offset=0"]


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250, 300])
def test_all_pages_are_read(replay: Replay, size: int) -> None:
    replay.sensors = [{"id": str(n), "ref": f"p.S{n}"} for n in range(size)]
    with api(replay) as asking:
        assert [row["ref"] for row in asking.sensors()] == [f"p.S{n}" for n in range(size)]
    assert len(replay.asked) == max(1, -(-size // 100))


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


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"timeout_s": 3}, "deployments[0].stackstorm.api_url is missing"),
        ({"api_url": "st2.example.com"}, "api_url is no address of an API: write it like"),
        ({"api_url": "http://user:hunter2@st2/api"}, "without a login"),
        ({"api_url": "http://h", "api_key": "a", "token": "b"}, "keep the api_key, a token expires"),
        ({"api_url": "http://h", "key": "a"}, "key is not a setting: did you mean `api_key`?"),
    ],
)
def test_what_is_wrong_with_the_settings(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        settings(**values)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
