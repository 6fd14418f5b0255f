"""MySQL: the primary is killed and the replica promoted by force; then the old one rejoins, and is primary again."""

from __future__ import annotations

import time

from demo.pack import Sensor
from demo.stage import CALM_S, OK, WARNING, Act, Stage, count
from lab.mysql import MysqlCluster
from lab.mysql_writer import MysqlWriter
from lab.wait import wait_for


class MysqlActs:
    """Both events on a healthy pair."""

    def __init__(self, pair: MysqlCluster, stage: Stage) -> None:
        self.pair, self.stage = pair, stage

    def run(self) -> list[Act]:
        """What each change of the primary cost. Raises StepFailed and LabError."""
        stage = self.stage
        stage.title("MySQL: the primary crashes")
        with Sensor(stage.pack, "mysql_sensor") as self.sensor, MysqlWriter(self.pair) as self.writer:
            stage.say("an application writes to whichever server takes it; the sensor watches:")
            stage.command("sensor", "mysql_sensor", "&")
            time.sleep(CALM_S)
            crash = self._crash()
            self._rejoin()
            planned = self._switch_back()
            stage.say("")
            stage.command("mysql_check", allowed=(OK, WARNING))
        count([crash, planned], self.writer)
        return [crash, planned]

    def _crash(self) -> Act:
        self.victim, self.replica = self.pair.members[0], self.pair.members[1]
        pid = self.pair.servers[self.victim.name].pid
        self.stage.shell(f"kill -9 {pid}   # mariadbd on {self.victim.address}, the primary")
        act = Act("MySQL: primary killed, mysql_failover", time.time())
        self.pair.kill(self.victim.name)
        act.finding_s = self.sensor.first("ha.finding_changed", act.began, 15, code="NoPrimary").at - act.began
        self.stage.command("mysql_check")
        self.stage.say("")
        self.stage.command("mysql_failover", "member=best", "deployment=lab", allowed=(OK, WARNING))
        self._changed_hands(act, self.replica.address)
        self.stage.tell_events(self.sensor, act, "the kill")
        return act

    def _rejoin(self) -> None:
        self.stage.title("MySQL: the old primary comes back as a replica")
        self.pair.start(self.victim.name)
        words = ("mysql_rejoin", f"member={self.victim.address}", "deployment=lab")
        self.stage.command(*words, allowed=(OK, WARNING))
        time.sleep(CALM_S)

    def _switch_back(self) -> Act:
        self.stage.title("MySQL: back by plan")
        act = Act("MySQL: mysql_switchover", time.time())
        words = ("mysql_switchover", f"member={self.victim.address}", "deployment=lab")
        self.stage.command(*words, allowed=(OK, WARNING))
        self._changed_hands(act, self.victim.address)
        self.stage.tell_events(self.sensor, act, "the command")
        return act

    def _changed_hands(self, act: Act, address: str) -> None:
        """Wait until the sensor has told it, and writes go on; take the measures."""
        act.role_s = self.sensor.first("ha.role_changed", act.began, 15, current=address).at - act.began
        after = time.time() + CALM_S
        wait_for(lambda: self.writer.acknowledged(after), 60, "the application to write again")
        act.measure(self.writer)
        self.stage.say(f"\nno write was acknowledged for {act.outage_s:.2f} s")
