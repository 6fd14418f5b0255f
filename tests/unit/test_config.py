"""Every mistake in the configuration is one sentence with its place, its value and the remedy, and never a secret."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from st2ha.config import MASKED, Host, Mongodb, MongodbLimits, parse_host, parse_hosts, select
from st2ha.errors import BadInput
from st2ha.stackstorm import Operation, answered
from tests.examples import examples

GOOD: dict[str, Any] = {
    "default_deployment": "prod",
    "deployments": [
        {
            "name": "prod",
            "mongodb": {
                "hosts": ["mongo1:27017", "mongo2", "[::1]:27018"],
                "replica_set": "rs0",
                "username": "st2ha",
                "password": "hunter2",
            },
        },
        {"name": "empty"},
    ],
}


def config_with(**mongodb: Any) -> dict[str, Any]:
    """The good configuration with other values of `mongodb`; None takes one away."""
    config = copy.deepcopy(GOOD)
    section = config["deployments"][0]["mongodb"]
    section.update(mongodb)
    for name in [name for name, value in mongodb.items() if value is None]:
        del section[name]
    return config


def mongodb(**values: Any) -> Mongodb:
    return select(config_with(**values)).require_mongodb()


def sentence(config: Any, name: Any = None) -> str:
    with pytest.raises(BadInput) as caught:
        select(config, name).require_mongodb()
    return str(caught.value)


AT = "deployments[0].mongodb"


# -- what is right


def test_a_good_one() -> None:
    assert mongodb() == Mongodb(
        hosts=(Host("mongo1", 27017), Host("mongo2", 27017), Host("::1", 27018)),
        replica_set="rs0",
        username="st2ha",
        password="hunter2",
    )


def test_the_deployment_that_is_meant() -> None:
    assert select(GOOD, "empty").name == "empty"
    assert select(GOOD).name == "prod"
    assert select({"deployments": [{"name": "only"}]}).name == "only"


@pytest.mark.parametrize("hollow", [{}, None, {"hosts": [], "tls": {}, "limits": {"lag_s": None}}])
def test_a_layer_that_stackstorm_made_up_is_none(hollow: Any) -> None:
    """Its schema's defaults fill in `{}` where the configuration has nothing."""
    assert select({"deployments": [{"name": "prod", "mongodb": hollow}]}).mongodb is None


def test_limits_and_times() -> None:
    chosen = mongodb(timeout_s=2, limits={"lag_s": 5}, reviewed_rollbacks={"mongo1:27017": 3})
    assert (chosen.timeout_s, chosen.limits.lag_s) == (2.0, 5.0)
    assert chosen.limits.tls_days == MongodbLimits().tls_days
    assert chosen.reviewed_rollbacks == {"mongo1:27017": 3}


def test_the_first_line_of_a_file_is_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" hunter two \r\nand more\n")
    assert mongodb(password=None, password_file=str(file)).password == " hunter two "


# -- what is wrong: the whole sentence

