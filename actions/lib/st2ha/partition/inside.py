"""What a sensor node says of itself, read through its door: st2.conf, the partition file, its processes."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Optional, Union

from st2ha.errors import BadInput, CommandFailed, HostError
from st2ha.hosts import run_all
from st2ha.partition.artifacts import told_by_file
from st2ha.partition.providers import Container
from st2ha.partition.settings import PARTITION_FILE, ST2_CONF, Place
from st2ha.probe import Attempt
from st2ha.st2conf import read

CONTAINERS = "[s]t2sensorcontainer|[s]ensor_wrapper[.]py"
"""The brackets keep the pattern from finding itself behind a remote shell."""
PROCESSES = [
    "sh", "-c", 'p=$(pgrep -d, -f "$1") || exit $?; exec ps -ww -o pid=,ppid=,etimes=,args= -p "$p"', "sh", CONTAINERS,
]  # fmt: skip
NONE_FOUND = 1
NODE_NAME = "sensornode1"
"""StackStorm's default for sensor_node_name."""


@dataclass(frozen=True)
class Seen:
    """A node's processes: the references of its sensors, its containers' numbers; None: they cannot be seen."""

    running: Optional[frozenset[str]] = None
    containers: Optional[tuple[int, ...]] = None
    started_at: Optional[float] = None


@dataclass(frozen=True)
class Inside:
    """One node's own word. The texts are whole files: never shown, st2.conf holds secrets.

    `told` lacks the list of provider kvstore, which is in the datastore. Times are by our clock.
    """

    told: Container
    conf: str = field(repr=False)
    partition_file: str = PARTITION_FILE
    file: Optional[str] = field(default=None, repr=False)
    file_changed_at: Optional[float] = None
    conf_changed_at: Optional[float] = None
    seen: Seen = Seen()


@dataclass(frozen=True)
class Unread:
    """Why a node could not be read."""

    reason: str


@dataclass(frozen=True)
class Process:
    """A container or a sensor process; `age_s` in whole seconds."""

    pid: int
    parent: int
    age_s: int
    words: tuple[str, ...]

    def options(self, name: str) -> list[str]:
        """The values of each `--name=value` or `--name value`."""
        pairs = zip(self.words, (*self.words[1:], ""))
        told = [next_ if word == f"--{name}" else word.partition("=")[2] for word, next_ in pairs if _is(word, name)]
        return [value for value in told if value]


def read_node(place: Place, attempt: Attempt, file: Optional[str] = None) -> Union[Inside, Unread]:
    """All of one node. `file` is a partition file to read even if its provider does not use it."""
    door = place.door()
    times = ["stat", "-L", "-c", "%Y", "--"]
    first = [["cat", "--", place.config_file], [*times, place.config_file], ["date", "+%s"], PROCESSES]
    try:
        conf_read, conf_time, date, processes = run_all(door, first, _left(attempt))
        conf = _good(conf_read).decode("utf-8")
        told, named = told_by_conf(conf, place.config_file)
        path = named if told.provider == "file" else file
        text, file_time = None, None
        if path:
            file_read, file_time = run_all(door, [["cat", "--", path], [*times, path]], _left(attempt))
            text = _text(file_read)
        if told.provider == "file":
            told = told_by_file(text, [told.node])[0] if text is not None else Container(told.node, "file")
    except UnicodeDecodeError:
        return Unread(f"{place.config_file}: it is not UTF-8 text")
    except (HostError, BadInput, ValueError) as error:
        return Unread(str(error))
    ahead = _number(date) - time.time() if isinstance(date, bytes) else None
    changed = [_ours(each, ahead) for each in (file_time, conf_time)]
    return Inside(told, conf, path or PARTITION_FILE, text, changed[0], changed[1], _seen(processes, place))


