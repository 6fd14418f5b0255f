"""The verbs of a fleet's plans; each looks again before it writes, and proves what it did."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from st2ha.change import wait_until
from st2ha.config import Deployment
from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.hosts import surroundings
from st2ha.partition.assess import assess
from st2ha.partition.gather import World, gather
from st2ha.partition.inside import Seen, read_processes
from st2ha.partition.providers import same
from st2ha.partition.settings import Place, Sensors
from st2ha.partition.transition import CONF, FILE, KEY, Transition, Write
from st2ha.plan import Step, Verb
from st2ha.probe import Attempt, Silent, ask_all
from st2ha.swap import swap

PAUSE_S = 0.2
EXTRA_S = 5.0
"""How long a sensor is waited for that did not run before either: it may be broken."""
FATAL = frozenset({"SensorUnowned", "SensorOwnedTwice", "NameClash", "EmptyListRunsAll", "RangesUnreadable"})


class Acting:
    """What carries out one transition."""

    def __init__(self, deployment: Deployment, settings: Sensors, way: Transition) -> None:
        self._deployment = deployment
        self._settings = settings
        self._way = way

    def verbs(self) -> Mapping[str, Verb]:
        return {
            "stop": self.stop, "restart": self.restart, "start": self.start, "prove": self.prove, "fence": self.fence,
            CONF: lambda step: self._swap(step, CONF), FILE: lambda step: self._swap(step, FILE), KEY: self.write_key,
        }  # fmt: skip

    def stop(self, step: Step) -> str:
        """Containers and their sensors are gone, by their own processes where they can be seen."""
        self._each(step, self._stop, self._settings.stop_s)
        return "stopped"

    def start(self, step: Step) -> str:
        """Never while another node runs what a node shall run alone."""
        self._guard(step)
        self._each(step, self._start, self._settings.start_s)
        return self._running(step)

    def restart(self, step: Step) -> str:
        self._guard(step)
        self._each(step, self._stop, self._settings.stop_s)
        self._each(step, self._start, self._settings.start_s)
        return self._running(step)

    def write_key(self, step: Step) -> str:
        """Read again, then written: the API has no way to do both at once."""
        from st2ha.platform.api import Api

        write = next(each for each in self._way.writes if each.verb == KEY and each.where == step.target)
        with Api(self._deployment.require("stackstorm")) as api:
            now = api.key(write.where)
            if now == write.after:
                return "it is so already"
            if now != write.before:
                raise WorldChanged(f"the key {write.where} has changed since it was read: it is left; plan again")
            if write.after is None:
                api.delete_key(write.where)
                return "removed"
            api.put_key(write.where, write.after)
        return "written"

    def prove(self, step: Step) -> str:
        """All nodes in play are told what was planned, and nothing about who runs what is wrong."""
        world = gather(self._deployment, self._settings, self._way.goal.file)
        wrong = []
        for name, told in self._way.goal.told.items():
            now = world.snapshot.node(name).container
            if now is None and name in self._way.goal.stays_down:
                continue
            if now is None or not same(now, told):
                wrong.append(f"{name} is not told what was planned")
            if world.snapshot.node(name).is_down and name not in self._way.goal.stays_down:
                wrong.append(f"{name} has no container")
        wrong += [f"{each.code}: {each.message}" for each in self._faults(world)]
        if wrong:
            raise StepFailed("; ".join(wrong[:3]))
        return f"{len(world.snapshot.enabled)} sensors, each on one node"

    def fence(self, step: Step) -> str:
        """The configured command makes sure that a lost node is off; it runs here."""
        place, command = self._settings.place(step.target), self._settings.takeover.fence or ()
        try:
            done = subprocess.run(
                place.words(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=self._settings.stop_s,
                check=False, env=surroundings(),
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StepFailed(f"fence_command did not do its work ({type(error).__name__}): nothing was moved") from None
        if done.returncode:
            raise StepFailed(f"fence_command ended with {done.returncode}: nothing was moved")
        return "fenced"

    def _faults(self, world: World) -> list[Any]:
        """Nodes that are left alone may be unread or told nothing; they count as out of play."""
        away = {f"sensors/{node.name}" for node in world.snapshot.nodes if node.name not in self._way.goal.told}
        found = assess(world.snapshot, self._settings.limits)
        return [each for each in found if each.code in FATAL and each.subject not in away]

    def _swap(self, step: Step, verb: str) -> str:
        write = next(each for each in self._way.writes if each.verb == verb and each.node == step.target)
        place = self._settings.place(write.node)
        swap(place.door(), self._path(write, place), write.before, write.after, self._settings.timeout_s)
        return "written"

    def _path(self, write: Write, place: Place) -> str:
        return place.config_file if write.verb == CONF else write.where

    def _stop(self, place: Place) -> None:
        place.door().run(place.words(place.stop), self._settings.stop_s)

        def left() -> Optional[str]:
            seen = read_processes(place, self._settings.timeout_s)
            if seen.containers or seen.running:
                return f"{len(seen.containers or ())} containers and {len(seen.running or ())} sensors still run"
            return None

        wait_until(left, self._settings.stop_s, f"the container of {place.name} to end", PAUSE_S)

    def _start(self, place: Place) -> None:
        """Runs when its container and each sensor that ran somewhere before run; the registry is asked if it is on."""
        place.door().run(place.words(place.start), self._settings.start_s)
        wants = self._way.wants.get(place.name, frozenset())
        began = time.monotonic()

        def missing() -> Optional[str]:
            seen = read_processes(place, self._settings.timeout_s)
            if seen.containers is None or seen.running is None:
                return self._unregistered(place, seen)
            if not seen.containers:
                return "it has no container: it ended at its start, read its log"
            lacks = wants - seen.running
            needed = sorted(lacks & self._way.must_run)
            if needed:
                return f"{needed[0]} does not run"
            if lacks and time.monotonic() - began < EXTRA_S:
                return f"{min(lacks)} does not run"
            return self._unregistered(place, seen)

        wait_until(missing, self._settings.start_s, f"the container of {place.name} to run", PAUSE_S)

    def _unregistered(self, place: Place, seen: Seen) -> Optional[str]:
        """Why the service registry does not know it yet; None if it does, or is off."""
        from st2ha.platform.api import Api

        with Api(self._deployment.require("stackstorm")) as api:
            rows = api.registered("sensorcontainer")
        if rows is None:
            return None
        members = [row.get("capabilities") or {} for row in rows]
        known = place.host is None or any(each.get("hostname") == place.host for each in members)
        by_number = any(each.get("pid") in (seen.containers or ()) for each in members)
        return None if known or by_number else "it is not in the service registry"

    def _guard(self, step: Step) -> None:
        """No other node runs, by its processes, what the step's nodes are to run alone; no lost one has come back."""
        self._gone()
        starting = self._names(step)
        owners: dict[str, list[str]] = {}
        for name, refs in self._way.wants.items():
            for ref in refs:
                owners.setdefault(ref, []).append(name)
        alone = {ref: names[0] for ref, names in owners.items() if len(names) == 1 and names[0] in starting}
        others = [place for place in self._settings.places if place.prefix is not None]
        seen = ask_all(others, lambda place, attempt: read_processes(place, attempt.left_s()), self._settings.timeout_s)
        for place, found in seen.items():
            running = frozenset[str]() if isinstance(found, Silent) else found.running or frozenset()
            twice = sorted(ref for ref in running if alone.get(ref, place.name) != place.name)
            if twice:
                raise WorldChanged(
                    f"{place.name} runs {twice[0]}, which {alone[twice[0]]} shall run: nothing is started"
                )

    def _gone(self) -> None:
        """A lost node that is in the service registry again is back, and may run what others are about to start."""
        from st2ha.platform.api import Api

        hosts = [place.host for place in self._settings.places]
        lost = [self._settings.place(name) for name in self._way.goal.stays_down]
        lost = [place for place in lost if place.host is not None and hosts.count(place.host) == 1]
        if not lost:
            return
        with Api(self._deployment.require("stackstorm")) as api:
            rows = api.registered("sensorcontainer") or []
        there = {(row.get("capabilities") or {}).get("hostname") for row in rows}
        back = [place.name for place in lost if place.host in there]
        if back:
            raise WorldChanged(f"{back[0]} is in the service registry again: nothing is started")

    def _running(self, step: Step) -> str:
        """What runs there now, and what does not although it is told to."""
        notes = []
        for place in map(self._settings.place, self._names(step)):
            running = read_processes(place, self._settings.timeout_s).running
            lacks = sorted(self._way.wants.get(place.name, frozenset()) - (running or frozenset()))
            if running is not None and lacks:
                notes.append(f"{lacks[0]} does not run on {place.name}, nor did it before")
        return "; ".join(notes) or "running"

    def _names(self, step: Step) -> list[str]:
        return step.target.split(", ")

    def _each(self, step: Step, work: Callable[[Place], None], deadline_s: float) -> None:
        """All nodes of the step at once; every one is waited for before a failure is told."""

        def ask(place: Place, _: Attempt) -> Optional[HaError]:
            try:
                work(place)
            except HaError as error:
                return error
            return None

        places = [self._settings.place(name) for name in self._names(step)]
        answers = ask_all(places, ask, 2 * deadline_s + self._settings.timeout_s)
        failed = [f"{place.name}: {_why(answer)}" for place, answer in answers.items() if answer is not None]
        if failed:
            raise StepFailed("; ".join(failed))


def _why(answer: object) -> str:
    return answer.reason if isinstance(answer, Silent) else str(answer)
