"""From a Snapshot and a goal to a plan that moves the VIP, or a refusal. Pure.

The VIP is moved by a number in a file that keepalived tracks (`track_file`, by default `st2ha`): the number times the
file's weight is added to the balancer's priority. Invariant: before, between and after all steps exactly one balancer
has the highest priority, so that whenever we die the VIP is at one that serves; and no daemon is stopped.
docs/decisions has why, and what else was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from st2ha.edge.vrrp.conf import HIGHEST, LOWEST, Instance, TrackedFile
from st2ha.edge.vrrp.facts import Node, Running, Snapshot, State
from st2ha.edge.vrrp.predict import effective, master_down_s
from st2ha.edge.vrrp.scene import named_states
from st2ha.plan import Decision, Plan, Refused, Step
from st2ha.probe import Silent

FAULT_AT = 254
"""A number times weight of -254 or less is a fault: the instance gives the VIP up at once, and takes none."""
SPARE_S = 5.0


def switchover(snapshot: Snapshot, vip: str, target: str, switch: str) -> Decision:
    """Move `vip` to the balancer `target` by the track_file called `switch`."""
    goal = f"switchover of {vip} to {target}"
    reasons = [*_unfit_edge(snapshot, vip), *_unfit_target(snapshot, vip, target, switch)]
    if reasons:
        return Refused(goal, tuple(reasons))
    holder = snapshot.holders(vip)[0].name
    move = _Move(snapshot, vip, holder, target, switch)
    if holder == target:
        left = move.leftovers()
        return Plan(f"{goal}: it is there already" + (", but not finished" if left else ""), left)
    unwilling = move.limitation()
    return Refused(goal, tuple(unwilling)) if unwilling else Plan(goal, move.steps())


def undo(before: Snapshot, after: Snapshot, vip: str, switch: str) -> Optional[Plan]:
    """The way back from a switchover that was not finished: the numbers, and with them the VIP, as they were."""
    former, present = before.holders(vip), after.holders(vip)
    if len(former) != 1:
        return None
    home = former[0].name
    steps = [
        _write(after, vip, name, switch, number, "as it was before", holder=None)
        for name, number in before.switches.items()
        if isinstance(number, int) and _differs(after, vip, name, number, switch)
    ]
    if [node.name for node in present] != [home]:
        steps += _way_home(after, vip, home, switch)
    return Plan(f"{vip} back to {home}", tuple(steps)) if steps else None


def _differs(after: Snapshot, vip: str, name: str, number: int, switch: str) -> bool:
    now = after.switches.get(name)
    return isinstance(now, int) and now != number and switch_of(after, vip, name, switch) is not None


def _way_home(after: Snapshot, vip: str, home: str, switch: str) -> list[Step]:
    """By priority it goes home by itself; one that does not preempt has to be let in."""
    instance, present = after.instances(vip).get(home), after.holders(vip)
    wait = Step("await_holder", home, "the VIP goes back", {"vip": vip, "within_s": _patience_s(instance)})
    if instance is None or not instance.nopreempt or len(present) != 1:
        return [wait]
    there = present[0].name
    file = switch_of(after, vip, there, switch)
    if file is None:
        return [wait]
    return [
        _write(after, vip, there, switch, _releasing(file), f"{home} does not preempt: {there} gives way", there),
        wait,
        _write(after, vip, there, switch, 0, "a backup again", home, former=_releasing(file)),
    ]


class _Move:
    """One VIP on its way from one balancer to another."""

    def __init__(self, snapshot: Snapshot, vip: str, holder: str, target: str, switch: str) -> None:
        self._snapshot, self._vip, self._switch = snapshot, vip, switch
        self._holder, self._target = holder, target
        self._now = {name: now for name in snapshot.answers if (now := _running(snapshot, name, vip))}
        self._instances = snapshot.instances(vip)

    @property
    def _by_release(self) -> bool:
        """A target that does not preempt takes the VIP only when it is given up."""
        return self._now[self._target].nopreempt

    def limitation(self) -> list[str]:
        """Why the numbers cannot do it."""
        if self._by_release:
            return [*self._no_switch(self._holder), *self._unsuited_to_release()]
        reasons = [] if self._is_natural() else self._no_switch(self._target)
        reasons += [why for name in self._raised() for why in self._no_switch(name)]
        above = max(self._now[name].priority for name in self._others())
        if not reasons and not self._is_natural() and above >= HIGHEST:
            reasons.append(f"another balancer has priority {above}, and there is no room above it: lower it")
        return reasons

    def steps(self) -> tuple[Step, ...]:
        wait = Step(
            "await_holder", self._target, "the VIP must arrive before anything else is touched",
            {"vip": self._vip, "within_s": _patience_s(self._instances[self._target])},
        )  # fmt: skip
        prove = self._prove()
        if self._by_release:
            file = self._file(self._holder)
            return (
                self._set(self._holder, _releasing(file), "it gives the VIP up", self._holder),
                wait,
                self._set(self._holder, 0, "it is a backup again, and does not preempt", self._target, file),
                prove,
            )
        lowering = [self._set(name, 0, "nobody but the target is raised", None) for name in self._raised()]
        if self._is_natural():
            return (*lowering, wait, prove)
        number = self._number()
        why = "its priority must be above all others"
        return (self._set(self._target, number, why, self._holder), wait, *lowering, prove)

    def leftovers(self) -> tuple[Step, ...]:
        """What a switchover to the target left undone when it died: numbers of others that keep them up, or out."""
        first = self._now[self._target].priority if self._target in self._now else LOWEST
        steps = []
        for name, instance in self._instances.items():
            file, number = switch_of(self._snapshot, self._vip, name, self._switch), self._snapshot.switches.get(name)
            if name == self._target or file is None or not isinstance(number, int) or not number:
                continue
            if number * file.weight > 0 or instance.nopreempt or effective(instance) < first:
                steps.append(self._set(name, 0, "left behind by a switchover that was not finished", self._target))
        return (*steps, self._prove()) if steps else ()

    def _prove(self) -> Step:
        return Step("prove", self._target, "it alone has the VIP, and serves through it", {"vip": self._vip})

    def _others(self) -> list[str]:
        return [name for name in self._now if name != self._target]

    def _raised(self) -> list[str]:
        return [name for name in self._others() if self._snapshot.switches.get(name) not in (None, 0)]

    def _natural(self, name: str) -> int:
        """Its priority with 0 in the switch file."""
        file, number = switch_of(self._snapshot, self._vip, name, self._switch), self._snapshot.switches.get(name)
        return self._now[name].priority - (file.weight * number if file and isinstance(number, int) else 0)

    def _is_natural(self) -> bool:
        """Whether the target is first as soon as nobody else is raised."""
        first = max(self._natural(name) for name in self._others())
        return bool(self._raised()) and self._now[self._target].priority > first

    def _number(self) -> int:
        file = self._file(self._target)
        missing = max(self._now[name].priority for name in self._others()) + 1 - self._natural(self._target)
        return max(1, _ceiling(missing, abs(file.weight))) * (1 if file.weight > 0 else -1)

    def _file(self, name: str) -> TrackedFile:
        file = switch_of(self._snapshot, self._vip, name, self._switch)
        assert file is not None, "limitation() has looked"
        return file

    def _set(
        self, name: str, number: int, why: str, holder: Optional[str], written: Optional[TrackedFile] = None
    ) -> Step:
        former = None if written is None else _releasing(written)
        return _write(self._snapshot, self._vip, name, self._switch, number, why, holder, former)

    def _no_switch(self, name: str) -> list[str]:
        """Why the balancer has no file by which its priority could be moved."""
        file, number = switch_of(self._snapshot, self._vip, name, self._switch), self._snapshot.switches.get(name)
        if file is None:
            return [
                f"{name} tracks no file {self._switch!r}: add `track_file {self._switch} {{ file /var/lib/st2ha/vrrp; "
                "weight 1; init_file 0 }` to its keepalived.conf, name it under track_file of the instance, reload"
            ]
        if file.weight == 0:
            return [f"the track_file {self._switch!r} of {name} has weight 0: give it weight 1"]
        if isinstance(number, Silent):
            return [f"the switch file of {name} cannot be read: {number.reason}"]
        return []

    def _unsuited_to_release(self) -> list[str]:
        """Who would take the VIP instead of the target, once it is given up or afterwards."""
        mine, reasons = self._now[self._target].priority, []
        waiting = [n for n in self._others() if n != self._holder and self._now[n].state is State.BACKUP]
        if higher := [name for name in waiting if self._now[name].priority >= mine]:
            reasons.append(f"{higher[0]} would take the VIP: its priority is not below that of {self._target}")
        here = self._now[self._holder]
        if not here.nopreempt and here.priority >= mine:
            reasons.append(f"{self._holder} would take the VIP back: it preempts, {self._target} does not")
        return reasons


def switch_of(snapshot: Snapshot, vip: str, name: str, switch: str) -> Optional[TrackedFile]:
    """The switch file that a balancer's instance of the VIP tracks."""
    instance = snapshot.instances(vip).get(name)
    return next((each for each in instance.files if each.name == switch and each.path), None) if instance else None


