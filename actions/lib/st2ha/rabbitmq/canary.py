"""A message through the broker as a client sends it: published, confirmed, and read back. By pika."""

from __future__ import annotations

import contextlib
import ssl
import time
import uuid
from typing import Any, Optional, Union

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError

from st2ha.config import Host
from st2ha.errors import StepFailed
from st2ha.probe import Attempt, Silence, Silent, Unanswered, ask_all
from st2ha.rabbitmq.settings import Rabbitmq

EXPIRES_MS = 3_600_000
"""The canary's queue goes away by itself an hour after its last use."""
READ_S = 2.0
HEARTBEAT_S = 10


def canary(settings: Rabbitmq, amqp: Host, copies: int) -> float:
    """Seconds that a persistent message took through a queue of its own by way of one node. StepFailed if it is lost.

    A confirm can stay away for ever (no majority, a hung node): so it is a thread with a deadline that waits for it.
    """

    def ask(host: Host, attempt: Attempt) -> Union[float, Silent]:
        return _through(settings, host, attempt, copies)

    answer = ask_all((amqp,), ask, settings.timeout_s)[amqp]
    if isinstance(answer, Silent):
        raise StepFailed(answer.reason)
    return answer


def _through(settings: Rabbitmq, host: Host, attempt: Attempt, copies: int) -> float:
    began = time.monotonic()
    try:
        connection = pika.BlockingConnection(_parameters(settings, host, attempt.left_s()))
        attempt.accepted = True
        # Closed here and not by `attempt`: pika's connections are not for two threads. Heartbeats end a hung one.
        with contextlib.closing(connection):
            return _round_trip(connection.channel(), settings, copies, began)
    except UnroutableError:
        raise Unanswered(Silence.BROKEN, "the broker returned the message: no queue took it") from None
    except (ChannelClosedByBroker, ConnectionClosedByBroker) as error:
        raise Unanswered(Silence.BROKEN, str(error.reply_text).split(" - ")[-1][:200]) from None
    except AMQPError as error:
        raise Unanswered(Silence.BROKEN, _words(error)) from None


def _round_trip(channel: Any, settings: Rabbitmq, copies: int, began: float) -> float:
    kind = "quorum" if copies >= 3 else "classic"
    queue, stamp = f"{settings.canary_queue}.{kind}", uuid.uuid4().hex
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind, "x-expires": EXPIRES_MS})
    channel.confirm_delivery()
    persistent = pika.BasicProperties(delivery_mode=2, message_id=stamp, expiration="60000")
    channel.basic_publish("", queue, b"canary", persistent, mandatory=True)
    until = time.monotonic() + READ_S
    while time.monotonic() < until:
        method, properties, _ = channel.basic_get(queue, auto_ack=True)
        if method is not None and properties.message_id == stamp:
            return time.monotonic() - began
        if method is None:
            time.sleep(0.01)
    raise Unanswered(Silence.BROKEN, f"the message was confirmed and did not come back within {READ_S:g} s")


def _parameters(settings: Rabbitmq, host: Host, timeout_s: float) -> Any:
    credentials = pika.PlainCredentials(settings.username, settings.password)
    return pika.ConnectionParameters(
        host.name, host.port, settings.vhost, credentials, ssl_options=_tls(settings, host), connection_attempts=1,
        socket_timeout=timeout_s, stack_timeout=timeout_s, blocked_connection_timeout=timeout_s,
        heartbeat=HEARTBEAT_S,
    )  # fmt: skip


def _tls(settings: Rabbitmq, host: Host) -> Optional[Any]:
    if not settings.tls.enabled:
        return None
    context = ssl.create_default_context(cafile=settings.tls.ca_file)
    if settings.tls.certificate_key_file:
        context.load_cert_chain(settings.tls.certificate_key_file)
    return pika.SSLOptions(context, host.name)


def _words(error: Exception) -> str:
    """pika's errors are often empty or nested; their class name says what they mean."""
    text = str(error) or str(error.args[0] if error.args else "")
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
