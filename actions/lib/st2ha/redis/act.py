"""The verbs of Redis' plans. Each looks again before it writes, and may be repeated."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from st2ha.change import wait_until
from st2ha.config import Host
from st2ha.errors import HaError, StepFailed, WorldChanged
from st2ha.plan import Step, Verb
from st2ha.redis import client as driver
from st2ha.redis.facts import Snapshot
from st2ha.redis.settings import Redis

PAUSE_S = 10.0
"""Beyond min-replicas-max-lag: if we die after the failover, the old primary has lost its replicas when it ends."""
ADOPT_S = 15.0
"""A Sentinel asks a replica for its priority every ten seconds."""
CATCH_UP_S, FAILOVER_S, FOLLOW_S = 5.0, 12.0, 20.0
CANARY, CANARY_S = "st2ha:canary", 600


class Acting:
    """The verbs for one deployment; sessions are opened once and kept for the whole plan. Close it."""

    def __init__(self, settings: Redis, snapshot: Snapshot) -> None:
        self._settings, self._snapshot = settings, snapshot
        self._hosts = {str(host): host for host in (*settings.hosts, *settings.sentinels)}
        self._sessions: dict[tuple[str, bool], driver.Session] = {}

    def verbs(self) -> Mapping[str, Verb]:
        """By name; what the driver meets in one becomes a sentence."""
        names = ("prefer", "adopt", "pause", "catch_up", "failover", "demote", "prove", "resume")
        return {name: self._in_sentences(getattr(self, name)) for name in names}

    def close(self) -> None:
        for session in self._sessions.values():
            session.close()

    def prefer(self, step: Step) -> str:
        """Set the priority by which Sentinel chooses; at run time only, redis.conf stays as it is."""
        priority = str(step.expect["priority"])
        self._ask(step.target, "CONFIG", "SET", "replica-priority", priority)
        return f"replica-priority {priority}"

    def adopt(self, step: Step) -> str:
        """Choose a Sentinel that knows the target with its priority."""
        wanted = int(step.expect["priority"])

        def missing() -> Optional[str]:
            seen = {sentinel: self._priority(sentinel, step.target) for sentinel in self._sentinels()}
            knowing = [sentinel for sentinel, priority in seen.items() if priority == wanted]
            self._chosen = knowing[0] if knowing else ""
            return None if knowing else f"they see {', '.join(map(str, seen.values()))}"

        what = f"a Sentinel to see {step.target} with priority {wanted}"
        waited_s = wait_until(missing, ADOPT_S, what, 0.1)
        return f"{self._chosen} knows it after {waited_s:.1f} s"

    def pause(self, step: Step) -> str:
        """Hold writes back on the old primary, if it still is the one that was read."""
        info = self._replication(step.target)
        if (info["role"], info["master_replid"]) != ("master", step.expect["replid"]):
            raise WorldChanged(f"{step.target} is {info['role']} of another history: a failover has happened")
        self._require_calm(step.target)
        pause_s = float(step.expect["max_lag_s"]) + PAUSE_S
        self._ask(step.target, "CLIENT", "PAUSE", int(1000 * pause_s), "WRITE")
        self._paused_at = int(self._replication(step.target)["master_repl_offset"])
        return f"writes wait, for {pause_s:g} s at the most, at offset {self._paused_at}"

    def catch_up(self, step: Step) -> str:
        """Until the target has everything up to the pause."""
        began = time.monotonic()

        def missing() -> Optional[str]:
            info = self._replication(step.target)
            if info.get("master_link_status") != "up" or info["master_replid"] != step.expect["replid"]:
                raise WorldChanged(f"{step.target} has lost {step.expect['former']}")
            left = self._paused_at - int(info["slave_repl_offset"])
            return None if left <= 0 else f"{left} bytes are missing"

        wait_until(missing, CATCH_UP_S, f"{step.target} to have everything", 0.002)
        return f"has everything after {(time.monotonic() - began) * 1000:.0f} ms"

    def failover(self, step: Step) -> str:
        """Have the chosen Sentinel promote it, and nobody else."""
        self._require_calm(str(step.expect["former"]))
        self._ask_sentinel(self._chosen, "SENTINEL", "FAILOVER", self._settings.master_name)
        others = [each.name for each in self._snapshot.servers if each.name not in (step.target, step.expect["former"])]

        def missing() -> Optional[str]:
            if self._replication(step.target)["role"] == "master":
                return None
            wrong = next((name for name in others if self._replication(name)["role"] == "master"), None)
            if wrong is not None:
                raise StepFailed(f"the Sentinels promoted {wrong} instead of {step.target}")
            return f"{step.target} is a replica still"

        waited_s = wait_until(missing, FAILOVER_S, f"{step.target} to be promoted", 0.01)
        return f"promoted by {self._chosen} after {waited_s:.2f} s"

    def demote(self, step: Step) -> str:
        """Make the old primary a replica, then let go of the writes that wait there: they are refused, not lost."""
        to = self._hosts[str(step.expect["to"])]
        if self._replication(str(to))["role"] != "master":
            raise WorldChanged(f"{to} is no primary")
        address = self._address_of(to)
        self._ask(step.target, "REPLICAOF", *address)
        self._ask(step.target, "CLIENT", "UNPAUSE")
        return f"follows {to}"

    def prove(self, step: Step) -> str:
        """All follow, all Sentinels say so, and a write arrives everywhere."""
        wait_until(lambda: self._unsettled(step), FOLLOW_S, "replicas and Sentinels to follow", 0.05)
        token, key = secrets.token_hex(8), CANARY
        self._ask(step.target, "SET", key, token, "EX", CANARY_S)

        def missing() -> Optional[str]:
            lacking = [name for name in step.expect["replicas"] if self._ask(name, "GET", key) != token]
            return f"{', '.join(lacking)} lack it" if lacking else None

        waited_s = wait_until(missing, FOLLOW_S, "a write to arrive at every replica", 0.01)
        return f"a write arrived at {len(step.expect['replicas'])} replicas after {waited_s * 1000:.0f} ms"

    def resume(self, step: Step) -> str:
        """Let writes go on, if it still is primary."""
        if self._replication(step.target)["role"] != "master":
            raise WorldChanged(f"{step.target} is no primary any more")
        self._ask(step.target, "CLIENT", "UNPAUSE")
        return "takes writes again"

    # -- inside

    def _unsettled(self, step: Step) -> Optional[str]:
        name_of = self._snapshot.name_of
        for name in step.expect["replicas"]:
            info = self._replication(name)
            source = name_of(f"{info.get('master_host')}:{info.get('master_port')}")
            if (info["role"], source, info.get("master_link_status")) != ("slave", step.target, "up"):
                return f"{name} is {info['role']} of {source}, link {info.get('master_link_status', 'none')}"
        for sentinel in self._sentinels():
            watched, flags = self._watched(sentinel)
            if watched != step.target or "failover_in_progress" in flags:
                return f"Sentinel {sentinel} watches {watched} ({flags})"
            unknown = [name for name in step.expect["replicas"] if self._priority(sentinel, name) is None]
            if unknown:
                return f"Sentinel {sentinel} has not met {', '.join(unknown)} again"
        return None

    def _watched(self, sentinel: str) -> tuple[str, str]:
        """The server that a Sentinel takes for the primary, and its flags."""
        row = driver.pairs(self._ask_sentinel(sentinel, "SENTINEL", "MASTER", self._settings.master_name))
        flags = row.get("flags", "")
        return self._snapshot.name_of(f"{row['ip']}:{row['port']}"), str(flags)

    def _require_calm(self, primary: str) -> None:
        """No failover of somebody else's, and the Sentinels watch the primary that we think of."""
        for sentinel in self._sentinels():
            watched, flags = self._watched(sentinel)
            if "failover_in_progress" in flags or watched != primary:
                raise WorldChanged(f"Sentinel {sentinel} watches {watched}, or a failover is under way")

    def _priority(self, sentinel: str, target: str) -> Optional[int]:
        for row in map(driver.pairs, self._ask_sentinel(sentinel, "SENTINEL", "REPLICAS", self._settings.master_name)):
            up = "down" not in str(row.get("flags", "")) and row.get("master-link-status") == "ok"
            if self._snapshot.name_of(f"{row['ip']}:{row['port']}") == target and up:
                return int(row["slave-priority"])
        return None

    def _address_of(self, host: Host) -> tuple[str, int]:
        """By which the Sentinels know it: a replica's name for its primary must be theirs."""
        reply = self._ask_sentinel(self._chosen, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._settings.master_name)
        same = self._snapshot.name_of(f"{reply[0]}:{reply[1]}") == str(host)
        return (str(reply[0]), int(reply[1])) if same else (host.name, host.port)

    def _sentinels(self) -> list[str]:
        return [each.name for each in self._snapshot.sentinels if each.primary]

    def _replication(self, name: str) -> Mapping[str, Any]:
        info: Mapping[str, Any] = self._ask(name, "INFO", "replication")
        return info

    def _ask(self, name: str, *words: Any, sentinel: bool = False) -> Any:
        """A connection that has ended is opened anew, once: Sentinel ends all those to a server that it promotes."""
        try:
            return self._session(name, sentinel).ask(*words)
        except (driver.NoConnection, OSError):
            self._sessions.pop((name, sentinel)).close()
            return self._session(name, sentinel).ask(*words)

    def _ask_sentinel(self, name: str, *words: Any) -> Any:
        return self._ask(name, *words, sentinel=True)

    def _session(self, name: str, sentinel: bool) -> driver.Session:
        session = self._sessions.get((name, sentinel))
        if session is None:
            session = driver.Session(self._settings, self._hosts[name], self._settings.timeout_s, sentinel)
            self._sessions[name, sentinel] = session
        return session

    _chosen, _paused_at = "", 0

    @staticmethod
    def _in_sentences(verb: Callable[[Step], str]) -> Verb:
        @functools.wraps(verb)
        def told(step: Step) -> str:
            try:
                return verb(step)
            except driver.DriverError as error:
                raise HaError(driver.words(error)) from None

        return told