BAD: dict[str, tuple[Any, str]] = {
    "no deployments": (
        {}, "the configuration has no `deployments`: copy ha.yaml.example to configs/ha.yaml and fill it in"
    ),
    "a deployment that is text": (
        {"deployments": ["prod"]}, "deployments[0] is 'prod': it must be a mapping of names to values"
    ),
    "deployments that are no list": ({"deployments": "prod"}, "deployments is 'prod': it must be a list"),
    "a deployment without a name": (
        {"deployments": [{"mongodb": {}}]}, "deployments[0].name is missing: set it in the pack's configuration"
    ),
    "two of one name": (
        {"deployments": [{"name": "a"}, {"name": "a"}]},
        "deployments[1].name 'a' is used twice: give each deployment a name of its own",
    ),
    "which one is meant?": (
        {"deployments": [{"name": "a"}, {"name": "b"}]},
        "parameter `deployment` is not given and no `default_deployment` is set: use one of 'a', 'b'",
    ),
    "a default that is not configured": (
        {"deployments": [{"name": "a"}], "default_deployment": "b"},
        "deployment 'b' is not configured: use one of 'a'",
    ),
    "a misspelt setting at the top": (
        {"deploymets": []}, "deploymets is not a setting: did you mean `deployments`?"
    ),
    "a layer that does not exist": (
        {"deployments": [{"name": "a", "mongdb": {}}]},
        "deployments[0].mongdb is not a setting: did you mean `mongodb`?"
    ),
    "a missing layer": (
        {"deployments": [{"name": "a"}]},
        "deployment 'a' has no layer `mongodb`: add it under deployments in the pack's configuration",
    ),
    "a layer that is text": (
        {"deployments": [{"name": "a", "mongodb": "mongo1:27017"}]},
        "deployments[0].mongodb is 'mongo1:27017': it must be a mapping of names to values",
    ),
    "a misspelt setting": (
        config_with(host="mongo1"), f"{AT}.host is not a setting: did you mean `hosts`?"
    ),
    "an unknown setting": (
        config_with(zzz=1),
        f"{AT}.zzz is not a setting: known here: hosts, replica_set, username, password, password_file, auth_source, "
        "tls, timeout_s, canary_database, reviewed_rollbacks, limits",
    ),
    "no hosts": (config_with(hosts=[]), f"{AT}.hosts is empty: list the members as host:port"),
    "hosts missing": (config_with(hosts=None), f"{AT}.hosts is empty: list the members as host:port"),
    "hosts that are a number": (
        config_with(hosts=5), f"{AT}.hosts is 5: give host:port, separated by commas, or a list of them"
    ),
    "a host that is a number": (
        config_with(hosts=[27017]),
        f"{AT}.hosts[0] is 27017: write it as host:port, for example mongo1.example.com:27017"
    ),
    "a host that does not parse": (
        config_with(hosts=["mongo1:x"]),
        f"{AT}.hosts[0] is 'mongo1:x': write it as host:port, for example mongo1.example.com:27017",
    ),
    "a host with a space": (
        config_with(hosts=["a:1", "mongo 1:27017"]),
        f"{AT}.hosts[1] is 'mongo 1:27017': write it as host:port, for example mongo1.example.com:27017",
    ),
    "port 0": (config_with(hosts=["a:0"]), f"{AT}.hosts[0] is 'a:0': the port must be between 1 and 65535"),
    "port 65536": (
        config_with(hosts=["a:65536"]), f"{AT}.hosts[0] is 'a:65536': the port must be between 1 and 65535"
    ),
    "a host twice": (
        config_with(hosts="a:1, b:2,A:1"), f"{AT}.hosts[2] is 'a:1', which is listed twice: name each server once"
    ),
    "one twice, once with the default port": (
        config_with(hosts=["a", "a:27017"]), f"{AT}.hosts[1] is 'a:27017', which is listed twice: name each server once"
    ),
    "no replica set": (
        config_with(replica_set=None), f"{AT}.replica_set is missing: set it in the pack's configuration"
    ),
    "a replica set that is a number": (config_with(replica_set=0), f"{AT}.replica_set is 0: it must be text"),
    "a timeout that is text": (config_with(timeout_s="3"), f"{AT}.timeout_s is '3': it must be a number"),
    "a timeout that is a flag": (config_with(timeout_s=True), f"{AT}.timeout_s is True: it must be a number"),
    "a timeout out of range": (config_with(timeout_s=0), f"{AT}.timeout_s is 0: it must be between 0.05 and 600"),
    "a timeout that is no number": (
        config_with(timeout_s=float("nan")), f"{AT}.timeout_s is nan: it must be between 0.05 and 600"
    ),
    "a share above 1": (
        config_with(limits={"disk_used": 85}), f"{AT}.limits.disk_used is 85: it must be between 0 and 1"
    ),
    "a misspelt limit": (
        config_with(limits={"lag": 1}), f"{AT}.limits.lag is not a setting: did you mean `lag_s`?"
    ),
    "limits that are a list": (
        config_with(limits=[1]), f"{AT}.limits is a list: it must be a mapping of names to values"
    ),
    "a flag that is text": (
        config_with(tls={"enabled": "yes"}), f"{AT}.tls.enabled is 'yes': it must be true or false"
    ),
    "a CA file that is not there": (
        config_with(tls={"enabled": True, "ca_file": "/no/ca.pem"}),
        f"{AT}.tls.ca_file is '/no/ca.pem': no such file; give a path this node can read",
    ),
    "a user without a password": (
        config_with(password=None),
        f"{AT} has no `password` or `password_file`: give a username and a password, or neither"
    ),
    "a password without a user": (
        config_with(username=None), f"{AT} has no `username`: give a username and a password, or neither"
    ),
    "a password that is a number": (
        config_with(password=12345), f"{AT}.password is no text: quote it in the configuration"
    ),
    "the mask of a password": (
        config_with(password=MASKED),
        f"{AT}.password is {MASKED}, the mask of a secret and not its value: enter it again",
    ),
    "a password and a file of it": (
        config_with(password_file="/etc/pw"), f"{AT}.password and {AT}.password_file are both given: keep the file"
    ),
    "a password file that is not there": (
        config_with(password=None, password_file="/no/pw"),
        f"{AT}.password_file is '/no/pw': cannot be read (No such file or directory); make it readable to this user",
    ),
    "a password file that is a directory": (
        config_with(password=None, password_file="/tmp"),
        f"{AT}.password_file is '/tmp': cannot be read (Is a directory); make it readable to this user",
    ),
    "a rollback id that is text": (
        config_with(reviewed_rollbacks={"mongo1:27017": "2"}),
        f"{AT}.reviewed_rollbacks.mongo1:27017 is '2': it must be a number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_sentence(name: str) -> None:
    config, expected = BAD[name]
    assert sentence(config) == expected


def test_a_deployment_that_is_not_configured() -> None:
    assert sentence(GOOD, "test") == "deployment 'test' is not configured: use one of 'prod', 'empty'"


def test_an_empty_password_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("\nsecond line\n")
    expected = f"{AT}.password_file is '{file}': the file is empty; put the secret on its first line"
    assert sentence(config_with(password=None, password_file=str(file))) == expected


def test_a_password_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\xff\xfe\x00s3cret")
    expected = f"{AT}.password_file is '{file}': cannot be read (it is not UTF-8 text); make it readable to this user"
    assert sentence(config_with(password=None, password_file=str(file))) == expected


def test_a_path_that_no_system_takes() -> None:
    assert "cannot be read" in sentence(config_with(password=None, password_file="a\0b"))


# -- hosts

HOSTS = {
    "mongo1": Host("mongo1", 27017),
    "Mongo1.Example.COM:27018": Host("mongo1.example.com", 27018),
    "10.0.0.1:1": Host("10.0.0.1", 1),
    "[::1]": Host("::1", 27017),
    "[fe80::1%eth0]:65535": Host("fe80::1%eth0", 65535),
    " a_b:27017 ": Host("a_b", 27017),
}


@pytest.mark.parametrize("text", HOSTS)
def test_a_host(text: str) -> None:
    assert parse_host(text, "hosts") == HOSTS[text]


@pytest.mark.parametrize(
    "text", ["", ":27017", "a:", "::1", "a:1:2", "-a:1", "a:1e3", "a:-1", "[::1", "http://a:1", "a/b:1"]
)
def test_no_host(text: str) -> None:
    with pytest.raises(BadInput, match="write it as host:port"):
        parse_host(text, "hosts")


@given(st.sampled_from(["mongo1", "10.0.0.1", "::1", "a.b-c.d"]), st.integers(1, 65535))
def test_a_host_is_read_as_it_is_written(name: str, port: int) -> None:
    host = Host(name, port)
    assert parse_hosts(str(host), "hosts") == (host,)


# -- no secret anywhere

SECRET = "S3cret-äß"
LEAKS: dict[str, Any] = {
    "a URL instead of a host": config_with(hosts=[f"mongodb://st2ha:{SECRET}@mongo1:27017/"]),
    "a URL with a port out of range": config_with(hosts=[f"{SECRET}@mongo1:99999"]),
    "a URL instead of a layer": {"deployments": [{"name": "a", "mongodb": f"mongodb://st2ha:{SECRET}@mongo1"}]},
    "a list instead of a layer": {"deployments": [{"name": "a", "mongodb": [{"password": SECRET}]}]},
    "a list of deployments in one": {"deployments": [[{"name": "a", "mongodb": {"password": SECRET}}]]},
    "a mapping instead of text": config_with(replica_set={"password": SECRET}),
    "a password in a list": config_with(password=[SECRET]),
    "a password and a file of it": config_with(password=SECRET, password_file="/etc/pw"),
    "a mapping instead of deployments": {"deployments": {"a": {"mongodb": {"password": SECRET}}}},
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_mistake_around_a_secret_does_not_show_it(name: str) -> None:
    assert SECRET not in sentence(LEAKS[name])


def test_a_parsed_secret_is_in_no_repr() -> None:
    deployment = select(config_with(password=SECRET))
    assert deployment.require_mongodb().password == SECRET
    assert SECRET not in repr(deployment) + str(deployment.mongodb)


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.lists(st.text(max_size=4), max_size=2),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip
NAMES = ("hosts", "replica_set", "username", "auth_source", "tls", "timeout_s", "limits", "reviewed_rollbacks", "oops")


class Reading(Operation):
    @answered
    def run(self, deployment: Any = None) -> dict[str, Any]:
        return {"summary": repr(self.deployment(deployment)), "severity": "ok"}


@examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    password=st.text(st.characters(min_codepoint=33, exclude_characters="'\"\\"), min_size=6),
    changes=st.dictionaries(st.sampled_from(NAMES), values, max_size=3),
    name=values,
)
def test_no_result_holds_the_password_whatever_is_wrong_beside_it(
    password: str, changes: Mapping[str, Any], name: Any
) -> None:
    """And what is wrong is bad input in one sentence, never an error of ours."""
    secret = f"pw-{password}"
    config = config_with(password=secret)
    config["deployments"][0]["mongodb"].update(changes)
    passed, result = Reading(config=config).run(deployment=name if isinstance(name, str) else None)
    assert secret not in str(result) and secret not in repr(result)
    assert passed or (result["kind"] == "bad_input" and len(result["error"].splitlines()) == 1)
