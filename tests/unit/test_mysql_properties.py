"""What must hold for every pair or trio, not only for the recorded ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from hypothesis import given
from hypothesis import strategies as st

from st2ha.config import Host
from st2ha.mysql import decide, decide_failover
from st2ha.mysql.assess import assess
from st2ha.mysql.facts import Answer, Channel, Denied, Failover, Member, Snapshot
from st2ha.mysql.gtid import Gtids
from st2ha.mysql.settings import Mysql
from st2ha.plan import Decision, Plan, Step
from st2ha.probe import Silence, Silent
from st2ha.report import Severity
from tests.examples import examples

AT = 1_800_000_000.0


@dataclass(frozen=True)
class Node:
    """A made-up server; `source` is the number of the one it replicates from."""

    number: int
    silence: Optional[Silence] = None
    denied: bool = False
    read_only: bool = True
    source: Optional[int] = None
    io: str = "Yes"
    sql: str = "Yes"
    applied: int = 100
    errant: int = 0

    @property
    def host(self) -> Host:
        return Host(f"db{self.number}", 3306)


def snapshot_of(nodes: list[Node], last: Optional[Failover] = None) -> Snapshot:
    return Snapshot("main", {node.host: _answer(node, last) for node in nodes}, AT)


def _answer(node: Node, last: Optional[Failover]) -> Answer:
    if node.silence is not None:
        return Silent(node.silence, "for the test", 1.0)
    if node.denied:
        return Denied(node.host, str(node.host), "Access denied")
    position = f"0-1-{node.applied}" + (f",0-{node.number}-{node.applied + node.errant}" if node.errant else "")
    channels = () if node.source is None else (
        Channel(f"db{node.source}:3306", node.source, "repl", node.io, node.sql, drained=node.sql == "Yes"),
    )  # fmt: skip
    return Member(
        node.host, str(node.host), "mariadb", (10, 11, 19), node.number, node.read_only,
        gtids=Gtids.mariadb_position(position), channels=channels, replicators=frozenset({"repl"}), failover=last,
    )  # fmt: skip


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    """Two or three servers in any state, sensible or not; one more may be followed that nobody has configured."""
    size = draw(st.integers(2, 3))
    return [
        Node(
            number,
            draw(st.sampled_from((None, None, None, None, *Silence))),
            draw(st.integers(0, 9)) == 0,
            draw(st.sampled_from((True, True, False))),
            draw(st.sampled_from([None, *(other for other in range(1, size + 2) if other != number)])),
            draw(st.sampled_from(("Yes", "Yes", "Connecting", "No"))),
            draw(st.sampled_from(("Yes", "Yes", "No"))),
            draw(st.integers(95, 100)),
            draw(st.sampled_from((0, 0, 0, 3))),
        )
        for number in range(1, size + 1)
    ]


def settings_for(nodes: list[Node]) -> Mysql:
    hosts = tuple(node.host for node in nodes)
    return Mysql(hosts, "st2ha", "secret", replication_username="repl", replication_password="secret")


def writable_through(nodes: list[Node], steps: tuple[Step, ...]) -> list[set[str]]:
    """Who is writable, as far as it can be seen, before and after each step."""
    seen = [{str(node.host) for node in nodes if node.silence is None and not node.denied and not node.read_only}]
    for step in steps:
        closed = {step.target} if step.verb in ("freeze", "fence", "attach") else set()
        opened = {step.target} if step.verb in ("promote", "unfreeze") else set()
        seen.append((seen[-1] - closed) | opened)
    return seen


def decisions(nodes: list[Node], force: bool) -> list[Decision]:
    snapshot, chosen = snapshot_of(nodes), settings_for(nodes)
    names = [None, *(str(node.host) for node in nodes)]
    found = [decide.switchover(snapshot, chosen, name, force) for name in names]
    found += [decide_failover.failover(snapshot, chosen, name, force) for name in names]
    return found + [decide.rejoin(snapshot, chosen, name) for name in names if name]


@examples(400)
@given(clusters(), st.booleans())
def test_no_plan_makes_a_second_writable_server(nodes: list[Node], force: bool) -> None:
    for decision in decisions(nodes, force):
        if isinstance(decision, Plan):
            counts = [len(names) for names in writable_through(nodes, decision.steps)]
            assert max(counts[1:], default=0) <= max(1, counts[0]), decision


@examples(400)
@given(clusters(), st.booleans())
def test_unknown_never_justifies_a_promotion(nodes: list[Node], force: bool) -> None:
    closed = any(node.denied and node.silence is None for node in nodes)
    for decision in decisions(nodes, force):
        if closed and isinstance(decision, Plan):
            assert "promote" not in {step.verb for step in decision.steps}


@examples(400)
@given(clusters())
def test_without_force_no_failover_while_the_primary_may_be_alive(nodes: list[Node]) -> None:
    decision = decide_failover.failover(snapshot_of(nodes), settings_for(nodes))
    if isinstance(decision, Plan) and decision.steps:
        assert not any(node.silence is Silence.HUNG for node in nodes)
        assert not snapshot_of(nodes).writable
        assert not any(node.source == len(nodes) + 1 for node in nodes if node.silence is None)
        for node in nodes:
            if node.silence is Silence.UNREACHABLE:
                assert not snapshot_of(nodes).seeing(str(node.host))


@examples(400)
@given(clusters())
def test_a_rejoin_never_drops_a_transaction(nodes: list[Node]) -> None:
    snapshot, chosen = snapshot_of(nodes), settings_for(nodes)
    for node in nodes:
        decision = decide.rejoin(snapshot, chosen, str(node.host))
        attached = [step for step in decision.steps if step.verb == "attach"] if isinstance(decision, Plan) else []
        for step in attached:
            mine, above = snapshot.member(step.target), snapshot.member(str(step.expect["source"]))
            assert mine and above and not mine.gtids.beyond(above.gtids)


@examples(200)
@given(clusters(), st.integers(0, 7200))
def test_a_second_failover_waits(nodes: list[Node], ago_s: int) -> None:
    last = Failover(AT - ago_s, "db9:3306", "db9:3306")
    decision = decide_failover.failover(snapshot_of(nodes, last), settings_for(nodes), force=True)
    if isinstance(decision, Plan) and decision.steps:
        assert ago_s >= 3600


@examples(400)
@given(clusters())
def test_every_world_is_assessed(nodes: list[Node]) -> None:
    """Never an exception; without a writable server it is not OK; two of them are critical."""
    snapshot = snapshot_of(nodes)
    found = assess(snapshot, settings_for(nodes), AT)
    worst = max((finding.severity for finding in found), default=Severity.OK)
    assert snapshot.writable or worst >= Severity.UNKNOWN, found
    assert len(snapshot.writable) < 2 or worst is Severity.CRITICAL
    assert len({finding.key for finding in found}) == len(found)
