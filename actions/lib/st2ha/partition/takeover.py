"""Whether a silent node's sensors may go to the others, or come back. Pure but for `witnesses`, which asks.

A node that is lost must not come back and run its sensors beside those who took them over. So at least one must hold:
its own processes show that its container is gone, and its map is written before the others start; or its key is in the
datastore (provider kvstore), where it is emptied first, and a second node does not reach it either; or `fence_command`
makes sure that it is off. Being unreachable from here alone is never enough.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Union

from st2ha.errors import CommandFailed, HostError
from st2ha.partition import decide
from st2ha.partition.gather import World
from st2ha.partition.plan import Assignment
from st2ha.partition.providers import share_of
from st2ha.partition.settings import Place, Sensors
from st2ha.partition.transition import Goal, Transition
from st2ha.plan import Refused, Step
from st2ha.probe import Attempt, Silent, ask_all

NO_SUCH_PROGRAM = (126, 127)
"""What a shell ends with if it cannot run a command: no witness at all."""


@dataclass(frozen=True)
class Testimony:
    """What the other nodes say of a lost one: who does not reach it, who does, who cannot say."""

    lost: tuple[str, ...] = ()
    reached: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """What the nodes in play shall be told, the plan behind it, and whether the lost node is fenced first."""

    goal: Goal
    made: Assignment
    fence: bool = False


def witnesses(settings: Sensors, lost: str, others: tuple[str, ...]) -> Testimony:
    """Run `witness_command` inside the other nodes, all at once."""
    command, place = settings.takeover.witness, settings.place(lost)
    if command is None:
        return Testimony()

    def ask(witness: Place, attempt: Attempt) -> str:
        try:
            witness.door().run(place.words(command), attempt.left_s() * 0.9)
        except CommandFailed as error:
            return "mute" if error.code in NO_SUCH_PROGRAM else "lost"
        except HostError:
            return "mute"
        return "reached"

    answers = ask_all([settings.place(name) for name in others], ask, settings.timeout_s)
    said = {each.name: "mute" if isinstance(answer, Silent) else answer for each, answer in answers.items()}
    return Testimony(*(tuple(name for name, word in said.items() if word == w) for w in ("lost", "reached", "mute")))


def lost_nodes(world: World) -> tuple[str, ...]:
    """Nodes that are silent or unread: each may be lost. One that is silent and told to run nothing is taken over."""
    silent = {node.name for node in world.snapshot.silent()}
    return tuple(node.name for node in world.snapshot.nodes if node.name in silent or node.container is None)


def is_silent(world: World, name: str) -> bool:
    return name in {node.name for node in world.snapshot.silent()}


def provider_of(world: World, settings: Sensors, names: tuple[str, ...]) -> Optional[str]:
    """The provider of these nodes, if it is one of those that can be planned and the same everywhere."""
    found = {c.provider for name in names if (c := world.snapshot.node(name).container) is not None}
    only = found.pop() if len(found) == 1 else settings.provider
    return only if only in ("hash", "kvstore", "file") and not found else None


def take(world: World, settings: Sensors, node: str, said: Testimony, force: bool = False) -> Union[Taken, Refused]:
    """What the others shall be told, and whether to fence first; or why not. `force`: a person permits more nodes."""
    title = f"takeover of {node}"
    lost = lost_nodes(world)
    others = _takers(world, [each.name for each in world.snapshot.nodes if each.name not in {*lost, node}])
    provider = provider_of(world, settings, others)
    reasons = [] if others else ["no other node answers"]
    if not is_silent(world, node):
        reasons.append(f"{node} is not known to be silent: {world.snapshot.node(node).unread or 'it runs'}")
    if provider is None:
        reasons.append("the other nodes have no provider in common that can be planned: hash, kvstore or file")
    reasons += decide.unfit(world, settings, others)
    fence = not _is_gone(world, node) and settings.takeover.fence is not None
    if not _is_gone(world, node) and not fence:
        reasons += _unfenced(node, provider, said)
    if reasons or provider is None:
        return Refused(title, tuple(reasons))
    most = settings.takeover.max_nodes
    if len(lost) > most and not force:
        return Refused(
            title, (), (f"{len(lost)} nodes are lost ({', '.join(lost)}), max_nodes is {most}: ask a person",)
        )
    return _planned(world, settings, provider, others, lost, fence)


def give_back(world: World, settings: Sensors, node: str) -> Union[Taken, Refused]:
    """The node gets a share again, beside those that have one now."""
    lost = tuple(name for name in lost_nodes(world) if name != node)
    alive = [each.name for each in world.snapshot.nodes if each.name not in lost]
    others = _takers(world, [name for name in alive if name != node])
    names = tuple(name for name in alive if name in others or name == node)
    provider = provider_of(world, settings, names)
    reasons = decide.unfit(world, settings, names)
    if provider is None:
        reasons.append("the nodes have no provider in common that can be planned: hash, kvstore or file")
    if reasons or provider is None:
        return Refused(f"return of {node}", tuple(reasons))
    return _planned(world, settings, provider, names, lost, False)


def _takers(world: World, names: list[str]) -> tuple[str, ...]:
    """Those that run sensors already; a node that was drained on purpose stays so, unless there is no other."""
    sharing = tuple(name for name in names if has_share(world, name))
    return sharing or tuple(names)


def _planned(
    world: World, settings: Sensors, provider: str, names: tuple[str, ...], lost: tuple[str, ...], fence: bool
) -> Taken:
    """A lost node is told to run nothing, where that can be written: inside it, or in the datastore."""
    goal, made = decide.wished(world, settings, provider, names, True)
    down = {name for name in lost if name not in names and (name in world.insides or provider == "kvstore")}
    told = {name: each for name, each in goal.told.items() if name in names or name in down}
    return Taken(replace(goal, told=told, stays_down=frozenset(down)), made, fence)


def fenced_first(way: Transition, node: str) -> Transition:
    """The same way with the fence before everything."""
    step = Step("fence", node, "it must not come back and run its sensors beside those who take them over")
    return replace(way, steps=(step, *way.steps))


def has_share(world: World, node: str) -> bool:
    """Whether a node is told to run anything."""
    told = world.snapshot.node(node).container
    if told is None:
        return False
    share = share_of(told)
    return share.everything or bool(share.ranges) or any("." in ref for ref in share.refs)


def _is_gone(world: World, node: str) -> bool:
    """By its own processes: no container, and no sensor that outlived it."""
    found = world.snapshot.node(node)
    return found.is_down and not found.running


def _unfenced(node: str, provider: Optional[str], said: Testimony) -> list[str]:
    """Why a node that cannot be seen into may still be alive."""
    reasons = []
    if provider != "kvstore":
        reasons.append(
            f"{node} cannot be told to stay away: with provider {provider} it comes back with its old share; "
            "set takeover.fence_command, or use provider kvstore"
        )
    if said.reached:
        reasons.append(f"{' and '.join(said.reached)} reach {node}: it may be alive; stop its container")
    elif not said.lost:
        mute = f"{' and '.join(said.mute)} could not say" if said.mute else "takeover.witness_command is not set"
        reasons.append(f"no second witness that {node} is lost: {mute}")
    return reasons
