"""The layer `content` of the configuration."""

from __future__ import annotations

from typing import Any

import pytest

from st2ha.config import select
from st2ha.content.settings import Content
from st2ha.errors import BadInput

NODE = {"name": "st2-1", "command": "local"}


def parse(**layer: Any) -> Content:
    values = {"nodes": [NODE], **layer}
    settings: Content = select({"deployments": [{"name": "lab", "content": values}]}).require("content")
    return settings


def test_the_usual_places() -> None:
    settings = parse(command="ssh st2ha@{host} sudo", nodes=[NODE, {"name": "st2-2", "host": "10.0.0.2"}])
    assert settings.roots == {name: f"/opt/stackstorm/{name}" for name in ("packs", "configs", "virtualenvs")}
    assert settings.node("st2-1").door().argv(["x"]) == ["x"]
    assert settings.node("st2-2").door().argv(["x"])[-3:] == ["st2ha@10.0.0.2", "sudo", "x"]
    assert (settings.mounts, settings.skip, settings.system_packs) == ((), ("__pycache__", ".git"), ("core", "packs"))


def test_other_places() -> None:
    settings = parse(packs="/srv//packs/", virtualenvs="none", mounts="/srv", skip=".git, *.log", system_packs=["core"])
    assert settings.roots == {"packs": "/srv/packs", "configs": "/opt/stackstorm/configs"}
    assert (settings.mounts, settings.skip, settings.system_packs) == (("/srv",), (".git", "*.log"), ("core",))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ({"nodes": [], "command": "local"}, "content.nodes is empty: list each StackStorm node"),
        ({"nodes": [{"name": "st2-1"}]}, "content.nodes[0] has no `command`: say how to run something there"),
        ({"nodes": [NODE, NODE]}, "content.nodes[1].name is 'st2-1', which is used twice"),
        ({"nodes": [{**NODE, "command": "ssh '"}]}, "content.nodes[0].command cannot be read"),
        ({"packs": "packs"}, "content.packs is 'packs': give an absolute path below /"),
        ({"packs": "/opt/../"}, "content.packs is '/opt/../': give an absolute path below /"),
        ({"mounts": ["/mnt/other"]}, "content.mounts holds '/mnt/other': no content lies there; name one of /opt"),
        ({"mounts": [1]}, "content.mounts cannot be read: give words"),
        ({"packs": "none", "configs": "none", "virtualenvs": "none"}, "content has none for packs, configs and"),
        ({"pack": "/x"}, "content.pack is not a setting: did you mean `packs`?"),
        ({"mount_timeout_s": 0}, "content.mount_timeout_s is 0: it must be between 0.1 and 600"),
    ],
)
def test_wrong_settings_are_one_sentence(layer: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(**layer)
    assert says in str(caught.value)
