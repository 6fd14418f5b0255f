"""The sensors that tell changes: looks from an observer, through st2ha.watch, to StackStorm's triggers.

Order: dispatch, then save. A crash in between repeats a change with the same id rather than losing it. StackStorm's
database may be the very thing that fails: then dispatching and saving fail, too, and both wait, each on its own; no
exception ends a watcher, as StackStorm restarts a sensor twice and then leaves it dead.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union

from st2ha.errors import BadInput
from st2ha.observer import Gone, Observer
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


class Watcher(Sensor):
    """Base of the sensors; a subclass names its `service` (a layer of the configuration) and its `observer` module."""

    service = ""
    observer = ""
    patience = Patience()

    def run(self) -> None:
        """Watch for ever."""
        said = ""
        while True:
            try:
                self._watch()
            except (BadInput, Gone) as error:
                sentence = str(error)
            except Exception as error:  # noqa: BLE001 - the last net, see above
                sentence = f"internal error {type(error).__name__}: {error}"
            if sentence != said:
                self.logger.error("%s; trying again every %g s", sentence, 5 * RETRY_S)
            said = sentence
            time.sleep(5 * RETRY_S)

    def cleanup(self) -> None:
        """Give what was told a moment to be saved."""
        keeper = getattr(self, "_keeper", None)
        if keeper is not None:
            keeper.settle(2.0)

    def _watch(self) -> None:
        """Until the observer dies: take its looks, tell the changes. BadInput if there is nothing to watch."""
        names = deployments(self.config, self.service)
        if not hasattr(self, "_keeper"):
            self._keeper = Keeper(self, [_key(name) for name in names])
            self._stories = {name: Story(name, self.service) for name in names}
            self._held_until = time.monotonic() + LOAD_PATIENCE_S
        observer = Observer(self.observer, {"config": self.config, "deployments": names})
        heard_at = time.monotonic()
        try:
            while True:
                waiting = any(story.waiting for story in self._stories.values())
                look = observer.read(RETRY_S if waiting else 5 * RETRY_S)
                if look is not None:
                    heard_at = time.monotonic()
                    self._take(look)
                elif time.monotonic() - heard_at > SILENCE_S + 3 * _longest_timeout_s(self.config):
                    raise Gone(f"the observer (pid {observer.pid}) says nothing any more")
                self._deliver()
                if self._keeper.ended_by is not None:
                    raise self._keeper.ended_by
        finally:
            observer.close()

    def _take(self, look: Row) -> None:
        story = self._stories[look["deployment"]]
        if story.state is None:
            found = self._keeper.found(_key(story.deployment))
            if found is _UNREAD and time.monotonic() < self._held_until:
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

    def _deliver(self) -> None:
        """Dispatch what waits, in order, until it fails; then save."""
        for story in self._stories.values():
            while story.waiting:
                trigger, payload = story.waiting[0]
                try:
                    self.dispatch(trigger, payload)
                except Exception as error:  # noqa: BLE001 - whatever StackStorm's services raise
                    self._keeper.complain(f"cannot dispatch: {error}")
                    return
                story.waiting.popleft()
            text = story.to_save()
            if text is not None:
                self._keeper.keep(_key(story.deployment), text)


def deployments(config: Row, service: str) -> list[str]:
    """The deployments that have the layer. What is wrong inside one is told when it is watched; BadInput if none."""
    sections = config.get("deployments")
    rows = [row for row in sections if isinstance(row, Mapping)] if isinstance(sections, list) else []
    names = [str(row["name"]) for row in rows if row.get("name") and row.get(service)]
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


_UNREAD = object()


class Keeper:
    """Loads and saves in a thread of its own: the datastore may hang, and nobody waits for it."""

    def __init__(self, sensor: Sensor, keys: list[str]) -> None:
        self._sensor = sensor
        self._found: dict[str, Optional[str]] = {}
        self._kept: dict[str, str] = {}
        self._news = threading.Event()
        self._complaints: dict[str, float] = {}
        self.ended_by: Optional[BaseException] = None
        threading.Thread(target=self._live, args=(keys,), daemon=True).start()

    def found(self, key: str) -> Union[str, object, None]:
        """What the datastore held at the start; None if nothing, _UNREAD if it has not answered yet."""
        return self._found.get(key, _UNREAD)

    def keep(self, key: str, text: str) -> None:
        """Save this, and nothing older, as soon as it can be done."""
        self._kept[key] = text
        self._news.set()

    def settle(self, seconds: float) -> None:
        """Wait until all is saved, for so long at the most."""
        deadline = time.monotonic() + seconds
        while self._kept and time.monotonic() < deadline:
            time.sleep(0.05)

    def complain(self, sentence: str) -> None:
        """Log it, the same once in ten minutes."""
        sentence, now = sentence[:300], time.monotonic()
        if now - self._complaints.get(sentence, -600.0) >= 600:
            self._complaints = {**{each: at for each, at in self._complaints.items() if now - at < 600}, sentence: now}
            self._sensor.logger.warning("%s; it is tried again until it works", sentence)

    def _live(self, keys: list[str]) -> None:
        try:
            self._run(keys)
        except BaseException as error:  # noqa: BLE001 - under eventlet a signal's exception hits whoever runs
            self.ended_by = error

    def _run(self, keys: list[str]) -> None:
        for key in keys:
            self._insist(lambda key=key: self._found.update({key: self._sensor.stored(key)}), "read")  # type: ignore[misc]
        while True:
            self._news.wait()
            self._news.clear()
            for key in list(self._kept):
                self._insist(lambda key=key: self._save(key), "write")  # type: ignore[misc]

    def _save(self, key: str) -> None:
        text = self._kept[key]
        self._sensor.store(key, text)
        if self._kept[key] == text:
            del self._kept[key]
        else:
            self._news.set()

    def _insist(self, work: Callable[[], None], verb: str) -> None:
        while True:
            try:
                return work()
            except Exception as error:  # noqa: BLE001 - whatever StackStorm's services raise
                self.complain(f"cannot {verb} the datastore: {error}")
                time.sleep(RETRY_S)
