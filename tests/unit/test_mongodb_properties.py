"""What must hold for every replica set, not only for the recorded ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Optional

from hypothesis import HealthCheck, assume, given, note
from hypothesis import strategies as st

from st2ha.config import Host, Mongodb, MongodbLimits
from st2ha.errors import WorldChanged
from st2ha.mongodb.assess import assess
from st2ha.mongodb.decide import STEP_DOWN_S, best_candidate, limitation, switchover
from st2ha.mongodb.facts import Answer, ConfigMember, Denied, Member, OpTime, SetConfig, Snapshot, View
from st2ha.plan import Plan, Refused, Step, execute
from st2ha.probe import Silence, Silent
from st2ha.report import Severity, worst
from tests.examples import examples

LIMITS = MongodbLimits()
AT = 1_800_000_000.0
SILENCES = (Silence.REFUSED, Silence.UNREACHABLE, Silence.HUNG)
DEAD = (Silence.REFUSED, Silence.HUNG)
CLOSED = (Silence.TLS, Silence.BROKEN)


@dataclass(frozen=True)
class Node:
    """A server of a made-up set. `group`: those of one group reach each other. `from_here`: how it answers us."""

    name: str
    line: ConfigMember
    group: int = 0
    from_here: Optional[Silence] = None  # None: it answers
    dead: bool = False
    denied: bool = False
    primary: bool = False
    term: int = 1
    lag_s: int = 0
    sync_source: str = ""
    disk_used: float = 0.5
    up_s: Optional[float] = None

    @property
    def host(self) -> Host:
        return Host(self.name.split(":")[0], 27017)


def snapshot_of(nodes: list[Node]) -> Snapshot:
    """What gather would read: views follow from who reaches whom."""
    config = SetConfig(1, 1, tuple(node.line for node in nodes), 2.0)
    return Snapshot("rs0", {node.host: _answer(node, nodes, config) for node in nodes}, AT)


def _answer(node: Node, nodes: list[Node], config: SetConfig) -> Answer:
    if node.from_here is not None:
        return Silent(node.from_here, f"{node.from_here.value} for the test", 1.0)
    if node.denied:
        return Denied(node.host, node.name, node.primary, "Authentication failed.")
    if node.line.arbiter:
        return Member(node.host, node.name, "ARBITER", False)
    reached = {other.name: not other.dead and other.group == node.group for other in nodes}
    views = tuple(
        View(n.name, _state(n) if reached[n.name] else "(not reachable/healthy)", reached[n.name], n.up_s)
        for n in nodes
    )
    return Member(
        node.host, node.name, _state(node), node.primary, "6.0.5", node.term,
        OpTime(1, 1_000_000 - node.lag_s, 1), node.sync_source, views, config, disk_used=node.disk_used,
    )  # fmt: skip


def _state(node: Node) -> str:
    return "PRIMARY" if node.primary else "ARBITER" if node.line.arbiter else "SECONDARY"


@st.composite
def sets(draw: st.DrawFn) -> list[Node]:
    """One to six members; some dead, hung, cut off from here or from each other; at most one primary a group."""
    size = draw(st.integers(1, 6))
    nodes: list[Node] = []
    for number in range(1, size + 1):
        arbiter = number > 1 and draw(st.integers(0, 5)) == 0
        votes = 1 if arbiter or number == 1 else draw(st.sampled_from((1, 1, 1, 0)))
        priority = 0.0 if arbiter or not votes else float(draw(st.sampled_from((1, 1, 2, 0))))
        name = f"mongo{number}:27017"
        from_here = draw(st.sampled_from((None, None, None, *SILENCES, *CLOSED)))
        node = Node(
            name, ConfigMember(name, votes, priority, arbiter),
            group=draw(st.sampled_from((0, 0, 0, 1))),
            from_here=from_here,
            dead=from_here in DEAD or (from_here is Silence.UNREACHABLE and draw(st.booleans())),
            denied=not arbiter and draw(st.integers(0, 7)) == 0,
            lag_s=draw(st.sampled_from((0, 0, 0, 4, 60))),
            sync_source=draw(st.sampled_from(["", *(f"mongo{other}:27017" for other in range(1, size + 1))])),
            disk_used=draw(st.sampled_from((0.5, 0.5, 0.9, 0.97))),
        )  # fmt: skip
        nodes.append(node)
    for group in (0, 1):
        able = [
            index for index, node in enumerate(nodes) if node.group == group and node.line.electable and not node.dead
        ]
        chosen = draw(st.sampled_from([None, *able]))
        if chosen is not None:
            nodes[chosen] = replace(nodes[chosen], primary=True, term=1 + group, lag_s=0)
    return nodes


# -- losing a member


def lose(snapshot: Snapshot, name: str, kind: Silence, stale: bool) -> Snapshot:
    """The snapshot without `name`; the others have noticed, or still believe what they believed (`stale`)."""

    def forget(answer: Answer) -> Answer:
        if not isinstance(answer, Member) or stale:
            return answer
        views = tuple(View(v.name, "(not reachable/healthy)", False) if v.name == name else v for v in answer.views)
        return replace(answer, views=views)

    answers = {host: forget(answer) for host, answer in snapshot.answers.items()}
    lost = next(member.host for member in snapshot.members if member.name == name)
    return replace(snapshot, answers={**answers, lost: Silent(kind, "lost for the test", 1.0)})


@examples(200, suppress_health_check=[HealthCheck.filter_too_much])
@given(sets(), st.sampled_from(SILENCES), st.booleans(), st.data())
def test_losing_a_member_never_improves_the_verdict(
    nodes: list[Node], kind: Silence, stale: bool, data: st.DataObject
) -> None:
    """Exactly: a member that answers and that no finding names is lost (refused, unreachable or hung), and the others
    see that or do not yet: the verdict stays or gets worse. One way out: UNKNOWN is allowed where the lost one was the
    last that let us in (an arbiter lets nobody in) and another one speaks but does not: nobody can say any more then
    whether that is primary, or how many votes there are.
    """
    before = snapshot_of(nodes)
    found = assess(before, LIMITS, AT)
    told = " ".join(f"{each.subject} {each.message}" for each in found)
    unnamed = [member.name for member in before.members if member.name not in told]
    assume(unnamed)
    name = data.draw(st.sampled_from(unnamed))
    after = assess(lose(before, name, kind, stale), LIMITS, AT)
    note(f"lost {name}\nbefore: " + "\n  ".join(each.line() for each in found))
    note("after: " + "\n  ".join(each.line() for each in after))
    telling = [member.name for member in before.members if member.config]
    blind = telling == [name] and any(node.denied or node.from_here in CLOSED for node in nodes)
    assert worst(after) >= (min(worst(found), Severity.UNKNOWN) if blind else worst(found))
    assert worst(after) > Severity.OK


# -- candidates


@examples(150)
@given(sets())
def test_the_best_candidate_has_no_limitation(nodes: list[Node]) -> None:
    snapshot = snapshot_of(nodes)
    best = best_candidate(snapshot, settings_for(snapshot))
    if best is None:
        able = [m.name for m in snapshot.members if not m.writable and limitation(snapshot, m) is None]
        assert able == []
    else:
        assert limitation(snapshot, best) is None and not best.writable


@examples(150)
@given(sets(), st.booleans(), st.data())
def test_a_named_target_is_never_replaced(nodes: list[Node], force: bool, data: st.DataObject) -> None:
    snapshot = snapshot_of(nodes)
    target = data.draw(st.sampled_from(nodes)).name
    decision = switchover(snapshot, settings_for(snapshot), target, force)
    if isinstance(decision, Plan):
        assert {step.target for step in decision.steps if step.verb in ("elect", "prove")} <= {target}
        assert decision.steps or (snapshot.primary and snapshot.primary.name == target)
    else:
        assert decision.reasons or decision.forceable


@examples(150)
@given(sets(), st.booleans())
def test_a_plan_starts_only_from_one_primary_and_a_majority(nodes: list[Node], force: bool) -> None:
    snapshot = snapshot_of(nodes)
    decision = switchover(snapshot, settings_for(snapshot), None, force)
    codes = {each.code for each in assess(snapshot, LIMITS, AT)}
    if isinstance(decision, Plan):
        assert not codes & {"NoPrimary", "SplitBrain", "NoMajority", "AuthFailed"}
    if not force and codes & {"MemberDown", "MemberHung", "MemberUnreachableFromHere", "MemberCutOff"}:
        voters = {node.name for node in nodes if node.line.votes}
        assert isinstance(decision, Refused) or not voters


# -- an interrupted plan


def settings_for(snapshot: Snapshot) -> Mongodb:
    return Mongodb(tuple(snapshot.answers), "rs0")


@dataclass
class World:
    """A replica set as far as a switchover's steps change it; `writable` is a set, so that two primaries could be."""

    nodes: list[Node]
    writable: set[str]
    term: int = 1
    now: float = 0.0
    frozen: dict[str, float] = field(default_factory=dict)
    most_writable: int = 1

    def snapshot(self) -> Snapshot:
        nodes = [replace(n, primary=n.name in self.writable, term=self.term) for n in self.nodes]
        return snapshot_of(nodes)

    def apply(self, step: Step) -> str:
        """One step's effect, with the same guards as the real verbs."""
        self.now += 1
        done = step.verb == "step_down" and step.target not in self.writable
        if step.verb in ("catch_up", "follow", "step_down") and not done and step.expect["term"] != self.term:
            raise WorldChanged(f"term {self.term}")
        getattr(self, step.verb)(step)
        self.most_writable = max(self.most_writable, len(self.writable))
        return "done"

    def freeze(self, step: Step) -> None:
        self.frozen[step.target] = self.now + step.expect["seconds"]

    def catch_up(self, step: Step) -> None:
        self.nodes = [replace(n, lag_s=0) if n.name == step.target else n for n in self.nodes]

    def await_clients(self, step: Step) -> None:
        self.now += 10

    def follow(self, step: Step) -> None:
        pass

    def step_down(self, step: Step) -> None:
        if step.target in self.writable:
            self.writable.discard(step.target)
            self.frozen[step.target] = self.now + STEP_DOWN_S

    def elect(self, step: Step) -> None:
        if step.target in self.writable:
            return
        assert self.frozen.get(step.target, 0) <= self.now, "a frozen member refuses to run (measured: code 125)"
        self.writable.add(step.target)
        self.term += 1

    def prove(self, step: Step) -> None:
        assert self.writable == {step.target}

    def wait(self, seconds: float, rank: list[str]) -> None:
        """Time passes: without a primary the set elects one that is not frozen and has everything, after 2 s."""
        end = self.now + seconds
        self.now += 2
        while not self.writable and self.now <= end:
            able = [
                n.name
                for n in self.nodes
                if n.line.electable and not n.lag_s and self.frozen.get(n.name, 0) <= self.now
            ]
            if able:
                self.writable.add(min(able, key=rank.index))
                self.term += 1
            self.now += 1
        self.now = max(self.now, end)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size = draw(st.integers(2, 5))
    nodes = []
    for number in range(1, size + 1):
        name = f"mongo{number}:27017"
        nodes.append(
            Node(
                name,
                ConfigMember(name, 1, 1.0),
                lag_s=draw(st.sampled_from((0, 0, 5))) if number > 1 else 0,
                up_s=draw(st.sampled_from((None, 2.0, 60.0))),
            )
        )
    frozen = {node.name: float(draw(st.sampled_from((0, 0, 600)))) for node in nodes[1:]}
    return World(nodes, {nodes[0].name}, frozen=frozen)


@examples(200)
@given(worlds(), st.data())
def test_an_interrupted_plan_can_be_decided_again_and_ends_in_the_same_place(world: World, data: st.DataObject) -> None:
    """Exactly: stop a switchover to a named member after any number of its steps, let any time pass that an election
    needs, decide again for that member and run to the end: it is the only primary, and never were there two."""
    names = [node.name for node in world.nodes]
    target = data.draw(st.sampled_from(names[1:]))
    plan = decided(world, target)
    steps = data.draw(st.integers(0, len(plan.steps)))
    for step in plan.steps[:steps]:
        world.apply(step)
    world.wait(data.draw(st.sampled_from((3, 25, 40, 700))), data.draw(st.permutations(names)))
    again = decided(world, target)
    verbs = dict.fromkeys(("catch_up", "await_clients", "follow", "freeze", "step_down", "elect", "prove"), world.apply)
    outcome = execute(again, verbs, 60)
    assert outcome.status == "done", outcome.reason
    assert world.writable == {target} and world.most_writable == 1


def decided(world: World, target: str) -> Plan:
    snapshot = world.snapshot()
    decision = switchover(snapshot, settings_for(snapshot), target)
    assert isinstance(decision, Plan), decision
    return decision
