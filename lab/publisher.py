"""The load of a RabbitMQ cluster: persistent messages, each confirmed by the broker."""

from __future__ import annotations

import contextlib
from typing import Any

import pika
from pika.exceptions import AMQPError

from lab.load import Load
from lab.rabbitmq import RabbitCluster

PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Publisher(Load):
    """Publishes to one queue, which must be there; when that fails, the next message goes through the next node."""

    errors = (AMQPError, OSError)

    def __init__(self, rabbit: RabbitCluster, queue: str, pause_s: float = 0.01, nodes: tuple[str, ...] = ()) -> None:
        super().__init__(queue, pause_s)
        self._rabbit, self.queue = rabbit, queue
        self._nodes = list(nodes or [member.name for member in rabbit.members])
        self._channel: Any = None

    def write(self, number: int) -> None:
        """One message."""
        try:
            if self._channel is None:
                self._channel = self._rabbit.connect(self._nodes[0]).channel()
                self._channel.confirm_delivery()
            self._channel.basic_publish("", self.queue, str(number).encode(), PERSISTENT, mandatory=True)
        except self.errors:
            self._channel = None
            self._nodes.append(self._nodes.pop(0))
            raise

    def present(self) -> set[int]:
        """Reads the queue empty, through the first node that takes us."""
        for name in self._nodes:
            with contextlib.suppress(*self.errors):
                return self._drain(name)
        raise ConnectionError("no node takes a client")

    def _drain(self, name: str) -> set[int]:
        connection = self._rabbit.connect(name)
        channel, found = connection.channel(), set()
        method, _, body = channel.basic_get(self.queue, auto_ack=True)
        while method is not None:
            found.add(int(body))
            method, _, body = channel.basic_get(self.queue, auto_ack=True)
        connection.close()
        return found