def _write(
    snapshot: Snapshot, vip: str, name: str, switch: str, number: int, why: str, holder: Optional[str],
    former: Optional[int] = None,
) -> Step:  # fmt: skip
    """`holder`: who must hold the VIP when it is written, None: whoever. `former`: what must be in the file then."""
    file, found = switch_of(snapshot, vip, name, switch), snapshot.switches.get(name)
    was = former if former is not None else found if isinstance(found, int) else 0
    expect: Mapping[str, object] = {
        "path": file.path if file else "", "was": was, "number": number, "vip": vip, "holder": holder,
    }  # fmt: skip
    return Step("set_switch", name, f"{number} in its switch file: {why}", expect)


def _unfit_edge(snapshot: Snapshot, vip: str) -> list[str]:
    """Nothing is written while somebody is not seen, or while not exactly one holds the VIP."""
    reasons = [f"{name} is not seen: {silent.reason}" for name, silent in snapshot.silent.items()]
    holders = snapshot.holders(vip)
    if len(holders) != 1:
        names = " and ".join(node.name for node in holders) or "nobody"
        reasons.append(f"{names} holds {vip} ({named_states(snapshot, vip)}): exactly one must")
    elif not holders[0].alive or holders[0].hung:
        reasons.append(f"keepalived of {holders[0].name}, which holds {vip}, is not working: it could not give it up")
    sighting = snapshot.sightings.get(vip)
    if sighting is not None and len(sighting.macs) > 1:
        reasons.append(f"{len(sighting.macs)} MACs answer ARP for {vip}: somebody else has it, too")
    return reasons


