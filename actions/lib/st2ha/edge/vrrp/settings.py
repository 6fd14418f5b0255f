"""The part `vrrp` of the layer `edge`: where keepalived's things are, and from where a takeover is too slow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from st2ha.config import Section
from st2ha.errors import BadInput
from st2ha.hosts import parse_prefix


@dataclass(frozen=True)
class VrrpLimits:
    """From where a predicted number of seconds is a finding."""

    takeover_s: float = 5.0  # from a dead balancer to the next holder
    script_s: float = 4.0  # from a dead nginx until its balancer gives up: interval x fall + timeout


@dataclass(frozen=True)
class Vrrp:
    """Empty paths: what the running keepalived says of itself, else its own defaults.

    `enabled`: whether keepalived is what moves the VIP; without it ha.check leaves this part away.
    """

    enabled: bool = True
    config_file: str = ""
    dump_directory: str = ""
    switch: str = "st2ha"  # the track_file by which vrrp_switchover moves the VIP
    witness: Optional[tuple[str, ...]] = None  # the way to a third host on the VIP's link, which asks by ARP
    limits: VrrpLimits = field(default_factory=VrrpLimits)


def parse_vrrp(parent: Section) -> Vrrp:
    """The part `vrrp` of the section `edge`; all of it may be left away."""
    section = parent.optional_section("vrrp")
    if section is None:
        return Vrrp()
    section.known("enabled", "config_file", "dump_directory", "switch", "witness", "limits")
    return Vrrp(
        enabled=section.flag("enabled", True),
        config_file=_absolute(section, "config_file"),
        dump_directory=_absolute(section, "dump_directory"),
        switch=_word(section, "switch", "st2ha"),
        witness=_witness(section),
        limits=_limits(section),
    )


def _limits(parent: Section) -> VrrpLimits:
    section, defaults = parent.optional_section("limits"), VrrpLimits()
    if section is None:
        return defaults
    section.known(*vars(defaults))
    return VrrpLimits(
        **{name: section.number(name, default, low=0.01, high=3600) for name, default in vars(defaults).items()}
    )


def _witness(section: Section) -> Optional[tuple[str, ...]]:
    """One host, so there is no place to fill in."""
    words = parse_prefix(section, "witness")
    if words is not None and any("{" in word for word in words):
        raise BadInput(
            f"{section.at('witness')} holds {{ }}: it is one host, name it, for example ssh st2ha@st2-1 sudo"
        )
    return words or None


def _absolute(section: Section, name: str) -> str:
    path = section.optional_text(name) or ""
    if path and (not path.startswith("/") or "\n" in path or "\0" in path):
        raise BadInput(f"{section.at(name)} is {path[:60]!r}: give an absolute path, or leave it away")
    return path


def _word(section: Section, name: str, default: str) -> str:
    word = section.optional_text(name) or default
    if len(word.split()) != 1 or set(word) & set("{}\"'#!"):
        raise BadInput(f"{section.at(name)} is {word[:60]!r}: give the name of a track_file, which is one plain word")
    return word
