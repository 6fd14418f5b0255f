"""From parameters, files and API rows to a Fleet; each mistake one sentence that names parameter, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Optional

import yaml

from st2ha.errors import BadInput
from st2ha.partition.artifacts import told_by_file
from st2ha.partition.fleet import Node, Sensor, Wish
from st2ha.partition.providers import Container

REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.[A-Za-z_][A-Za-z0-9_-]*")
NODE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
COSTS = ("equal", "polling")
"""Values of `cost_by`: every sensor counts 1, or its polls a minute; a cost that is given counts either way."""


def one_of(parameter: str, value: Any, known: tuple[str, ...]) -> str:
    """A value of an enumeration; st2web may send anything."""
    if value not in known:
        raise BadInput(f"parameter `{parameter}` is {value!r}: use one of {', '.join(known)}")
    return str(value)


def nodes_from(words: Iterable[Any]) -> tuple[Node, ...]:
    """`sensor1` or `sensor2:2` (weight 2)."""
    pairs = [_with_number("nodes", word, "the weight", NODE, "sensor1 or sensor2:2") for word in words]
    return tuple(Node(name, 1.0 if weight is None else weight) for name, weight in pairs)


def sensors_from(words: Iterable[Any]) -> tuple[Sensor, ...]:
    """`linux.FileWatchSensor` or `linux.FileWatchSensor:3` (cost 3)."""
    pairs = [
        _with_number("sensors", word, "the cost", REF, "linux.FileWatchSensor or aws.SQSSensor:3") for word in words
    ]
    return tuple(Sensor(ref, 1.0 if cost is None else cost) for ref, cost in pairs)


def refs_from(words: Any) -> tuple[str, ...]:
    """References of sensors, at least one."""
    found = tuple(words or ())
    if not found:
        raise BadInput("parameter `refs` is empty: name sensors, for example refs=linux.FileWatchSensor")
    for word in found:
        if not isinstance(word, str) or REF.fullmatch(word) is None:
            raise BadInput(
                f"parameter `refs` has {_shown(word)}: write pack.ClassName, for example linux.FileWatchSensor"
            )
    return found


def wishes_from(parameter: str, words: Iterable[Any]) -> tuple[Wish, ...]:
    """`aws@sensor1` (a pack) or `linux.FileWatchSensor@sensor1`."""
    found = []
    for word in words:
        what, at, node = str(word).partition("@")
        if not (what and at and node):
            raise BadInput(
                f"parameter `{parameter}` has {_shown(word)}: write a sensor or pack and a node, aws@sensor1"
            )
        found.append(Wish(what.strip(), node.strip()))
    return tuple(found)


def sensors_in_file(path: str, cost_by: str) -> tuple[Sensor, ...]:
    """A YAML or JSON list (of references, or of rows as `st2 sensor list -j` prints them), or a text of one a line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadInput(
            f"parameter `sensors_file` is {path!r}: cannot be read ({reason}); name a file of sensors"
        ) from None
    where = f"parameter `sensors_file` is {path!r}: "
    if not path.endswith((".yaml", ".yml", ".json")):
        lines = (line.partition("#")[0].split() for line in text.splitlines())
        return sensors_in_rows(({"ref": line[0], "cost": _last(line)} for line in lines if line), cost_by, where)
    try:
        rows = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"{where}it is no YAML ({' '.join(str(error).split())[:120]}); correct it") from None
    if not isinstance(rows, list):
        raise BadInput(f"{where}it holds no list; write a list of references, or of rows with `ref`")
    return sensors_in_rows(rows, cost_by, where)


def sensors_in_rows(rows: Iterable[Any], cost_by: str, where: str) -> tuple[Sensor, ...]:
    """References, or rows with `ref`, and perhaps `enabled`, `cost`, `poll_interval`."""
    if cost_by not in COSTS:
        raise BadInput(f"parameter `cost_by` is {cost_by!r}: use one of {', '.join(COSTS)}")
    return tuple(_sensor(row, cost_by, f"{where}entry {number} ") for number, row in enumerate(rows, start=1))


def with_costs(sensors: Iterable[Sensor], costs: Mapping[str, float]) -> tuple[Sensor, ...]:
    """The sensors with the costs that the configuration gives; one of them for an unknown sensor is told."""
    found = tuple(sensors)
    unknown = sorted(set(costs) - {sensor.ref for sensor in found})
    if unknown:
        raise BadInput(f"sensors.costs has {unknown[0]!r}: no such sensor; correct it or take it out")
    return tuple(replace(each, cost=costs[each.ref]) if each.ref in costs else each for each in found)


def today_from(value: Any, lists: str = "kvstore") -> Optional[tuple[Container, ...]]:
    """The parameter `today`: node -> its range expression (provider hash), or its list of references.

    `lists` is the provider of lists: an empty one runs nothing by kvstore, and everything by file.
    """
    if not value:
        return None
    if not isinstance(value, Mapping):
        raise BadInput(f"parameter `today` is {_shown(value)}: write node and ranges, or node and a list of references")
    found = []
    for node, told in value.items():
        if isinstance(told, str):
            found.append(Container(str(node), "hash", hash_ranges=told))
        elif isinstance(told, list) and all(isinstance(ref, str) for ref in told):
            found.append(Container(str(node), lists, refs=tuple(told)))
        else:
            raise BadInput(
                f"parameter `today` has {_shown(told)} for {node!r}: write ranges as text, or a list of references"
            )
    return tuple(found)


def today_in_file(path: str, nodes: Iterable[str]) -> Optional[tuple[Container, ...]]:
    """The containers of provider file as they read their file; None where this node has none."""
    try:
        with open(path, encoding="utf-8") as file:
            return told_by_file(file.read(), list(nodes))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(f"sensors.partition_file is {path!r}: {reason}; correct it, or give `today`") from None


def _sensor(row: Any, cost_by: str, where: str) -> Sensor:
    row = {"ref": row} if isinstance(row, str) else row
    ref = row.get("ref") if isinstance(row, Mapping) else None
    if not isinstance(ref, str) or REF.fullmatch(ref) is None:
        raise BadInput(f"{where}is {_shown(row if ref is None else ref)}: write pack.ClassName, or a row with `ref`")
    cost, interval = row.get("cost"), row.get("poll_interval")
    if cost is None and cost_by == "polling" and interval:
        cost = 60.0 / _number(interval, f"{where}poll_interval")
    enabled = row.get("enabled", True)
    return Sensor(ref, 1.0 if cost is None else _number(cost, f"{where}cost"), str(enabled).lower() != "false")


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number <= 1e9:
        raise BadInput(f"{where} is {_shown(value)}: it must be a number above 0, at most 1e9")
    return number


def _last(words: list[str]) -> Optional[str]:
    return words[1] if len(words) > 1 else None


def _with_number(
    parameter: str, word: Any, what: str, pattern: re.Pattern[str], example: str
) -> tuple[str, Optional[float]]:
    name, colon, number = word.strip().partition(":") if isinstance(word, str) else ("", "", "")
    if pattern.fullmatch(name) is None:
        raise BadInput(f"parameter `{parameter}` has {_shown(word)}: write {example}")
    return name, _number(number, f"parameter `{parameter}` has {_shown(word)}, whose number") if colon else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
