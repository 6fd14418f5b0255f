"""How many messages wait in StackStorm's durable queues, by AMQP: the management API's numbers are seconds old.

Source: st2common/transport/queues.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Optional

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker

from st2ha.errors import HaError

QUEUES = (
    "st2.actionrunner.req", "st2.actionrunner.work", "st2.actionrunner.cancel", "st2.actionrunner.pause",
    "st2.actionrunner.resume", "st2.workflow.work", "st2.workflow.resume", "st2.workflow.action.update",
    "st2.notifiers.execution.work", "st2.trigger_instances_dispatch.rules_engine", "st2.resultstracker.work",
)  # fmt: skip
ABSENT = "no queue"
"""RabbitMQ's words where there is none; a queue whose node is down, which may hold messages, is a 404, too."""


class Queues:
    """One vhost's, by the first of `urls` whose broker answers. The connection stays, ready for the next look."""

    def __init__(self, urls: Sequence[str], timeout_s: float) -> None:
        self._urls, self._timeout_s = urls, timeout_s
        self._connection: Optional[pika.BlockingConnection] = None

    def __enter__(self) -> Queues:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            with contextlib.suppress(AMQPError, OSError):
                self._connection.close()
        self._connection = None

    def messages(self) -> int:
        """HaError if no broker can be asked for all of them."""
        if self._connection is not None:
            with contextlib.suppress(AMQPError, OSError):  # the broker may have left us since
                return self._count(self._connection)
        words = "no URL"
        for url in self._urls:
            self.close()
            try:
                self._connection = pika.BlockingConnection(self._parameters(url))
                return self._count(self._connection)
            except (AMQPError, OSError) as error:
                words = str(error) if isinstance(error, ChannelClosedByBroker) else type(error).__name__
        self.close()
        raise HaError(f"no broker of that side's st2.conf could be asked for its queues ({words}): run rabbitmq_check")

    def _parameters(self, url: str) -> pika.URLParameters:
        found = pika.URLParameters(url)
        found.socket_timeout = found.stack_timeout = found.blocked_connection_timeout = self._timeout_s
        return found

    @staticmethod
    def _count(connection: pika.BlockingConnection) -> int:
        channel, messages = connection.channel(), 0
        for name in QUEUES:
            try:
                messages += int(channel.queue_declare(name, passive=True).method.message_count)
            except ChannelClosedByBroker as error:
                if ABSENT not in error.reply_text:
                    raise
                channel = connection.channel()
        channel.close()
        return messages
