"""RabbitMQ: a node is killed under a publisher; then one is drained for maintenance, and revived."""

from __future__ import annotations

import time

from demo.pack import Sensor
from demo.stage import CALM_S, OK, WARNING, Act, Stage, count
from lab.publisher import Publisher
from lab.rabbitmq import RabbitCluster
from lab.wait import wait_for

QUEUE = "demo.work"


class RabbitmqActs:
    """Both events on a healthy cluster of three."""

    def __init__(self, rabbit: RabbitCluster, stage: Stage) -> None:
        self.rabbit, self.stage = rabbit, stage

    def run(self) -> list[Act]:
        """What each event cost. Raises StepFailed and LabError."""
        stage = self.stage
        stage.title("RabbitMQ: a node crashes")
        self.victim = self.rabbit.members[0]
        self.rabbit.declare(QUEUE, "quorum", at=self.victim.name)
        with Sensor(stage.pack, "rabbitmq_sensor") as self.sensor, Publisher(self.rabbit, QUEUE) as self.publisher:
            stage.say(f"an application publishes to the quorum queue {QUEUE} with confirms; the sensor watches:")
            stage.command("sensor", "rabbitmq_sensor", "&")
            time.sleep(CALM_S)
            crash = self._crash()
            drained = self._drain()
            stage.say("")
            stage.command("rabbitmq_check", allowed=(OK, WARNING))
        count([crash, drained], self.publisher)
        return [crash, drained]

    def _crash(self) -> Act:
        pid = self.rabbit.servers[self.victim.name].pid
        self.stage.shell(f"kill -9 {pid}   # {self.victim.name}, which leads the queue")
        act = Act("RabbitMQ: a node killed", time.time())
        self.rabbit.kill(self.victim.name)
        act.finding_s = self.sensor.first("ha.finding_changed", act.began, 15, code="NodeDown").at - act.began
        self._goes_on(act)
        self.stage.command("rabbitmq_check")
        self.stage.tell_events(self.sensor, act, "the kill")
        began = time.monotonic()
        self.rabbit.start(self.victim.name, 90)
        self.rabbit.wait_healthy(90)
        self.stage.say(f"\n{self.victim.name} is started again: whole after {time.monotonic() - began:.1f} s")
        time.sleep(CALM_S)
        self.stage.tell_events(self.sensor, act, "the kill")
        return act

    def _drain(self) -> Act:
        self.stage.title("RabbitMQ: a node is drained for maintenance")
        act = Act("RabbitMQ: rabbitmq_drain_node", time.time())
        self.stage.command("rabbitmq_drain_node", "node=rabbit2", "deployment=lab", allowed=(OK, WARNING))
        self._goes_on(act)
        self.stage.command("rabbitmq_revive_node", "node=rabbit2", "deployment=lab", allowed=(OK, WARNING))
        self.stage.tell_events(self.sensor, act, "the command")
        return act

    def _goes_on(self, act: Act) -> None:
        after = time.time() + CALM_S
        wait_for(lambda: self.publisher.acknowledged(after), 60, "the application to publish again")
        act.measure(self.publisher)
        self.stage.say(
            f"\nno message was confirmed for {act.outage_s:.2f} s, the application saw {act.failures} errors"
        )
