"""Findings about a sensor fleet: each told where it is, none where all is well; recorded fleets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from st2ha.config import select
from st2ha.partition.assess import assess, healthy_words
from st2ha.partition.facts import Event, Member, SensorNode, Snapshot, events_from, members_from
from st2ha.partition.fleet import Fleet, Node, Sensor
from st2ha.partition.inputs import sensors_in_rows
from st2ha.partition.plan import plan
from st2ha.partition.providers import Container
from st2ha.partition.settings import OWN, SensorsLimits
from st2ha.report import Finding, Severity
from tests.replay import recorded

SENSORS = tuple(Sensor(f"pack.Sensor{n}") for n in range(12))
NAMES = ("a", "b", "c")
PROVIDERS = ("hash", "kvstore", "file")


def healthy(provider: str) -> Snapshot:
    """Three nodes as a plan tells them, everything seen."""
    made = plan(Fleet(tuple(map(Node, NAMES)), SENSORS), provider)
    nodes = tuple(
        SensorNode(
            told.node, told, host=f"host-{told.node}", running=frozenset(refs), started_at=100.0, map_changed_at=50.0
        )
        for told, refs in zip(made.told, made.refs)
    )
    members = tuple(Member(f"host-{name}", 1) for name in NAMES)
    return Snapshot(nodes, SENSORS, members, timers=(Member("host-a", 2),))


def told(snapshot: Snapshot, place: int, **changes: Any) -> Snapshot:
    """With another container of one node, whose processes are not seen any more."""
    nodes = list(snapshot.nodes)
    container = nodes[place].container
    assert container is not None
    nodes[place] = replace(nodes[place], container=replace(container, **changes), running=None)
    return replace(snapshot, nodes=tuple(replace(node, running=None) for node in nodes))


def node(snapshot: Snapshot, place: int, **changes: Any) -> Snapshot:
    nodes = list(snapshot.nodes)
    nodes[place] = replace(nodes[place], **changes)
    return replace(snapshot, nodes=tuple(nodes))


def found(snapshot: Snapshot) -> dict[str, Finding]:
    return {finding.code: finding for finding in assess(snapshot, SensorsLimits())}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_planned_fleet_is_healthy(provider: str) -> None:
    snapshot = healthy(provider)
    assert assess(snapshot, SensorsLimits()) == ()
    assert healthy_words(snapshot) == "12 sensors on 3 nodes, each on one"


ENDED = "RangesUnreadable SensorUnowned RangesGap"
ALL = tuple(sensor.ref for sensor in SENSORS)
Change = Callable[[Snapshot], Snapshot]
CASES: list[tuple[str, Change, str, str]] = [
    ("kvstore", lambda s: told(s, 0, refs=("",)), "SensorUnowned", "4 sensors on no node: pack."),
    ("kvstore", lambda s: told(s, 0, refs=None), "SensorUnowned NodeMissingFromMap", "a.sensor_partition is missing"),
    (
        "file",
        lambda s: told(s, 0, refs=None),
        "SensorUnowned NodeMissingFromMap",
        "the list of a in the file is missing",
    ),
    ("file", lambda s: told(s, 0, refs=()), "EmptyListRunsAll SensorOwnedTwice Unbalanced", "runs all sensors: 12"),
    ("kvstore", lambda s: told(s, 0, refs=ALL), "SensorOwnedTwice Unbalanced", "8 sensors on several nodes"),
    ("hash", lambda s: told(s, 0, hash_ranges="5..4"), ENDED, "'5..4' is reversed: the container ends"),
    ("hash", lambda s: told(s, 0, hash_ranges=None), ENDED, "hash_ranges is missing"),
    ("hash", lambda s: told(s, 0, provider="x"), "RangesUnreadable SensorUnowned MixedProviders", "'x' does not exist"),
    ("hash", lambda s: told(s, 2, hash_ranges=_end(s, "4294967295")), "RangesGap", "4294967295..MAX (1 hashes)"),
    ("hash", lambda s: told(s, 2, hash_ranges=_end(s, "9999999999")), "RangeClamped", "..9999999999 is beyond 0.."),
    ("hash", lambda s: told(s, 0, hash_ranges=_start(s)), "RangesOverlap", "by a and b"),
    ("kvstore", lambda s: told(s, 0, provider="file"), "MixedProviders", "file on a; kvstore on b, c"),
    ("kvstore", lambda s: told(s, 1, node="a"), "NameClash", "a and b have this sensor_node_name"),
    ("kvstore", lambda s: node(s, 1, container=None, unread="no ssh", running=None), "NodeUnread", "known: no ssh"),
    ("hash", lambda s: replace(s, members=(s.members or ())[1:]), "NodeSilent EventsLost", "container of host-a"),
    ("kvstore", lambda s: node(s, 0, map_changed_at=130.0, running=None), "StaleMap", "changed 30 s after its cont"),
    ("hash", lambda s: node(s, 0, map_changed_at=130.0), "", ""),
    ("file", lambda s: _disabled(s), "DisabledButRunning", "runs pack.Sensor0, disabled"),
    ("file", lambda s: node(s, 0, running=frozenset()), "SensorGivenUp", "has no process"),
    ("hash", lambda s: replace(s, timers=(Member("h", 1), Member("i", 1))), "TimersOnManyNodes", "engines (h, i)"),
    ("hash", lambda s: replace(s, timers=()), "TimersOnNone", "no timer fires"),
    ("hash", lambda s: replace(s, timers=None, members=None), "", ""),
    ("hash", lambda s: replace(s, events=_events(1.0, 3.0)), "DuplicateTriggers", "twice by n1 and n3, the last 2.00"),
    ("hash", lambda s: replace(s, events=(*_events(1.0, 9.0), Event("p.t", 9.0, "y"))), "", ""),
]


def _events(*times: float) -> tuple[Event, ...]:
    return tuple(Event("p.t", at, "x", f"n{at:.0f}") for at in times)


def _end(snapshot: Snapshot, bound: str) -> str:
    container = snapshot.nodes[2].container
    assert container is not None
    assert container.hash_ranges is not None
    return container.hash_ranges.replace("MAX", bound)


def _start(snapshot: Snapshot) -> str:
    """One hash more than its range has."""
    container = snapshot.nodes[0].container
    assert container is not None
    assert container.hash_ranges is not None
    return f"MIN..{int(container.hash_ranges.partition('..')[2]) + 1}"


def _disabled(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, sensors=(replace(SENSORS[0], enabled=False), *SENSORS[1:]))


@pytest.mark.parametrize(("provider", "change", "codes", "words"), CASES)
def test_each_finding(provider: str, change: Change, codes: str, words: str) -> None:
    findings = found(change(healthy(provider)))
    assert set(findings) == set(codes.split())
    assert words in "\n".join(finding.line() for finding in findings.values())
    for finding in findings.values():
        assert finding.subject.startswith("sensors")
        assert "\n" not in finding.line()


def test_a_lost_node_without_hosts_is_counted() -> None:
    snapshot = healthy("hash")
    blind = replace(
        snapshot, nodes=tuple(replace(each, host=None) for each in snapshot.nodes), members=(Member("x", 1),)
    )
    assert "1 of 3 sensor containers in the service registry, 2 missing" in found(blind)["NodeSilent"].message


def test_equal_ranges_over_few_sensors_may_be_unbalanced() -> None:
    snapshot = healthy("kvstore")
    crowded = told(told(snapshot, 1, refs=("none",)), 0, refs=ALL[:8])
    crowded = told(crowded, 2, refs=ALL[8:])
    assert found(crowded)["Unbalanced"].message == "carries 2.00 x the mean, b 0"
    few = (Container("a", "kvstore", refs=ALL[:1]), Container("b", "kvstore", refs=("",)))
    lonely = Snapshot(tuple(SensorNode(each.node, each) for each in few), SENSORS[:1])
    assert found(lonely) == {}


@given(st.lists(st.sampled_from(["MIN..MAX", "0..9", "9..MAX", "", "x", "4..2", None]), max_size=4), st.integers(0, 12))
def test_nothing_that_a_fleet_says_breaks_the_rules(ranges: list[str | None], size: int) -> None:
    nodes = tuple(SensorNode(f"n{i}", Container(f"n{i}", "hash", each)) for i, each in enumerate(ranges))
    assess(Snapshot(nodes, SENSORS[:size], members=(), timers=()), SensorsLimits())


def test_a_map_that_changed_to_what_its_container_runs_is_not_stale() -> None:
    assert found(node(healthy("kvstore"), 0, map_changed_at=130.0)) == {}


def test_a_node_whose_processes_are_seen_is_silent_without_its_container() -> None:
    """Whatever the registry still says; and of two nodes on a host the one that was seen is not the lost one."""
    snapshot = node(healthy("hash"), 1, containers=(), running=frozenset())
    assert found(snapshot)["NodeSilent"].message == "no sensor container runs there"
    assert found(snapshot)["EventsLost"].message.startswith("4 sensors of b run nowhere")
    shared = tuple(replace(each, host="h", containers=(7,) if each.name != "a" else None) for each in snapshot.nodes)
    two = replace(snapshot, nodes=shared, members=(Member("h", 7), Member("h", 8)))
    assert [each.name for each in two.silent()] == ["a"]


def test_without_the_api_nothing_is_said_of_sensors() -> None:
    snapshot = replace(healthy("hash"), sensors=(), members=None, timers=None, unread="StackStorm's API is away")
    assert set(found(snapshot)) == {"SensorsUnread"}


# -- recorded fleets


def fleet(case: str, *containers: Container) -> Snapshot:
    def body(name: str) -> Any:
        return recorded(case, name)["body"]

    return Snapshot(
        nodes=tuple(SensorNode(each.node, each) for each in containers),
        sensors=sensors_in_rows(body("sensortypes"), "equal", ""),
        members=members_from(body("service_registry_members_sensorcontainer")),
        timers=members_from(body("service_registry_members_timer_engine")),
        events=events_from(body("triggerinstances")),
    )


EVERYTHING = Container("nodeA"), Container("nodeB")
HASHED = Container("nodeA", "hash", "0..2147483648"), Container("nodeB", "hash", "2147483648..MAX")


def test_recorded_two_containers_without_partition() -> None:
    findings = found(fleet("duplicate", *EVERYTHING))
    assert set(findings) == {"SensorOwnedTwice", "DuplicateTriggers"}
    assert findings["DuplicateTriggers"].message == "1 event of probe.event came twice, the last 0.29 s apart"
    assert findings["SensorOwnedTwice"].severity is Severity.CRITICAL


def test_recorded_hash_ranges() -> None:
    """The two instances of the earlier event are still listed; the event under hash ranges came once."""
    snapshot = fleet("hash", *HASHED)
    assert set(found(snapshot)) == {"Unbalanced", "DuplicateTriggers"}
    assert sum("ev_hash_1" in event.content and event.trigger == "probe.event" for event in snapshot.events) == 1


def test_recorded_node_lost() -> None:
    """Two seconds after its SIGKILL the registry still has it; later it has not."""
    assert "NodeSilent" not in found(fleet("node_lost_2s", *EVERYTHING))
    assert "1 of 2 sensor containers" in found(fleet("node_lost", *EVERYTHING))["NodeSilent"].message


def test_a_sensor_under_a_lease_may_be_on_several_nodes() -> None:
    twice = told(healthy("kvstore"), 0, refs=tuple(sensor.ref for sensor in SENSORS))
    assert "SensorOwnedTwice" in found(twice)
    assert "SensorOwnedTwice" not in found(replace(twice, leased=tuple(sensor.ref for sensor in SENSORS)))


def test_this_packs_sensors_are_known_to_be_under_its_lease() -> None:
    root = Path(__file__).parents[2]
    classes = sorted(yaml.safe_load(file.read_text())["class_name"] for file in root.glob("sensors/*.yaml"))
    assert sorted(OWN) == [f"ha.{name}" for name in classes]
    section = {"provider": "default", "nodes": [{"name": "a"}], "leased": ["aws.SQSSensor"]}
    config = {"deployments": [{"name": "lab", "sensors": section}]}
    assert select(config).require("sensors").leased == ("aws.SQSSensor",)
    assert select({**config, "lease": {"backend": "redis"}}).require("sensors").leased == ("aws.SQSSensor", *OWN)