def told_by_conf(text: str, where: str = "st2.conf") -> tuple[Container, Optional[str]]:
    """What [sensorcontainer] tells, and the partition file that it names. BadInput if it is no st2.conf."""
    section = read(text, where).get("sensorcontainer", {})
    words = [part.partition(":") for part in (section.get("partition_provider") or "name:default").split(",")]
    given = {name.strip(): value.strip() for name, _, value in words}
    node, provider = section.get("sensor_node_name") or NODE_NAME, given.get("name", "").lower()
    return Container(node, provider, given.get("hash_ranges")), given.get("partition_file")


def read_processes(place: Place, deadline_s: float) -> Seen:
    """Its containers and their sensors. Of other processes only numbers are read: their arguments may hold secrets."""
    try:
        return _seen(place.door().run(PROCESSES, deadline_s), place)
    except CommandFailed as error:
        return _seen(error, place)
    except HostError:
        return Seen()


def _seen(answer: Union[bytes, CommandFailed], place: Place) -> Seen:
    if isinstance(answer, CommandFailed):
        return Seen(frozenset(), ()) if answer.code == NONE_FOUND else Seen()
    found = [each for each in map(_process, answer.decode("utf-8", "replace").splitlines()) if each is not None]
    containers = [each for each in found if _is_container_of(each, place.config_file)]
    pids = {each.pid for each in containers}
    refs = [_ref(each) for each in found if each.parent in pids or _tells(each, place.config_file)]
    started_at = max((time.time() - each.age_s for each in containers), default=None)
    return Seen(frozenset(ref for ref in refs if ref), tuple(sorted(pids)), started_at)


def _good(answer: Union[bytes, CommandFailed]) -> bytes:
    if isinstance(answer, CommandFailed):
        raise answer
    return answer


def _text(answer: Union[bytes, CommandFailed]) -> Optional[str]:
    """A partition file's text; None if there is none."""
    if isinstance(answer, CommandFailed) and "No such file" in str(answer):
        return None
    return _good(answer).decode("utf-8")


def _ours(changed: Union[bytes, CommandFailed, None], ahead: Optional[float]) -> Optional[float]:
    """When a file changed, by our clock: the node's own clock tells only how long ago."""
    return _number(changed) - ahead if isinstance(changed, bytes) and ahead is not None else None


def _number(text: bytes) -> float:
    return float(text) if text.strip().isdigit() else 0.0


def _is(word: str, name: str) -> bool:
    return word.partition("=")[0] == f"--{name}"


def _process(line: str) -> Optional[Process]:
    words = line.split()
    if len(words) < 4 or not all(word.isdigit() for word in words[:3]):
        return None
    return Process(int(words[0]), int(words[1]), int(words[2]), tuple(words[3:]))


def _ref(process: Process) -> Optional[str]:
    """The reference of a sensor process, by what sensor_wrapper.py is started with."""
    pack, name = process.options("pack"), process.options("class-name")
    return f"{pack[0]}.{name[0]}" if pack and name and any("sensor_wrapper" in word for word in process.words) else None


def _is_container_of(process: Process, config_file: str) -> bool:
    program = [word for word in process.words[:3] if word.rsplit("/", 1)[-1] == "st2sensorcontainer"]
    files = process.options("config-file") or [ST2_CONF]
    return bool(program) and any(_same(file, config_file) for file in files)


def _tells(process: Process, config_file: str) -> bool:
    """A sensor that outlived its container, by its parent's arguments, which it is given."""
    found = re.search(r'--config-file"?[=,]?\s*"?([^",\]\s]+)', " ".join(process.words))
    return _same(found[1] if found else ST2_CONF, config_file)


def _same(told: str, config_file: str) -> bool:
    """A container may have been given a relative path."""
    return told == config_file or (not told.startswith("/") and config_file.endswith("/" + told.lstrip("./")))


def _left(attempt: Attempt) -> float:
    """A little less than there is, so that the fact tells why rather than that nobody answered."""
    return attempt.left_s() * 0.9
