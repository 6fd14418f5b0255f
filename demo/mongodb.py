"""MongoDB: the primary is killed, the set elects another one; then the primary is moved back by plan."""

from __future__ import annotations

import time

from demo.pack import Sensor
from demo.stage import CALM_S, OK, WARNING, Act, Stage, count
from lab.lookout import Lookout
from lab.mongodb import MongoCluster
from lab.wait import wait_for
from lab.writer import Writer


class MongodbActs:
    """Both events on a healthy replica set."""

    def __init__(self, rs: MongoCluster, stage: Stage) -> None:
        self.rs, self.stage = rs, stage

    def run(self) -> list[Act]:
        """What each change of the primary cost. Raises StepFailed and LabError."""
        stage = self.stage
        stage.title("MongoDB: the primary crashes")
        with (
            Lookout(self.rs) as self.lookout,
            Sensor(stage.pack, "mongodb_sensor") as self.sensor,
            Writer(self.rs.client()) as self.writer,
        ):
            stage.say("a canary writes with majority concern; the sensor watches:")
            stage.command("sensor", "mongodb_sensor", "&")
            time.sleep(CALM_S)
            crash = self._crash()
            self._bring_back(crash)
            planned = self._switch_back()
            stage.say("")
            stage.command("mongodb_check", allowed=(OK, WARNING))
        count([crash, planned], self.writer)
        return [crash, planned]

    def _crash(self) -> Act:
        victim = self.victim = self.rs.primary()
        pid = self.rs.servers[victim.name].pid
        self.stage.shell(f"kill -9 {pid}   # mongod on {victim.address}, the primary")
        act = Act("MongoDB: primary killed", time.time())
        self.rs.kill(victim.name)
        self.stage.command("mongodb_check")
        act.finding_s = self.sensor.first("ha.finding_changed", act.began, 15, change="appeared").at - act.began
        self._changed_hands(act)
        self.stage.tell_events(self.sensor, act, "the kill")
        self.stage.say("\nthe verdict after the election:")
        self.stage.command("mongodb_check", allowed=(WARNING,))
        return act

    def _bring_back(self, crash: Act) -> None:
        began = time.monotonic()
        self.rs.start(self.victim.name)
        self.rs.wait_healthy(60)
        self.stage.say(f"\n{self.victim.address} is started again: whole after {time.monotonic() - began:.1f} s")
        time.sleep(CALM_S)
        self.stage.tell_events(self.sensor, crash, "the kill")

    def _switch_back(self) -> Act:
        self.stage.title("MongoDB: back by plan")
        act = Act("MongoDB: mongodb_switchover", time.time())
        # A warning is about the set afterwards: a crash raises the rollback id.
        words = ("mongodb_switchover", f"member={self.victim.address}", "deployment=lab")
        self.stage.command(*words, allowed=(OK, WARNING))
        self._changed_hands(act)
        self.stage.tell_events(self.sensor, act, "the command")
        return act

    def _changed_hands(self, act: Act) -> None:
        """Wait until another member is primary, the sensor has told it, and writes go on; take the measures."""
        took_over, address = self.lookout.primary_at(act.began)
        act.role_s = self.sensor.first("ha.role_changed", act.began, 15, current=address).at - took_over
        after = max(took_over, time.time()) + CALM_S
        wait_for(lambda: self.writer.acknowledged(after), 60, "the canary to write again")
        act.measure(self.writer)
        self.stage.say(f"\n{address} took over {took_over - act.began:.2f} s after the start of this act")
        self.stage.say(f"no write was acknowledged for {act.outage_s:.2f} s, the application saw {act.failures} errors")
