"""The sensors that tell changes: looks from an observer, through st2ha.watch, to StackStorm's triggers.

Order: dispatch, then save. A crash in between repeats a change with the same id rather than losing it. StackStorm's
database may be the very thing that fails: then dispatching and saving fail, too, and both wait, each on its own; no
exception ends a watcher, as StackStorm restarts a sensor twice and then leaves it dead.

With a section `lease` in the configuration a watcher runs on every node and one of them watches. The holder whose
lease is over goes on looking, but keeps what it finds to itself until the lease is its own again; when somebody else
has taken it, all that it had kept is forgotten: the new holder tells it, from what was saved and what it sees.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Optional, Union

from st2ha.config import hollow
from st2ha.errors import BadInput
from st2ha.keeper import UNREAD, Keeper
from st2ha.observer import Gone, Observer
from st2ha.partition.lease.lease import Lease
from st2ha.partition.lease.settings import configured
from st2ha.report import Finding, Severity
from st2ha.stackstorm import Sensor
from st2ha.watch import Change, Patience, State, dump, load, load_finding, update, update_role

Row = Mapping[str, Any]
FINDING_CHANGED, ROLE_CHANGED = "ha.finding_changed", "ha.role_changed"

LOAD_PATIENCE_S = 30.0
"""How long changes are held back at the start while the datastore cannot be read: without it they may be repeats."""
SILENCE_S = 120.0
"""A living observer tells a look every 15 s; each server may take its timeout on top."""
MOST_WAITING = 200
RETRY_S = 1.0


class Taken(Exception):
    """Another node holds the lease now."""


class Watcher(Sensor):
    """Base of the sensors; a subclass names its `service` (a layer of the configuration) and its `observer` module."""

    service = ""
    observer = ""
    patience = Patience()
    lease: Optional[Lease] = None
    _keeper: Optional[Keeper] = None
    _token: Optional[int] = None

    def run(self) -> None:
        """Watch for ever."""
        said = ""
        while True:
            try:
                self._take_turns()
            except Taken as taken:
                self.logger.warning("%s", taken)
                continue
            except (BadInput, Gone) as error:
                sentence = str(error)
            except Exception as error:  # noqa: BLE001 - the last net, see above
                sentence = f"internal error {type(error).__name__}: {error}"
            if sentence != said:
                self.logger.error("%s; trying again every %g s", sentence, 5 * RETRY_S)
            said = sentence
            time.sleep(5 * RETRY_S)

    def cleanup(self) -> None:
        """Give what was told a moment to be saved, and the lease back."""
        if self._keeper is not None:
            self._keeper.settle(2.0)
        if self.lease is not None:
            self.lease.end()

    def _take_turns(self) -> None:
        """Watch when it is our turn, which it always is without leases."""
        settings = configured(self.config)
        if settings is None:
            self._watch()
            return
        if self.lease is None:
            self.lease = Lease(settings, self.config, f"ha.{type(self).__name__}", self.logger)
        self.lease.wait()
        self._watch()

    def _may_tell(self) -> bool:
        """Whether the lease is held at this moment, and has been nobody else's since we began."""
        return self.lease is None or (self._token is not None and self._token == self.lease.token)

    def _forget_if_taken(self) -> None:
        """Begin anew from what the other holder has saved, when we hold again."""
        if self.lease is not None and self._token != self.lease.last_token:
            if self._keeper is not None:
                self._keeper.stop()
            self._keeper = None
            raise Taken(f"another node watches {self.service} now")

    def _watch(self) -> None:
        """Until the observer dies: take its looks, tell the changes. BadInput if there is nothing to watch."""
        names = deployments(self.config, self.service)
        keeper = self._keeper
        if keeper is None:
            self._token = self.lease.token if self.lease else None
            self._keeper = keeper = Keeper(self, [_key(name) for name in names], self._may_tell)
            self._stories = {name: Story(name, self.service) for name in names}
            self._held_until = time.monotonic() + LOAD_PATIENCE_S
        observer = Observer(self.observer, {"config": self.config, "deployments": names})
        heard_at = time.monotonic()
        try:
            while True:
                waiting = any(story.waiting for story in self._stories.values())
                look = observer.read(RETRY_S if waiting else 5 * RETRY_S)
                self._forget_if_taken()
                if look is not None:
                    heard_at = time.monotonic()
                    self._take(look, keeper)
                elif time.monotonic() - heard_at > SILENCE_S + 3 * _longest_timeout_s(self.config):
                    raise Gone(f"the observer (pid {observer.pid}) says nothing any more")
                self._deliver(keeper)
                if keeper.ended_by is not None:
                    raise keeper.ended_by
        finally:
            observer.close()

    def _take(self, look: Row, keeper: Keeper) -> None:
        story = self._stories[look["deployment"]]
        if story.state is None:
            found = keeper.found(_key(story.deployment))
            if found is UNREAD and time.monotonic() < self._held_until:
                return  # the next look tells the same again
            story.begin(self._state(found), look["at"])
        for change in story.take(look, self.patience):
            content = change.content
            text = (
                content["message"]
                if change.change == "moved"
                else f"{change.change} {change.key}: {content['message']}"
            )
            self.logger.warning("%s: %s", story.deployment, text)

    def _state(self, found: Union[str, object, None]) -> Optional[State]:
        if not isinstance(found, str):
            return None
        try:
            return load(found)
        except ValueError as error:
            self.logger.error("what was saved cannot be read (%s): all findings are told again", error)
            return None

    def _deliver(self, keeper: Keeper) -> None:
        """Dispatch what waits, in order, until it fails or it is not our turn any more; then save."""
        for story in self._stories.values():
            while story.waiting:
                if not self._may_tell():
                    return
                trigger, payload = story.waiting[0]
                try:
                    self.dispatch(trigger, payload)
                except Exception as error:  # noqa: BLE001 - whatever StackStorm's services raise
                    keeper.complain(f"cannot dispatch: {error}")
                    return
                story.waiting.popleft()
            text = story.to_save()
            if text is not None:
                keeper.keep(_key(story.deployment), text)


