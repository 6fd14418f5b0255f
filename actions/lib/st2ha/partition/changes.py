"""The pack's actions that change which sensor runs where. Entry files call these."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Optional

from st2ha.change import change
from st2ha.config import Deployment, number_in
from st2ha.errors import BadInput
from st2ha.partition import decide, inputs
from st2ha.partition import takeover as rescue
from st2ha.partition.act import Acting
from st2ha.partition.assess import assess
from st2ha.partition.gather import World, gather
from st2ha.partition.settings import Sensors
from st2ha.partition.transition import Transition, rows_of
from st2ha.plan import Decision, Plan, Refused, Verb

PROVIDERS = ("configured", "hash", "kvstore", "file")
DIRECTIONS = ("take", "give_back")
LEAST_UNDO_S = 60.0
LOOK_S = 5.0
"""Between two looks at a node that is silent."""


class Moving:
    """One change of a fleet: the way forth, and the way back if it is not finished."""

    def __init__(self, deployment: Deployment, settings: Sensors, cost_by: str = "equal") -> None:
        self.deployment = deployment
        self.settings = settings
        self.more: dict[str, Any] = {}
        self._cost_by = cost_by
        self._way: Optional[Transition] = None

    def gather(self) -> World:
        return gather(self.deployment, self.settings, self.settings.partition_file, self._cost_by)

    def take(self, world: World, way: Transition, goal: str) -> Plan:
        """Have this way carried out; what it would do is part of the result."""
        self._way = way
        told = {node.name: node.container for node in world.snapshot.nodes if node.container is not None}
        self.more.update(
            target=rows_of(way.goal.told), today=rows_of(told), as_read=decide.fingerprint(world), diff=way.diff
        )
        return Plan(goal, way.steps)

    def verbs(self, _: World) -> Mapping[str, Verb]:
        assert self._way is not None
        return Acting(self.deployment, self.settings, self._way).verbs()

    def undo(self, before: World, after: World) -> Optional[Plan]:
        assert self._way is not None
        back = decide.way_back(before, self._way, after)
        if back is None:
            return None
        self._way = back
        return Plan("the fleet as it was", back.steps)

    def run(self, decision: Any, dry_run: bool, deadline_s: float) -> dict[str, Any]:
        limits = self.settings.limits
        undo_s = max(LEAST_UNDO_S, 2 * self.settings.stop_s + 2 * self.settings.start_s)
        result = change(
            self.gather, decision, self.verbs, lambda world: assess(world.snapshot, limits), dry_run, deadline_s,
            self.undo, undo_s,
        )  # fmt: skip
        return {**result, **self.more}


def apply(
    deployment: Deployment, provider: str = "configured", nodes: Any = None, target: Any = None,
    as_read: Optional[str] = None, instead_of: Any = None, moves: str = "few", cost_by: str = "equal",
    force: bool = False, dry_run: bool = False, deadline_s: float = 600.0,
) -> dict[str, Any]:  # fmt: skip
    """Plan the fleet (or take `target` as it is), write what nodes are told, restart them, prove it.

    `as_read` of an earlier dry run refuses where the fleet is not as that plan had read it; `instead_of` where a node
    is told neither the target nor this: a way back takes nothing back that somebody else has told meanwhile.
    """
    settings: Sensors = deployment.require("sensors")
    chosen, names = _provider(provider, settings, target), _nodes(nodes, settings)
    keep = inputs.one_of("moves", moves or "few", ("few", "any")) == "few"
    moving = Moving(deployment, settings, inputs.one_of("cost_by", cost_by or "equal", inputs.COSTS))
    aim = None if not target else decide.target_from("target", target, settings)
    ours = None if not instead_of else decide.target_from("instead_of", instead_of, settings)
    title = f"fleet of {len(settings.nodes)} nodes told by {chosen}"

    def decision(world: World) -> Decision:
        reasons = decide.unfit(world, settings, [node.name for node in settings.nodes])
        if as_read and as_read != decide.fingerprint(world):
            reasons.append("the fleet is not as the plan had read it (as_read): plan again")
        if aim is not None and ours is not None:
            reasons += decide.strangers(world, aim, ours)
        if reasons:
            return Refused(title, tuple(reasons))
        if aim is not None:
            misfits = decide.misfits(aim, world)
            if misfits and not force:
                return Refused(title, (), tuple(misfits))
            return moving.take(world, decide.forth(world, aim), title)
        goal, made = decide.wished(world, settings, chosen, names, keep)
        moving.more["moves"] = [move.row() for move in made.moves()]
        return moving.take(world, decide.forth(world, goal), title)

    return moving.run(decision, dry_run, deadline_s)


def takeover(
    deployment: Deployment, node: Any, direction: str = "take", grace_s: Optional[float] = None, force: bool = False,
    dry_run: bool = False, deadline_s: float = 600.0,
) -> dict[str, Any]:  # fmt: skip
    """A silent node's sensors go to the others once it was silent for `grace_s`; or they come back (`give_back`).

    `node` is its name or a finding's subject, sensors/<name>.
    """
    settings: Sensors = deployment.require("sensors")
    name = _silent_node(node, settings)
    taking = inputs.one_of("direction", direction or "take", DIRECTIONS) == "take"
    wait_s = settings.takeover.grace_s if grace_s is None else number_in("parameter `grace_s`", grace_s, 0, 3600)
    moving = Moving(deployment, settings)
    if taking and not dry_run and not _stays_silent(moving, name, wait_s):
        return {"summary": f"OK {name} runs: nothing was taken over", "severity": "ok"}

    def decision(world: World) -> Decision:
        if not taking:
            found = rescue.give_back(world, settings, name)
        else:
            others = tuple(each for each in world.insides if each != name)
            found = rescue.take(world, settings, name, rescue.witnesses(settings, name, others), force)
        if isinstance(found, Refused):
            return found
        moving.more["moves"] = [move.row() for move in found.made.moves()]
        way = decide.forth(world, found.goal)
        goal = f"takeover of {name}" if taking else f"return of {name}"
        return moving.take(world, rescue.fenced_first(way, name) if found.fence and way.steps else way, goal)

    return moving.run(decision, dry_run, deadline_s)


def _stays_silent(moving: Moving, name: str, wait_s: float) -> bool:
    """Whether no look of the grace time sees it run. What cannot be seen is not waited for: the decision refuses it."""
    end = time.monotonic() + wait_s
    while True:
        world = moving.gather()
        if not rescue.is_silent(world, name):
            return world.snapshot.node(name).container is None
        left_s = end - time.monotonic()
        if left_s <= 0:
            return True
        time.sleep(min(left_s, LOOK_S))


def _silent_node(value: Any, settings: Sensors) -> str:
    """An empty target is refused: st2web drops a value it does not understand and runs the action without it."""
    known = [node.name for node in settings.nodes]
    text = value.strip() if isinstance(value, str) else ""
    name = text.rpartition("/")[2] if text.startswith("sensors/") else text
    if name == "sensors":
        raise BadInput(
            "parameter `node` is 'sensors': the service registry does not tell which node is silent; give each node's "
            "`host` in the layer `sensors`"
        )
    if name not in known:
        raise BadInput(
            f"parameter `node` is {str(value)[:40]!r}, no node of sensors.nodes: use one of {', '.join(known)}"
        )
    return name


def _provider(value: Any, settings: Sensors, target: Any) -> str:
    chosen = inputs.one_of("provider", value or "configured", PROVIDERS)
    if chosen != "configured":
        return chosen
    if settings.provider in ("hash", "kvstore", "file"):
        return str(settings.provider)
    if target:
        return "target"
    raise BadInput(
        f"parameter `provider` is 'configured', and sensors.provider is {settings.provider!r}: use one of "
        "hash, kvstore, file"
    )


def _nodes(value: Any, settings: Sensors) -> list[str]:
    known = [node.name for node in settings.nodes]
    words = value.split(",") if isinstance(value, str) else list(value or ())
    names = [str(word).strip() for word in words if str(word).strip()]
    for name in names:
        if name not in known:
            raise BadInput(f"parameter `nodes` has {name[:40]!r}: no such node, use one of {', '.join(known)}")
    return names or known
