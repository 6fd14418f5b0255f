"""What keepalived.conf says of VRRP: instances, scripts and tracked files as frozen facts.

Defaults are keepalived's own (keepalived.conf(5) of 2.2): version 2, priority 100, advert_int 1 s, a script's interval
1 s, its time-out one interval, rise and fall 1. What is no number where one must be is a fault, not an exception.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Optional

from st2ha.edge.vrrp.syntax import Statement, parse_tree

DEFAULT_PRIORITY, LOWEST, HIGHEST, OWNER = 100, 1, 254, 255
"""Priorities that keepalived lets an instance end up with; 255 is for the owner of the address."""


@dataclass(frozen=True)
class Script:
    """A `vrrp_script`. `weight` 0: its failure is a fault of the instance."""

    name: str
    interval_s: float = 1.0
    timeout_s: float = 1.0
    fall: int = 1
    rise: int = 1
    weight: int = 0


@dataclass(frozen=True)
class TrackedFile:
    """A `track_file`: its number, times `weight`, is added to the priority; a product of -254 or less is a fault."""

    name: str
    path: str
    weight: int = 1


@dataclass(frozen=True)
class Instance:
    """A `vrrp_instance` as configured. `scripts` and `files` carry the weights with which it tracks them."""

    name: str
    vrid: Optional[int]
    interface: str = ""
    version: int = 2
    priority: int = DEFAULT_PRIORITY
    advert_s: float = 1.0
    master: bool = False
    nopreempt: bool = False
    preempt_delay_s: float = 0.0
    virtual_mac: bool = False
    unicast_source: str = ""
    unicast_peers: tuple[str, ...] = ()
    auth: str = field(default="", repr=False)  # a digest of type and password
    vips: tuple[str, ...] = ()
    scripts: tuple[Script, ...] = ()
    files: tuple[TrackedFile, ...] = ()
    processes: tuple[str, ...] = ()  # names of what it tracks by track_process


@dataclass(frozen=True)
class Configuration:
    """All of VRRP in one node's configuration. `faults`: what could not be understood."""

    instances: tuple[Instance, ...] = ()
    scripts: tuple[Script, ...] = ()
    faults: tuple[str, ...] = ()

    def instance_of(self, vip: str) -> Optional[Instance]:
        return next((each for each in self.instances if vip in each.vips), None)


def parse_conf(files: Mapping[str, str], path: str, config_id: str = "") -> Configuration:
    """The configuration at `path` among `files` (absolute path -> text); `config_id` decides conditions (`@id`)."""
    tree = parse_tree(files, path, config_id)
    numbers = _Numbers(list(tree.faults))
    root = tree.root
    version = numbers.whole(_argument(root.first("global_defs"), "vrrp_version"), 2, "vrrp_version")
    scripts = {each.argument: _script(each, numbers) for each in root.all("vrrp_script")}
    tracked = {each.argument: _file(each, numbers) for each in root.all("track_file", "vrrp_track_file")}
    found = (_instance(each, version, scripts, tracked, numbers) for each in root.all("vrrp_instance"))
    groups = [_group(each, scripts, numbers) for each in root.all("vrrp_sync_group")]
    return Configuration(
        tuple(_in_groups(each, groups) for each in found), tuple(scripts.values()), tuple(dict.fromkeys(numbers.faults))
    )


