"""What tests of real RabbitMQ clusters share: the pack's actions run on them, and a publisher that counts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika
import yaml
from pika.exceptions import AMQPError

from lab.rabbitmq import RabbitCluster
from st2ha.config import Deployment, select
from st2ha.rabbitmq.settings import Rabbitmq

ROOT = Path(__file__).resolve().parents[1]


def config_of(rabbit: RabbitCluster, **layer: Any) -> dict[str, Any]:
    """The pack's configuration for the cluster, with other values of the layer."""
    deployment = rabbit.deployment()
    deployment["rabbitmq"].update(layer)
    return {"deployments": [deployment], "default_deployment": "lab"}


def deployment_of(rabbit: RabbitCluster, **layer: Any) -> Deployment:
    return select(config_of(rabbit, **layer))


def settings_of(rabbit: RabbitCluster, **layer: Any) -> Rabbitmq:
    settings: Rabbitmq = deployment_of(rabbit, **layer).require("rabbitmq")
    return settings


def st2ha(rabbit: RabbitCluster, tmp: Path, *words: str, **layer: Any) -> subprocess.CompletedProcess[str]:
    """bin/st2ha as a person runs it."""
    config = tmp / "ha.yaml"
    config.write_text(yaml.safe_dump(config_of(rabbit, **layer)))
    command = [sys.executable, str(ROOT / "bin" / "st2ha"), "--json", "--config", str(config), *words]
    env = {**os.environ, "ST2HA_STATE_DIR": str(tmp / "state")}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=env)


@dataclass
class Publisher:
    """Publishes persistent messages one by one to some queues; `confirmed` are those that the broker took."""

    queues: tuple[str, ...]
    confirmed: dict[str, set[str]] = field(default_factory=dict)
    gaps: list[float] = field(default_factory=list)

    def lost(self, left: dict[str, set[str]]) -> dict[str, int]:
        """By queue: how many of the confirmed ones are not among those that `read_empty` found."""
        return {queue: len(self.confirmed.get(queue, set()) - left[queue]) for queue in self.queues}


def read_empty(rabbit: RabbitCluster, at: str, *queues: str) -> dict[str, set[str]]:
    """All messages of some queues, which have none afterwards."""
    connection = rabbit.connect(at)
    channel = connection.channel()
    found: dict[str, set[str]] = {queue: set() for queue in queues}
    for queue, bodies in found.items():
        while (reply := channel.basic_get(queue, auto_ack=True))[0] is not None:
            bodies.add(reply[2].decode())
    connection.close()
    return found


@contextlib.contextmanager
def publishing(rabbit: RabbitCluster, at: str, *queues: str) -> Iterator[Publisher]:
    """Publish through one node while the body runs; a failed publish is tried anew on a new connection."""
    publisher, end = Publisher(queues), threading.Event()

    def run() -> None:
        number, last = 0, time.monotonic()
        while not end.is_set():
            with contextlib.suppress(AMQPError, OSError):
                connection = rabbit.connect(at)
                channel = connection.channel()
                channel.confirm_delivery()
                while not end.is_set():
                    for queue in queues:
                        number += 1
                        persistent = pika.BasicProperties(delivery_mode=2)
                        body = f"{at} {number}"
                        channel.basic_publish("", queue, body.encode(), persistent, mandatory=True)
                        publisher.confirmed.setdefault(queue, set()).add(body)
                    publisher.gaps.append(time.monotonic() - last)
                    last = time.monotonic()
                    time.sleep(0.005)
            time.sleep(0.05)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.5)
    try:
        yield publisher
    finally:
        end.set()
        thread.join(15)