def _unfit_target(snapshot: Snapshot, vip: str, target: str, switch: str) -> list[str]:
    node = snapshot.node(target)
    if node is None:
        return []  # told already: not seen
    reasons = [] if snapshot.services.get(target) is None else [f"{target} does not serve: {snapshot.services[target]}"]
    if vip in node.addresses:
        return []
    if not node.alive:
        return [*reasons, f"keepalived of {target} does not run"]
    now = node.now(vip)
    if now is None:
        why = "hangs" if node.hung else node.missing or f"has no instance with {vip}"
        return [*reasons, f"keepalived of {target} {why}"]
    number, file = snapshot.switches.get(target), switch_of(snapshot, vip, target, switch)
    if file is not None and isinstance(number, int) and number * file.weight <= -FAULT_AT:
        return [*reasons, f"{number} in the switch file of {target} keeps it out: finish the former switchover first"]
    if now.state is not State.BACKUP:
        word = now.state.name if now.state else "unknown"
        return [*reasons, f"keepalived of {target} is in state {word}, not BACKUP: look at its scripts and links"]
    return reasons


def _running(snapshot: Snapshot, name: str, vip: str) -> Optional[Running]:
    node: Optional[Node] = snapshot.node(name)
    return node.now(vip) if node is not None else None


def _patience_s(instance: Optional[Instance]) -> float:
    if instance is None:
        return SPARE_S
    down_s = master_down_s(instance.priority, instance.advert_s, instance.version)
    return down_s + max(0.0, instance.preempt_delay_s) + SPARE_S


def _releasing(file: TrackedFile) -> int:
    """The number that makes a fault."""
    number = _ceiling(FAULT_AT, abs(file.weight) or 1)
    return -number if file.weight >= 0 else number


def _ceiling(number: int, by: int) -> int:
    return -(-number // by)