class _Numbers:
    """Numbers out of words; a word that is none is told and taken for the default."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = faults

    def whole(self, word: str, default: int, what: str) -> int:
        number = self.seconds(word, default, what)
        if number != int(number):
            self.faults.append(f"{what} is {word[:20]!r}: it must be a whole number")
            return default
        return int(number)

    def seconds(self, word: str, default: float, what: str) -> float:
        if not word:
            return default
        try:
            number = float(word)
        except ValueError:
            number = float("nan")
        if not -1e6 < number < 1e6:
            self.faults.append(f"{what} is {word[:20]!r}: it must be a number")
            return default
        return number


def _argument(parent: Optional[Statement], keyword: str) -> str:
    statement = parent.first(keyword) if parent is not None else None
    return statement.argument if statement is not None else ""


def _script(block: Statement, numbers: _Numbers) -> Script:
    name = block.argument

    def number(keyword: str, default: float) -> float:
        return numbers.seconds(_argument(block, keyword), default, f"vrrp_script {name}: {keyword}")

    interval_s = number("interval", 1.0)
    return Script(
        name, interval_s, number("timeout", 0.0) or interval_s, max(1, int(number("fall", 1))),
        max(1, int(number("rise", 1))), int(number("weight", 0)),
    )  # fmt: skip


def _file(block: Statement, numbers: _Numbers) -> TrackedFile:
    weight = numbers.whole(_argument(block, "weight"), 1, f"track_file {block.argument}: weight")
    return TrackedFile(block.argument, _argument(block, "file"), weight)


def _instance(
    block: Statement, version: int, scripts: Mapping[str, Script], tracked: Mapping[str, TrackedFile], numbers: _Numbers
) -> Instance:
    name = block.argument

    def number(keyword: str, default: float) -> float:
        return numbers.seconds(_argument(block, keyword), default, f"vrrp_instance {name}: {keyword}")

    vrid = int(number("virtual_router_id", 0)) or None
    keywords = {each.keyword for each in block.block}
    addresses = [*_words(block, "virtual_ipaddress"), *_words(block, "virtual_ipaddress_excluded")]
    own_version = numbers.whole(_argument(block, "version"), version, f"vrrp_instance {name}: version")
    return Instance(
        name=name,
        vrid=vrid,
        interface=_argument(block, "interface"),
        version=own_version,
        priority=int(number("priority", DEFAULT_PRIORITY)),
        advert_s=number("advert_int", 1.0) if number("advert_int", 1.0) > 0 else 1.0,
        master=_argument(block, "state").upper() == "MASTER",
        nopreempt="nopreempt" in keywords,
        preempt_delay_s=number("preempt_delay", 0.0),
        virtual_mac="use_vmac" in keywords,
        unicast_source=_argument(block, "unicast_src_ip"),
        unicast_peers=tuple(_words(block, "unicast_peer")),
        auth=_auth(block, own_version),
        vips=tuple(dict.fromkeys(filter(None, map(_address, addresses)))),
        scripts=tuple(_script_tracked(each, scripts, numbers) for each in _lines(block, "track_script")),
        files=tuple(_file_tracked(each, tracked, numbers) for each in _lines(block, "track_file")),
        processes=tuple(_words(block, "track_process")),
    )


@dataclass(frozen=True)
class _Group:
    """A `vrrp_sync_group`: what it tracks, it tracks for each of its instances."""

    members: tuple[str, ...]
    scripts: tuple[Script, ...]
    processes: tuple[str, ...]


def _group(block: Statement, scripts: Mapping[str, Script], numbers: _Numbers) -> _Group:
    tracked = tuple(_script_tracked(each, scripts, numbers) for each in _lines(block, "track_script"))
    return _Group(tuple(_words(block, "group")), tracked, tuple(_words(block, "track_process")))


def _in_groups(instance: Instance, groups: Iterable[_Group]) -> Instance:
    mine = [group for group in groups if instance.name in group.members]
    return replace(
        instance,
        scripts=instance.scripts + tuple(script for group in mine for script in group.scripts),
        processes=instance.processes + tuple(process for group in mine for process in group.processes),
    )


def _lines(block: Statement, keyword: str) -> Iterator[Statement]:
    return (line for each in block.all(keyword) for line in each.block)


def _words(block: Statement, keyword: str) -> list[str]:
    return [line.keyword for line in _lines(block, keyword)]


def _script_tracked(line: Statement, known: Mapping[str, Script], numbers: _Numbers) -> Script:
    script = known.get(line.keyword)
    if script is None:
        numbers.faults.append(f"track_script names {line.keyword}, which no vrrp_script defines")
        script = Script(line.keyword)
    weight = _weight(line, script.weight, numbers)
    return Script(script.name, script.interval_s, script.timeout_s, script.fall, script.rise, weight)


def _file_tracked(line: Statement, known: Mapping[str, TrackedFile], numbers: _Numbers) -> TrackedFile:
    file = known.get(line.keyword)
    if file is None:
        numbers.faults.append(f"track_file names {line.keyword}, which is not defined")
        file = TrackedFile(line.keyword, "")
    return TrackedFile(file.name, file.path, _weight(line, file.weight, numbers))


def _weight(line: Statement, default: int, numbers: _Numbers) -> int:
    """`name weight 5`, with or without `reverse` behind it, which is not looked at."""
    words = line.words
    word = words[words.index("weight") + 1] if "weight" in words[:-1] else ""
    return numbers.whole(word, default, f"the weight of {line.keyword}")


def _address(word: str) -> str:
    """`10.0.0.1/24` as `10.0.0.1`; empty for what is no address."""
    try:
        return str(ipaddress.ip_interface(word).ip)
    except ValueError:
        return ""


def _auth(block: Statement, version: int) -> str:
    """What must be equal on both sides, without the password itself. VRRP 3 has no authentication."""
    part = block.first("authentication")
    if part is None or version == 3:
        return ""
    words = f"{_argument(part, 'auth_type').upper()} {_argument(part, 'auth_pass')[:8]}"
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()
