"""A stand-in for one StackStorm service: a small real process that reads its st2.conf and does what that service does.

    python -m lab.stackstorm_standin st2api|st2stream|st2actionrunner|st2sensorcontainer|st2timersengine NODE_DIRECTORY

Jobs go through StackStorm's queue names in the vhost of [messaging] and its collection names in the database of
[database]. Each process writes what it did, one JSON object a line, to `record` in the node's directory: `done` with
the execution, `event` with the outside event, `tick` with the timer's number.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bson import ObjectId
from pika.exceptions import AMQPError

from lab.stackstorm_http import st2api, st2stream
from lab.stackstorm_node import JOBS, TRIGGERS, Node, Publisher, again, request_execution

TICK_S = 1.0
POSITION = "sensor_position"


def st2actionrunner(node: Node) -> None:
    """Executes jobs, and stands in for the rules engine: a trigger becomes an execution."""
    publisher = Publisher(node)
    while not node.ending.is_set():
        try:
            connection = node.connect()
            channel = connection.channel()
            channel.basic_qos(prefetch_count=1)
            for queue, work in ((JOBS, _execute), (TRIGGERS, _handle)):
                channel.basic_consume(
                    queue, lambda c, m, _p, b, w=work: (w(node, publisher, b.decode()), c.basic_ack(m.delivery_tag))
                )
            while not node.ending.is_set():
                connection.process_data_events(0.1)
            connection.close()
        except (AMQPError, OSError):
            time.sleep(0.1)


def _execute(node: Node, publisher: Publisher, number: str) -> None:
    """Once, whatever the broker delivers twice: the status is taken over in one atomic write, as StackStorm does."""
    wanted = {"_id": ObjectId(number), "status": "requested"}
    if (
        again(lambda: node.database.live_action_d_b.find_one_and_update(wanted, {"$set": {"status": "running"}}))
        is None
    ):
        return
    time.sleep(node.work_s)
    node.record(done=number)
    for name in ("action_execution_d_b", "live_action_d_b"):
        again(
            lambda name=name: node.database[name].update_one(
                {"_id": ObjectId(number)}, {"$set": {"status": "succeeded"}}
            )
        )
    publisher.tell({"id": number, "node": node.name})


def _handle(node: Node, publisher: Publisher, text: str) -> None:
    trigger = json.loads(text)
    wanted = {"_id": ObjectId(trigger["id"]), "status": "pending"}
    taken = {"$set": {"status": "processed"}}
    number = request_execution(node, publisher, "lab.event", text)
    if again(lambda: node.database.trigger_instance_d_b.find_one_and_update(wanted, taken)) is not None:
        node.record(**trigger["what"], execution=number)


def _dispatch(node: Node, publisher: Publisher, what: dict[str, Any]) -> None:
    number = ObjectId()
    again(lambda: node.database.trigger_instance_d_b.replace_one({"_id": number}, {"status": "pending"}, upsert=True))
    publisher.send(TRIGGERS, json.dumps({"id": str(number), "what": what}))


def st2sensorcontainer(node: Node) -> None:
    """A sensor that keeps its position in the datastore, as good ones do: the next one goes on from there."""
    publisher, keys = Publisher(node), node.database.key_value_pair_d_b
    row = again(lambda: keys.find_one({"_id": POSITION})) or {"value": 0}
    position = int(row["value"])
    while not node.ending.wait(0.02):
        lines = node.events.read_text().splitlines()
        for line in lines[position:]:
            _dispatch(node, publisher, {"event": line})
            position += 1
            again(lambda at=position: keys.replace_one({"_id": POSITION}, {"value": at}, upsert=True))
            if node.ending.is_set():
                return


def st2timersengine(node: Node) -> None:
    """Ticks on the second, by the clock that both sides share."""
    publisher = Publisher(node)
    while not node.ending.wait(TICK_S - time.time() % TICK_S):
        _dispatch(node, publisher, {"tick": round(time.time() / TICK_S)})


ROLES = {role.__name__: role for role in (st2api, st2stream, st2actionrunner, st2sensorcontainer, st2timersengine)}

if __name__ == "__main__":
    if sys.argv[1] == "st2garbagecollector":
        Node(Path(sys.argv[2])).ending.wait()
    else:
        ROLES[sys.argv[1]](Node(Path(sys.argv[2])))
    os._exit(0)  # the driver's threads would be waited for, up to a second each