def deployments(config: Row, service: str) -> list[str]:
    """The deployments that have the layer. What is wrong inside one is told when it is watched; BadInput if none."""
    sections = config.get("deployments")
    rows = [row for row in sections if isinstance(row, Mapping)] if isinstance(sections, list) else []
    names = [str(row["name"]) for row in rows if row.get("name") and not hollow(row.get(service))]
    if not names:
        raise BadInput(
            f"no deployment with the layer `{service}` is configured: fill in configs/ha.yaml, restart the sensor"
        )
    return list(dict.fromkeys(names))


def _longest_timeout_s(config: Row) -> float:
    layers = (layer for row in config["deployments"] for layer in dict(row).values() if isinstance(layer, Mapping))
    given = [layer.get("timeout_s") for layer in layers]
    return max([3.0, *(float(each) for each in given if isinstance(each, (int, float)))])


def _key(deployment: str) -> str:
    """The name in the datastore: StackStorm puts it into an address as it is."""
    return "watch." + re.sub(r"[^A-Za-z0-9_.-]", lambda match: f"_{ord(match[0]):x}_", deployment)


class Story:
    """What one deployment's service has done: its State, and the changes that still wait to be dispatched."""

    def __init__(self, deployment: str, service: str) -> None:
        self.deployment, self.service = deployment, service
        self.state: Optional[State] = None
        self.waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self._delivered: Optional[State] = None
        self._saved: object = None

    def begin(self, state: Optional[State], now: float) -> None:
        """Go on from a saved State, or begin a new one."""
        self.state = self._delivered = state or State(born=now)
        self._saved = _substance(state) if state else None

    def take(self, look: Row, patience: Patience) -> tuple[Change, ...]:
        """Take a look (see observer.Tell); its changes wait to be dispatched, and are returned."""
        assert self.state is not None
        state, now = self.state, look["at"]
        changes: tuple[Change, ...] = ()
        findings = self._findings(look, state)
        if findings is not None:
            state, changes = update(state, findings, now, patience, look.get("confirm_s"))
        self._wait(FINDING_CHANGED, state, changes)
        for row in look.get("roles", ()):
            state, moved = update_role(state, row["subject"], row["role"], row["name"], row["term"], now, patience)
            self._wait(ROLE_CHANGED, state, moved)
            changes = (*changes, *moved)
        self.state = state
        if len(self.waiting) > MOST_WAITING:
            # Nobody takes them: forget the way, tell the difference in the end.
            self.waiting.clear()
            self.state = self._delivered
        return changes

    def to_save(self) -> Optional[str]:
        """The State as text if everything is dispatched and it is worth saving (other times than told are not)."""
        if self.waiting or self.state is None:
            return None
        self._delivered = self.state
        substance = _substance(self.state)
        if substance == self._saved:
            return None
        self._saved = substance
        return dump(self.state)

    def _findings(self, look: Row, state: State) -> Optional[list[Finding]]:
        if look.get("blind"):
            remedy = f"correct it, then run {self.service}_check"
            # Blind, nothing is over: what stood before stands on.
            blind = Finding("WatchFailed", Severity.UNKNOWN, self.service, look["blind"], remedy)
            return [*(each for each in state.standing if each.key != blind.key), blind]
        rows = look.get("findings")
        return None if rows is None else [load_finding(row) for row in rows]

    def _wait(self, trigger: str, state: State, changes: tuple[Change, ...]) -> None:
        self.waiting.extend((trigger, change.payload(state, self.deployment, self.service)) for change in changes)


def _substance(state: State) -> object:
    told = {key: (each.told, each.number, each.flapping) for key, each in state.known.items()}
    return told, state.roles
