"""The part `vrrp` of the layer `edge`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from st2ha.config import Section
from st2ha.edge.vrrp.settings import Vrrp, VrrpLimits, parse_vrrp
from st2ha.errors import BadInput


def parsed(vrrp: Any) -> Vrrp:
    return parse_vrrp(Section({"vrrp": vrrp}, "edge"))


def test_all_of_it_may_be_left_away() -> None:
    assert parsed(None) == parsed({}) == Vrrp()
    given = parsed({"switch": "mine", "witness": "ssh st2-1 sudo", "limits": {"takeover_s": 2}, "enabled": False})
    assert given.witness is not None and given.witness[0] == "ssh" and given.witness[-1] == "sudo"
    assert replace(given, witness=None) == Vrrp(False, switch="mine", limits=VrrpLimits(2.0, 4.0))


@pytest.mark.parametrize(
    ("vrrp", "words"),
    [
        ({"config_file": "keepalived.conf"}, "edge.vrrp.config_file is 'keepalived.conf': give an absolute path"),
        ({"dump_directory": "/tmp\n/x"}, "edge.vrrp.dump_directory is"),
        ({"switch": "two words"}, "edge.vrrp.switch is 'two words'"),
        ({"switch": "a}b"}, "edge.vrrp.switch is 'a}b'"),
        ({"witness": "ssh {nobody}"}, "edge.vrrp.witness cannot be read"),
        ({"witness": "ssh {name}"}, "edge.vrrp.witness holds { }: it is one host"),
        ({"limits": {"takeover_s": 0}}, "edge.vrrp.limits.takeover_s is 0: it must be between"),
        ({"limits": {"takeover": 1}}, "edge.vrrp.limits.takeover is not a setting: did you mean `takeover_s`?"),
        ({"enabled": "no"}, "edge.vrrp.enabled is 'no': it must be true or false"),
        ({"swich": "x"}, "edge.vrrp.swich is not a setting: did you mean `switch`?"),
        ("yes", "edge.vrrp is 'yes': it must be a mapping"),
    ],
)
def test_mistakes_are_named(vrrp: Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parsed(vrrp)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
